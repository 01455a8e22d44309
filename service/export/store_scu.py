"""C-STORE SCU (PS3.4 Annex B): DICOM results to a PACS over one association."""

import io
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from service.domain.errors import ConfigurationError, Permanent, Transient
from service.domain.result import DICOM_RESULTS, Delivery, Result

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_RELEASE_SECONDS, _ABORT_SECONDS = 5.0, 1.0  # all is said by then, and the worker's hard limit may be near
_MAX_PDU = 131072
_SUCCESS = 0x0000
_DUPLICATE = 0x0111  # PS3.7 C.4.1: the PACS has this instance; UIDs are derived from the job, so it is this very one
_PROCESSING_FAILURE = 0x0110  # PACS send it when their database or disk fails, so it deserves another try
_WARNINGS = {0x0001, 0x0107, 0x0116}  # PS3.7 Annex C; the B000H family is added by its first digit
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")  # PS3.5 6.2, VR AE: no control character, no backslash


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the PACS said to one object."""

    kind: str
    status: int
    comment: str

    @property
    def transient(self) -> bool:
        """Out of resources (A7xxH, PS3.4 B.2.3) or a failure inside the PACS."""
        return self.status >> 8 == 0xA7 or self.status == _PROCESSING_FAILURE  # noqa: PLR2004 - the status family

    @property
    def warning(self) -> bool:
        """Stored, but not as sent."""
        return self.status >> 12 == 0xB or self.status in _WARNINGS  # noqa: PLR2004 - the status family

    @property
    def failed(self) -> bool:
        """Not stored."""
        return self.status not in {_SUCCESS, _DUPLICATE} and not self.warning

    def __str__(self) -> str:
        """In the PACS's own words."""
        return f"{self.kind}: {self.status:04X}H {self.comment}".rstrip()


class StoreScu:
    """A PACS that takes C-STORE. Sending an object twice is harmless: its UID is derived from the job."""

    takes: tuple[str, ...] = DICOM_RESULTS
    default_results: tuple[str, ...] = ("sr", "seg-plane", "secondary-capture")  # shown by every viewer that was tried

    def __init__(self, url: str, calling_ae: str) -> None:
        """Take AE title and address from the URL; nothing is opened yet.

        Args:
            url: ``dicom://AET@host:port``, port 104 if none is given.
            calling_ae: our own AE title.

        Raises:
            ConfigurationError: a part is missing or wrong.
        """
        parts = urlsplit(url)
        try:
            port = parts.port or 104
        except ValueError:
            port = 0
        called_ae = unquote(parts.username or "").strip()
        if not parts.hostname or not _AE_TITLE.fullmatch(called_ae) or not port:
            message = f"destination url {url!r} lacks a part; write it as dicom://AET@host:port"
            raise ConfigurationError(message)
        self._called_ae, self._calling_ae = called_ae, calling_ae
        self._host, self._port = parts.hostname, port

    def deliver(self, delivery: Delivery) -> str:
        """See Destination. All objects are tried before a refusal is raised."""
        objects = [(result.kind, _read(result)) for result in delivery.results]
        if not objects:
            return "nothing to store"
        contexts = sorted({(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for _, ds in objects})
        assoc = self._associate(contexts)
        with _ended(assoc):
            answers = [self._store(assoc, kind, ds) for kind, ds in objects]
        return self._summary(answers)

    def check(self) -> str:
        """See Destination: C-ECHO (PS3.4 Annex A)."""
        assoc = self._associate([(str(Verification), "1.2.840.10008.1.2")])
        with _ended(assoc):
            try:
                status = assoc.send_c_echo().get("Status")
            except RuntimeError:  # the association ended at once
                status = None
        if status is None:
            message = f"{self._peer} cut the connection or did not answer C-ECHO"
            raise Transient(message)
        if status != _SUCCESS:
            message = f"{self._peer} answers C-ECHO with {status:04X}H"
            raise Permanent(message)
        return f"{self._peer} answers C-ECHO"

    @property
    def _peer(self) -> str:
        return f"{self._called_ae} at {self._host}:{self._port}"

    def _associate(self, contexts: Sequence[tuple[str, str]]) -> Association:
        """Open an association with one presentation context per SOP class and transfer syntax.

        A rejection is always Transient, even where the PACS calls it permanent: the usual cause is that it does not
        know our AE title yet; its administrator mends that, and the back-off then finds the door open by itself.
        """
        ae = AE(ae_title=self._calling_ae)
        ae.connection_timeout = _CONNECT_SECONDS
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _ANSWER_SECONDS
        opened: list[bool] = []  # pynetdicom calls a refused connection aborted: only this event tells them apart
        try:
            assoc = ae.associate(
                self._host,
                self._port,
                contexts=[build_context(sop_class, transfer_syntax) for sop_class, transfer_syntax in contexts],
                ae_title=self._called_ae,
                max_pdu=_MAX_PDU,
                evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once, [opened])],
            )
        except OSError as error:  # the name does not resolve
            message = f"{self._peer} cannot be reached: {error.strerror or type(error).__name__}"
            raise Transient(message) from error
        if assoc.is_established:
            return assoc
        if assoc.rejected_contexts and not assoc.accepted_contexts:
            refused = ", ".join(sorted({UID(str(c.abstract_syntax)).name for c in assoc.rejected_contexts}))
            message = f"{self._peer} accepts none of: {refused}"
            raise Permanent(message)
        raise Transient(self._why_closed(assoc, connected=bool(opened)))

    def _why_closed(self, assoc: Association, *, connected: bool) -> str:
        primitive = assoc.acceptor.primitive
        if assoc.is_rejected and primitive is not None:
            return (
                f"{self._peer} rejects the association: {primitive.reason_str}; "
                f"does it know our AE title {self._calling_ae!r} and this address?"
            )
        if not connected:
            return f"{self._peer} cannot be reached; is it running, and host and port right?"
        return f"{self._peer} closed the connection or did not answer the association request"

    def _store(self, assoc: Association, kind: str, ds: Dataset) -> _Answer:
        syntax = ds.file_meta.TransferSyntaxUID
        accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in assoc.accepted_contexts}
        if (ds.SOPClassUID, syntax) not in accepted:
            return _Answer(kind, 0x0122, f"does not accept {UID(ds.SOPClassUID).name} in {UID(syntax).name}")
        try:
            answer = assoc.send_c_store(ds)
        except RuntimeError:  # the association ended between two objects
            answer = Dataset()
        except ValueError as error:
            message = f"the {kind} cannot be encoded in {UID(syntax).name}"
            raise Permanent(message) from error
        if "Status" not in answer:
            message = f"{self._peer} cut the connection or did not answer C-STORE of {kind}"
            raise Transient(message)
        return _Answer(kind, int(answer.Status), " ".join(str(answer.get("ErrorComment") or "").split()))

    def _summary(self, answers: Sequence[_Answer]) -> str:
        failed = [answer for answer in answers if answer.failed]
        if failed:
            message = f"{self._peer} refuses " + "; ".join(map(str, failed))
            raise Transient(message) if any(answer.transient for answer in failed) else Permanent(message)
        there = sum(answer.status == _DUPLICATE for answer in answers)
        line = f"{len(answers) - there} stored by {self._peer}"
        if there:
            line += f", {there} there already"
        warnings = [str(answer) for answer in answers if answer.warning]
        return line + (f"; warning {'; '.join(warnings)}" if warnings else "")


def _read(result: Result) -> Dataset:
    if result.media_type != "application/dicom":
        message = f"a PACS takes no {result.kind}; take it out of `results` of this destination"
        raise Permanent(message)
    try:
        ds = pydicom.dcmread(io.BytesIO(result.content))
        _ = ds.SOPClassUID, ds.SOPInstanceUID, ds.file_meta.TransferSyntaxUID
    except (InvalidDicomError, AttributeError) as error:
        message = f"the stored {result.kind} is no DICOM object any more; make the report again"
        raise Permanent(message) from error
    return ds


def _send_at_once(event: evt.Event, opened: list[bool]) -> None:
    """Switch Nagle's algorithm off: with it small objects wait 40 ms each for the peer's delayed acknowledgement."""
    opened.append(True)
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def _ended(assoc: Association) -> Iterator[None]:
    """Release the association at the end; with an exception on its way abort it, which hardly waits."""
    try:
        yield
    except BaseException:
        assoc.acse_timeout = _ABORT_SECONDS
        assoc.abort()
        raise
    if assoc.is_established:
        assoc.acse_timeout = _RELEASE_SECONDS  # then pynetdicom aborts ...
        assoc.dul.artim_timer.timeout = _ABORT_SECONDS  # ... and gives the peer this long to close (PS3.8 9.1.5)
        assoc.release()
