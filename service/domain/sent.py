"""What became of each object that was sent to an archive: the status of its storage, and its storage commitment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from service.domain.errors import NotUnderstood
from service.domain.uid import is_uid


class Committed(StrEnum):
    """How far the storage commitment of an object is (PS3.4 Annex J)."""

    NOT_ASKED = ""
    ASKED = "asked"
    COMMITTED = "committed"
    FAILED = "failed"  #: the archive says that it does not have it, or does not promise to keep it


@dataclass(frozen=True, slots=True)
class ObjectAnswer:
    """What an archive said to one object.

    Attributes:
        kind: of the result.
        sop_class_uid, sop_instance_uid: the object.
        status: C-STORE status (PS3.4 B.2.3), or the reason or warning of STOW-RS, which has the same values.
        stored: the archive has it, as it was sent or coerced (B000H); False = it has refused it.
        comment: the archive's own words.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    status: int
    stored: bool
    comment: str = ""


@dataclass(frozen=True, slots=True)
class SentObject:
    """An object in the record of a delivery.

    Attributes:
        answer: the last thing that the archive said when it was sent.
        sha256: of the bytes that were sent.
        times_sent: how often.
        sent_at: the last time.
        commitment: how far it is.
        reason: Failure Reason of a commitment that failed (PS3.3 C.14.1.1), else 0.
    """

    answer: ObjectAnswer
    sha256: str
    times_sent: int
    sent_at: datetime
    commitment: Committed
    reason: int


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """An archive's answer to a request for storage commitment (PS3.4 table J.3-2).

    Attributes:
        transaction_uid: of the request.
        committed: SOP Instance UIDs that it keeps.
        failed: SOP Instance UIDs that it does not keep -> Failure Reason.
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failed: Mapping[str, int]


class Information(Protocol):
    """A data set, as far as it is needed here."""

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - pydicom's signature
        """The value of a keyword."""
        ...


def read_report(information: Information) -> CommitmentReport:
    """Read an Event Information. Raises NotUnderstood where it lacks what it must have."""
    try:
        transaction_uid = str(information.get("TransactionUID"))
        kept = [str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or ()]
        lost = {
            str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0)
            for item in information.get("FailedSOPSequence") or ()
        }
    except Exception as error:  # noqa: BLE001 - damaged values make the parser raise nearly anything
        message = f"no Event Information of a storage commitment ({type(error).__name__})"
        raise NotUnderstood(message) from None
    if not is_uid(transaction_uid):
        message = "a report of storage commitment without a transaction"
        raise NotUnderstood(message)
    return CommitmentReport(transaction_uid, tuple(uid for uid in kept if uid not in lost), lost)
