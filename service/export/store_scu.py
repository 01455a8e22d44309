"""C-STORE SCU (PS3.4 Annex B): DICOM results to a PACS over one association, and storage commitment afterwards."""

import io
import time
from collections.abc import Callable, Sequence

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom.association import Association

from service.domain.errors import Permanent, Transient, Unavailable
from service.domain.result import DICOM_RESULTS, Delivery, Result
from service.domain.sent import CommitmentReport, ObjectAnswer
from service.export import commitment_scu
from service.export.dicom_peer import ECHO, DicomPeer
from service.export.store_status import DUPLICATE, SUCCESS, is_warning, summary
from service.settings import DestinationSettings

_NO_SUCH_CLASS = 0x0122
_SILENT = 0.9  # of the time that an answer may take; the limit of the connection began a moment earlier


class StoreScu:
    """A PACS that takes C-STORE. Sending an object twice is harmless: its UID is derived from the job."""

    takes: tuple[str, ...] = DICOM_RESULTS
    default_results: tuple[str, ...] = ("sr", "seg-plane", "secondary-capture")  # shown by every viewer that was tried

    def __init__(self, entry: DestinationSettings, calling_ae: str) -> None:
        """Take AE title and address from the URL; nothing is opened yet.

        Args:
            entry: its url is ``dicom://AET@host:port``, port 104 if none is given.
            calling_ae: our own AE title.

        Raises:
            ConfigurationError: a part is missing or wrong.
        """
        self.peer = DicomPeer(entry.url, calling_ae)
        self.commitment = entry.commitment

    def deliver(self, delivery: Delivery) -> str:
        """See Destination. All objects are tried before a refusal is raised."""
        objects = [(result.kind, _read(result)) for result in delivery.results]
        if not objects:
            return "nothing to store"
        contexts = sorted({(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for _, ds in objects})
        answers: list[ObjectAnswer] = []
        with self.peer.associated(contexts) as assoc:
            for kind, ds in objects:
                answers.append(self._store(assoc, kind, ds, heard=bool(answers)))
                delivery.note(answers[-1])
        return summary(str(self.peer), answers)

    def check(self) -> str:
        """See Destination: C-ECHO (PS3.4 Annex A)."""
        with self.peer.associated([ECHO]) as assoc:
            self.peer.echo(assoc)
        line = f"{self.peer} answers C-ECHO"
        return f"{line} and offers storage commitment" if self.commitment and self._offers_commitment() else line

    def _offers_commitment(self) -> bool:
        """Raises Permanent where the settings want it and the PACS does not offer it."""
        if commitment_scu.is_offered(self.peer):
            return True
        message = f"{self.peer} offers no storage commitment; set commitment = false, or switch it on there"
        raise Permanent(message)

    def ask_commitment(
        self, transaction_uid: str, instances: Sequence[tuple[str, str]], heard: Callable[[CommitmentReport], bool]
    ) -> None:
        """See ``commitment_scu.ask``."""
        commitment_scu.ask(self.peer, transaction_uid, instances, heard)

    def _store(self, assoc: Association, kind: str, ds: Dataset, *, heard: bool) -> ObjectAnswer:
        """Raises Unavailable for silence, unless it was ``heard`` before; Transient for what may lie in the object."""
        syntax = ds.file_meta.TransferSyntaxUID
        accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in assoc.accepted_contexts}
        if (ds.SOPClassUID, syntax) not in accepted:
            return _answer(
                kind, ds, _NO_SUCH_CLASS, f"does not accept {UID(ds.SOPClassUID).name} in {UID(syntax).name}"
            )
        began = time.monotonic()
        try:
            answer = assoc.send_c_store(ds)
        except RuntimeError:  # the association ended between two objects
            answer = Dataset()
        except ValueError as error:
            message = f"the {kind} cannot be encoded in {UID(syntax).name}"
            raise Permanent(message) from error
        if "Status" not in answer:
            # pynetdicom says the same of a silent peer, of one that aborts and of one that answers nonsense
            if time.monotonic() - began < _SILENT * (assoc.dimse_timeout or 0.0):
                message = f"{self.peer} cut the connection at C-STORE of {kind}, or its answer is not valid"
                raise Transient(message)
            message = f"{self.peer} did not answer C-STORE of {kind} within {assoc.dimse_timeout:g} s"
            raise Transient(message) if heard else Unavailable(message)
        return _answer(kind, ds, int(answer.Status), " ".join(str(answer.get("ErrorComment") or "").split()))


def _answer(kind: str, ds: Dataset, status: int, comment: str) -> ObjectAnswer:
    stored = status in {SUCCESS, DUPLICATE} or is_warning(status)
    return ObjectAnswer(kind, str(ds.SOPClassUID), str(ds.SOPInstanceUID), status, stored, comment)


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
