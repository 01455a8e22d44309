"""C-FIND SCU, Study Root (PS3.4 C.4.1): a sender says how many SOP instances it has of a study."""

import contextlib
import socket
import threading
from collections.abc import Sequence
from urllib.parse import quote

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association

from service.domain.errors import Permanent
from service.export.dicom_peer import ECHO, DicomPeer

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
_STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
_CONTEXTS = [(_STUDY_ROOT, str(syntax)) for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)]
_SUCCESS, _PENDING = 0x0000, {0xFF00, 0xFF01}


class _EndedError(RuntimeError):
    """The association is over, or we want it to be; pynetdicom raises a RuntimeError where it notices first."""


class Line:
    """The connection of one round of questions; cut when its time is over, whatever the peer does meanwhile."""

    def __init__(self) -> None:
        """Not connected yet."""
        self._timer = threading.Timer(ANSWER_SECONDS, self.cut)
        self._timer.daemon = True
        self._socket: socket.socket | None = None

    def opened(self, event: evt.Event) -> None:
        """Called by pynetdicom when the connection stands."""
        transport = event.assoc.dul.socket
        self._socket = None if transport is None else transport.socket
        self._timer.start()

    def cut(self) -> None:
        """End it now; called from any thread."""
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def ended(self) -> None:
        """Nothing is to be cut any more."""
        self._timer.cancel()


def peer_of(ae_title: str, host: str, port: int, calling_ae: str) -> DicomPeer:
    """A sender that may be asked; it gets less time than a destination, because a study waits for it."""
    address = f"[{host}]" if ":" in host else host
    url = f"dicom://{quote(ae_title, safe='')}@{address}:{port}"
    return DicomPeer(url, calling_ae, connect_seconds=CONNECT_SECONDS, answer_seconds=ANSWER_SECONDS)


def count_images(peer: DicomPeer, study_uids: Sequence[str], line: Line) -> dict[str, int | None]:
    """Ask how many SOP instances there are of some studies, on one association.

    Args:
        peer: the sender.
        study_uids: asked one after the other, as long as the association lives.
        line: ends it in time.

    Returns:
        For each study that was asked: the number; None if there was no answer, a refusal, not exactly one match, or a
        match without Number of Study Related Instances (0020,1208), which is optional (PS3.4 table C.6-5).

    Raises:
        NotOffered, Transient: no association.
    """
    counts: dict[str, int | None] = {}
    try:
        with peer.associated(_CONTEXTS, [(evt.EVT_CONN_OPEN, line.opened)]) as assoc:
            for uid in study_uids:
                counts[uid] = None
                counts[uid] = _count(assoc, uid)
    except RuntimeError:  # on its way it made ``associated`` abort instead of asking politely for release
        return counts
    finally:
        line.ended()
    return counts


def check(peer: DicomPeer) -> str:
    """Whether it answers, and can be asked; one line.

    Raises:
        Transient: it does not answer.
        Permanent: it answers, but cannot be asked.
    """
    line = Line()
    try:
        with peer.associated([ECHO, *_CONTEXTS], [(evt.EVT_CONN_OPEN, line.opened)]) as assoc:
            offered = {str(context.abstract_syntax) for context in assoc.accepted_contexts}
            if ECHO[0] in offered:
                peer.echo(assoc)
    finally:
        line.ended()
    if _STUDY_ROOT not in offered:
        message = f"{peer} offers no Study Root C-FIND; set query_port = 0, or switch it on there"
        raise Permanent(message)
    return f"{peer} {'answers C-ECHO' if ECHO[0] in offered else 'knows no C-ECHO'} and offers C-FIND"


def _count(assoc: Association, study_uid: str) -> int | None:
    """Raises RuntimeError if there can be no answer any more."""
    question = Dataset()
    question.QueryRetrieveLevel = "STUDY"
    question.StudyInstanceUID = study_uid
    question.NumberOfStudyRelatedInstances = ""
    match: Dataset | None = None
    for answer, identifier in assoc.send_c_find(question, _STUDY_ROOT):
        status = answer.get("Status")
        if status is None:
            raise _EndedError
        if status not in _PENDING:
            return None if match is None or status != _SUCCESS else _number(match, study_uid)
        if match is not None or identifier is None:
            break  # it ignores the UID: who knows how many more there are
        match = identifier
    raise _EndedError


def _number(match: Dataset, study_uid: str) -> int | None:
    try:
        number = int(match.NumberOfStudyRelatedInstances)
        same = str(match.StudyInstanceUID) == study_uid
    except Exception:  # noqa: BLE001 - pydicom decodes values here, and what is damaged raises whatever it likes
        return None
    return number if same and number >= 0 else None
