"""Storage commitment (PS3.4 Annex J): a sender asks whether we keep its instances, so that it may delete them.

The request is recorded before it is acknowledged. The answer says what is on disk and in the record at the moment it
is given. It goes out on a new association to senders whose port the settings name, to others on the association on
which they asked; what did not arrive is told again, for a day.
"""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode

from service.db import commitments as record
from service.db import sent
from service.db.commitments import Holding, Transaction
from service.db.engine import Database
from service.domain.errors import NotUnderstood
from service.domain.sent import read_report
from service.domain.uid import is_uid
from service.storage import Storage

_LOG = logging.getLogger(__name__)

PUSH_MODEL, PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
REQUEST_COMMITMENT = 1  # action type
ALL_COMMITTED, SOME_FAILED = 1, 2  # event types
TRANSFER_SYNTAXES = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
_PROCESSING_FAILURE, _NO_SUCH_INSTANCE, _CLASS_CONFLICT = 0x0110, 0x0112, 0x0119  # failure reasons (PS3.3 C.14.1.1)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a sender listens."""

    host: str
    port: int


class Commitments:
    """Takes requests and makes answers; safe for many threads."""

    def __init__(self, db: Database, storage: Storage, ports: Mapping[str, Address]) -> None:
        """``ports``: AE title to the address of senders that are told on a new association; host may be empty."""
        self._db, self._storage, self._ports = db, storage, dict(ports)
        self.taken: Callable[[], None] = lambda: None  # called after each request that will be told elsewhere

    def request(self, raw: bytes, transfer_syntax_uid: str, calling_ae: str, host: str) -> Transaction | None:
        """Record a request; on return it is durable.

        Returns:
            What is to be told on the association of the request, None where it is told on a new one.

        Raises:
            NotUnderstood: the Action Information lacks what it must have (PS3.4 table J.3-1).
        """
        transaction_uid, instances = _read(raw, transfer_syntax_uid)
        here = calling_ae not in self._ports
        transaction = record.request(self._db, transaction_uid, calling_ae, host, instances, told_at_once=here)
        _LOG.info("%s asks for commitment of %d instances", calling_ae, len(instances))
        if here:
            return transaction
        self.taken()
        return None

    def reported(self, raw: bytes, transfer_syntax_uid: str, calling_ae: str) -> bool:
        """Record an archive's report on what we asked it for; on return it is durable. False if we asked for nothing.

        Raises:
            NotUnderstood: the Event Information lacks what it must have (PS3.4 table J.3-2).
        """
        report = read_report(_decoded(raw, transfer_syntax_uid))
        known = sent.answered(self._db, report)
        counts = (len(report.committed), len(report.failed), "" if known else ", which nobody asked for")
        _LOG.info("%s reports on commitment: %d kept, %d failed%s", calling_ae, *counts)
        return known

    def due(self) -> list[Transaction]:
        """What is to be told on new associations now."""
        return record.take_due(self._db, self._ports.keys())

    def unheard(self, calling_ae: str) -> list[Transaction]:
        """Earlier answers that a sender without a known port has not heard."""
        return record.take_due(self._db, (calling_ae,))

    def address(self, transaction: Transaction) -> Address:
        """Where to tell it."""
        known = self._ports[transaction.calling_ae]
        return Address(known.host or transaction.host, known.port)

    def report(self, transaction: Transaction) -> tuple[int, Dataset]:
        """Event type and Event Information (PS3.4 table J.3-2), as things are now."""
        known = record.holdings(self._db, [uid for _, uid in transaction.instances])
        kept, lost = list[Dataset](), list[Dataset]()
        for sop_class_uid, uid in transaction.instances:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, uid
            reason = self._missing(known.get(uid), sop_class_uid)
            if reason:
                item.FailureReason = reason
            (lost if reason else kept).append(item)
        information = Dataset()
        information.TransactionUID = transaction.transaction_uid
        if kept:
            information.ReferencedSOPSequence = kept
        if lost:
            information.FailedSOPSequence = lost
        return SOME_FAILED if lost else ALL_COMMITTED, information

    def told(self, transaction: Transaction, status: int) -> None:
        """The sender answered our report with this status."""
        if status == 0:
            record.answered(self._db, transaction.id)
        else:
            record.failed(self._db, transaction.id, f"{transaction.calling_ae} answers the report with {status:04X}H")

    def failed(self, transaction: Transaction, message: str) -> None:
        """The report did not get through."""
        record.failed(self._db, transaction.id, message)

    def _missing(self, holding: Holding | None, sop_class_uid: str) -> int:
        """Failure Reason, 0 if the instance is kept."""
        if holding is None or not holding.storage_key:  # never here, or removed after storage.keep_days
            return _NO_SUCH_INSTANCE
        if holding.sop_class_uid != sop_class_uid:
            return _CLASS_CONFLICT
        try:
            self._storage.open(holding.storage_key).close()
        except OSError as error:
            _LOG.error("commitment refused, %s: %s", holding.storage_key, type(error).__name__)
            return _PROCESSING_FAILURE
        return 0


def encoded(information: Dataset, transfer_syntax_uid: str) -> bytes:
    """A data set as it goes into P-DATA, in one of ``TRANSFER_SYNTAXES``."""
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    raw = encode(information, implicit, is_little_endian=True)
    if raw is None:
        message = "an Event Information cannot be encoded"
        raise ValueError(message)
    return raw


def _decoded(raw: bytes, transfer_syntax_uid: str) -> Dataset:
    """A data set; its values are read on access, which may raise nearly anything."""
    try:
        return decode(io.BytesIO(raw), transfer_syntax_uid == ImplicitVRLittleEndian, is_little_endian=True)
    except Exception as error:  # noqa: BLE001 - damaged bytes make the parser raise nearly anything
        message = f"the data set cannot be read ({type(error).__name__})"
        raise NotUnderstood(message) from None


def _read(raw: bytes, transfer_syntax_uid: str) -> tuple[str, Sequence[tuple[str, str]]]:
    ds = _decoded(raw, transfer_syntax_uid)
    try:
        transaction_uid = str(ds.TransactionUID)
        items = ds.ReferencedSOPSequence
        pairs = [(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)) for item in items]
    except Exception as error:  # noqa: BLE001 - damaged bytes make the parser raise nearly anything
        message = f"no Action Information of a storage commitment ({type(error).__name__})"
        raise NotUnderstood(message) from None
    if not pairs or not all(is_uid(uid) for uid in (transaction_uid, *(uid for pair in pairs for uid in pair))):
        message = "a storage commitment without instances, or with a malformed UID"
        raise NotUnderstood(message)
    return transaction_uid, pairs
