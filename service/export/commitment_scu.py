"""Storage commitment as SCU (PS3.4 Annex J): a PACS is asked to keep what it got, and says which of it it keeps.

The request (N-ACTION) is answered at once, the report (N-EVENT-REPORT) comes when the PACS has looked: on the same
association while that is open, else on a new one to our listener, which knows us as the SCU (service/listener).
"""

import logging
import threading
from collections.abc import Callable, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF

from service.domain.errors import Transient, Unavailable
from service.domain.sent import CommitmentReport, read_report
from service.export.dicom_peer import DicomPeer, NotOffered

_LOG = logging.getLogger(__name__)

_PUSH_MODEL, _PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
_CONTEXTS = [(_PUSH_MODEL, str(syntax)) for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)]
_REQUEST_COMMITMENT = 1  # action type
_SUCCESS, _PROCESSING_FAILURE, _INVALID_ARGUMENT = 0x0000, 0x0110, 0x0115
_NOT_DONE_HERE = {0x0122, 0x0123, 0x0211}  # no such SOP class, no such action, unrecognized operation (PS3.7 Annex C)
_REPORT_SECONDS = 1.0  # a PACS that reports on the same association does so at once
_ANSWER_SECONDS = 10.0  # until the report is kept and our answer has gone out


def is_offered(peer: DicomPeer) -> bool:
    """Whether the PACS accepts to be asked. Raises Transient."""
    try:
        with peer.associated(_CONTEXTS):
            return True
    except NotOffered:
        return False


def ask(
    peer: DicomPeer,
    transaction_uid: str,
    instances: Sequence[tuple[str, str]],
    heard: Callable[[CommitmentReport], bool],
) -> None:
    """Ask for commitment, and wait a moment for a report on the same association.

    Args:
        peer: the PACS.
        transaction_uid: names the request; the report will bear it.
        instances: SOP class UID and SOP instance UID of each object.
        heard: keeps a report durably; called from another thread; False if nobody asked for it.

    Raises:
        NotOffered: the PACS knows no storage commitment.
        Transient: no answer, or a refusal; the PACS's own words.
    """
    reported, answered = threading.Event(), threading.Event()

    def report(event: evt.Event) -> tuple[int, None]:
        reported.set()
        try:
            known = heard(read_report(event.event_information))
        except Exception as error:  # noqa: BLE001 - the edge of pynetdicom's thread: the PACS is told, and tells again
            _LOG.warning("a report of %s was not kept: %s", peer, type(error).__name__)
            return _PROCESSING_FAILURE, None
        return _SUCCESS if known else _INVALID_ARGUMENT, None

    def sent(event: evt.Event) -> None:
        """After a report the next thing that goes out is our answer to it; a release before that would break it."""
        if reported.is_set() and isinstance(event.pdu, P_DATA_TF):
            answered.set()

    with peer.associated(_CONTEXTS, [(evt.EVT_N_EVENT_REPORT, report), (evt.EVT_PDU_SENT, sent)]) as assoc:
        try:
            answer, _ = assoc.send_n_action(
                _information(transaction_uid, instances), _REQUEST_COMMITMENT, _PUSH_MODEL, _PUSH_MODEL_INSTANCE
            )
        except RuntimeError:  # the association ended at once
            answer = Dataset()
        _judge(peer, answer)
        if reported.wait(_REPORT_SECONDS):
            answered.wait(_ANSWER_SECONDS)


def _information(transaction_uid: str, instances: Sequence[tuple[str, str]]) -> Dataset:
    """Action Information (PS3.4 table J.3-1)."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    items = []
    for sop_class_uid, uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, uid
        items.append(item)
    information.ReferencedSOPSequence = items
    return information


def _judge(peer: DicomPeer, answer: Dataset) -> None:
    status = answer.get("Status")
    if status is None:
        message = f"{peer} cut the connection or did not answer the request for storage commitment"
        raise Unavailable(message)
    words = " ".join(str(answer.get("ErrorComment") or "").split())
    if status in _NOT_DONE_HERE:
        message = f"{peer} answers the request for storage commitment with {status:04X}H {words}".rstrip()
        raise NotOffered(message)
    if status != _SUCCESS:
        message = f"{peer} refuses storage commitment: {status:04X}H {words}".rstrip()
        raise Transient(message)
