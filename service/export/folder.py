"""Results as files in a folder, for sites whose viewer or record imports from a share."""

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from service import clock
from service.domain.errors import ConfigurationError, Permanent, Transient
from service.domain.result import DICOM_RESULTS, Delivery, Result
from service.domain.uid import is_uid
from service.settings import DestinationSettings

_SUFFIX = {"application/dicom": ".dcm", "application/fhir+json": ".json", "application/hl7-v2": ".hl7"}


class Folder:
    """Writes ``<folder>/<study uid>/rev<revision>/<kind>-<short>.dcm|.json``; a name that exists is whole."""

    takes: tuple[str, ...] = (*DICOM_RESULTS, "report", "oru")
    default_results: tuple[str, ...] = ("sr", "seg", "report")

    def __init__(self, entry: DestinationSettings, calling_ae: str) -> None:
        """Take the folder from the URL; nothing is touched yet.

        Args:
            entry: its url is ``file:///folder``; percent signs escape, as in every URL.
            calling_ae: not used, a folder asks for no name.

        Raises:
            ConfigurationError: the URL names another host or no absolute folder.
        """
        del calling_ae
        parts = urlsplit(entry.url)
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            message = (
                f"destination url {entry.url!r} names no local folder; write it as file:///folder, with three slashes"
            )
            raise ConfigurationError(message)
        self._folder = Path(unquote(parts.path))

    def deliver(self, delivery: Delivery) -> str:
        """See Destination. Every OSError is Transient: a share comes back, a full disk is emptied."""
        uid = delivery.study_instance_uid
        if not is_uid(uid):
            message = "the Study Instance UID holds other than digits and dots, so no folder is named after it"
            raise Permanent(message)
        target = self._folder / uid / f"rev{delivery.revision}"
        try:
            target.mkdir(parents=True, exist_ok=True)
            for result in delivery.results:
                _write(target / _name(result), result.content)
        except OSError as error:
            raise self._unusable(error) from error
        return f"{len(delivery.results)} files in {target}"

    def check(self) -> str:
        """See Destination: writes a file and removes it again."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = self._folder / f".check-{clock.token()}"
            _write(probe, b"dentgate")
            probe.unlink()
        except OSError as error:
            raise self._unusable(error) from error
        return f"folder {self._folder} is writable"

    def _unusable(self, error: OSError) -> Transient:
        cause = error.strerror or type(error).__name__
        return Transient(f"cannot write below {self._folder}: {cause}; mount it or grant write access")


def _name(result: Result) -> str:
    # A digest, because a report's identifier holds slashes and a UID shortened by hand may meet another.
    short = hashlib.sha256(result.name.encode()).hexdigest()[:12]
    return f"{result.kind}-{short}{_SUFFIX.get(result.media_type, '.bin')}"


def _write(path: Path, content: bytes) -> None:
    """Write, fsync, then name; a file that is there with the same bytes is left alone, so its time stays."""
    if path.is_file() and path.read_bytes() == content:
        return
    part = path.with_name(f".{path.name}.{clock.token()}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
