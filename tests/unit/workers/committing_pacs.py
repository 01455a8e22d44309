"""An archive that is asked for storage commitment, and answers as it is told."""

import threading
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from service.listener.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE

ALL_COMMITTED, SOME_FAILED = 1, 2


@dataclass
class Pacs:
    """An archive that answers as told.

    Attributes:
        statuses: SOP class UID -> status of the next C-STORE; success where nothing is said.
        lost: how often it says of everything that it does not have it.
        where: "here" = reports on the association of the request, "silent" = never, else a port of a listener.
        action: status of its answers to requests for commitment.
        cuts: how often it cuts the connection instead of storing a picture.
        reason: why it has lost something.
    """

    statuses: dict[str, list[int]] = field(default_factory=dict)
    lost: int = 0
    where: str | int = "here"
    action: int = 0
    cuts: int = 0
    reason: int = 0x0112
    stored: list[str] = field(default_factory=list)
    asked: list[Dataset] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    port: int = 0

    def heard(self, count: int) -> list[int]:
        """Our answers to its reports, as soon as there are so many."""
        for _ in range(200):
            if len(self.answers) >= count:
                break
            threading.Event().wait(0.05)
        return self.answers

    def store(self, event: evt.Event) -> int:
        """C-STORE."""
        if self.cuts and event.dataset.SOPClassUID == SecondaryCaptureImageStorage:
            self.cuts -= 1
            event.assoc.abort()
            return 0
        waiting = self.statuses.get(str(event.dataset.SOPClassUID))
        status = waiting.pop(0) if waiting else 0
        self.stored.append(str(event.dataset.SOPInstanceUID))
        return status

    def commit(self, event: evt.Event) -> tuple[int, None]:
        """N-ACTION."""
        self.asked.append(event.action_information)
        if self.action == 0 and self.where != "silent":
            threading.Thread(target=self._report, args=(event.assoc, event.action_information)).start()
        return self.action, None

    def _report(self, assoc: Association | None, asked: Dataset) -> None:
        information = Dataset()
        information.TransactionUID = asked.TransactionUID
        failed = self.lost > 0
        self.lost -= failed
        for item in asked.ReferencedSOPSequence:
            if failed:
                item.FailureReason = self.reason
        setattr(information, "FailedSOPSequence" if failed else "ReferencedSOPSequence", asked.ReferencedSOPSequence)
        event = SOME_FAILED if failed else ALL_COMMITTED
        if self.where == "here":
            threading.Event().wait(0.1)  # after the answer to the request
        else:
            ae = AE("PACS")
            ae.add_requested_context(PUSH_MODEL)
            role = build_role(PUSH_MODEL, scu_role=False, scp_role=True)
            assoc = ae.associate("127.0.0.1", int(self.where), ext_neg=[role])
        assert assoc is not None
        answer, _ = assoc.send_n_event_report(information, event, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        self.answers.append(int(answer.Status))
        if self.where != "here":
            assoc.release()
