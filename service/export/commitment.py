"""Until a PACS has committed itself to keep everything that it got: asked, waited for, sent again, given up.

A step of this is done whenever the row of the commitment is due: at once after the delivery, when a report has come,
and now and then in between. Nothing is kept in memory.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from service import clock
from service.db import sent
from service.db.engine import Database
from service.db.sent import Delivered
from service.domain.errors import Permanent, Transient, Waiting
from service.domain.job import WAITS
from service.domain.sent import CommitmentReport, Committed, SentObject
from service.export.dicom_peer import NotOffered

_PATIENCE = timedelta(days=3)
#: After so long without a report it is asked again: the PACS may have lost the request, or may be slow.
_ASK_AGAIN = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6))
_LOOK_SECONDS, _MOST_LOOK_SECONDS = 15.0, 1800.0
#: Before an object that the PACS says it lost is sent again, the first time, the second, ...; then it is given up.
_SEND_AGAIN = (timedelta(0), timedelta(minutes=5), timedelta(hours=1))
_NO_SUCH_CLASS, _CLASS_CONFLICT = 0x0122, 0x0119
_REASONS = {  # PS3.3 C.14.1.1
    0x0110: "processing failure",
    0x0112: "no such object",
    0x0119: "another SOP class",
    0x0122: "no commitment for this kind of object",
    0x0131: "transaction UID used before",
    0x0213: "out of resources",
}


class Archive(Protocol):
    """A destination that can be asked for storage commitment."""

    def ask_commitment(
        self, transaction_uid: str, instances: Sequence[tuple[str, str]], heard: Callable[[CommitmentReport], bool]
    ) -> None:
        """See ``commitment_scu.ask``."""


class Pursuit:
    """One step on the way to the commitment of all objects of a delivery."""

    def __init__(
        self, db: Database, what: Delivered, archive: Archive, send: Callable[[Collection[str]], None]
    ) -> None:
        """``send``: sends objects, by their SOP Instance UIDs, once more; raises as a delivery does."""
        self._db, self._what, self._archive, self._send = db, what, archive, send

    def step(self, attempt: int) -> str:
        """Do what is to be done now.

        Args:
            attempt: 1 for the first since the delivery, or since a person had it tried again.

        Returns:
            One line on what was committed, when nothing is left.

        Raises:
            Waiting: for the report.
            Permanent: the PACS never reported, lost an object again and again, or did not take it again for days.
            Transient, Permanent: as ``ask_commitment`` and ``send``.
        """
        if attempt == 1:
            sent.give_up(self._db, self._what)
        self._send_lost()
        if self._open() and self._is_time_to_ask():
            try:
                self._ask()
            except NotOffered as refusal:
                return f"does not offer storage commitment: {refusal}"
        if self._lost() or self._open():
            raise Waiting(self._why(), retry_after=self._pause(attempt))
        return self._summary()

    def _objects(self) -> list[SentObject]:
        return [each for each in sent.objects(self._db, self._what) if each.answer.stored]

    def _open(self) -> list[SentObject]:
        """Nothing is known of them yet."""
        return [each for each in self._objects() if each.commitment in {Committed.NOT_ASKED, Committed.ASKED}]

    def _lost(self) -> list[SentObject]:
        """The PACS does not have them; those of a class for which it never gives commitment are left out."""
        failed = (each for each in self._objects() if each.commitment is Committed.FAILED)
        return [each for each in failed if each.reason != _NO_SUCH_CLASS]

    def _send_lost(self) -> None:
        due = []
        for each in self._lost():
            if each.reason == _CLASS_CONFLICT or each.times_sent > len(_SEND_AGAIN):
                message = f"no storage commitment: {_words(each)}, sent {each.times_sent} times"
                raise Permanent(message)
            if _next_sending(each) <= clock.now():
                due.append(each.answer.sop_instance_uid)
        if not due:
            return
        try:
            self._send(due)
        except Transient as trouble:
            asked = sent.asked_at(self._db, self._what)
            if not asked or clock.now() < asked[-1] + _PATIENCE:
                raise
            message = f"no storage commitment: what the PACS lost was not sent again for days: {trouble}"
            raise Permanent(message) from trouble

    def _is_time_to_ask(self) -> bool:
        asked = sent.asked_at(self._db, self._what)
        if not asked or any(each.commitment is Committed.NOT_ASKED for each in self._objects()):
            return True
        if clock.now() > asked[0] + _PATIENCE:
            times = f"{len(asked)} times since {asked[0]:%Y-%m-%d %H:%M} (UTC)"
            message = f"no storage commitment: asked {times}, no report; does it know our AE title, address and port?"
            raise Permanent(message)
        return clock.now() > asked[-1] + _ASK_AGAIN[min(len(asked), len(_ASK_AGAIN)) - 1]

    def _ask(self) -> None:
        instances = [(each.answer.sop_class_uid, each.answer.sop_instance_uid) for each in self._open()]
        transaction_uid = clock.fresh_uid()
        sent.request(self._db, self._what, transaction_uid, [uid for _, uid in instances])
        self._archive.ask_commitment(transaction_uid, instances, partial(sent.answered, self._db))

    def _why(self) -> str:
        lost = self._lost()
        if lost:
            return f"{WAITS}the time to send again what the PACS lost: {'; '.join(map(_words, lost))}"
        asked = sent.asked_at(self._db, self._what)
        times = f"asked {len(asked)} times, last" if len(asked) > 1 else "asked"
        return f"{WAITS}storage commitment of {len(self._open())} objects, {times} at {asked[-1]:%Y-%m-%d %H:%M} (UTC)"

    def _pause(self, attempt: int) -> float:
        """Seconds until the next look; a report that comes ends it."""
        seconds = min(_LOOK_SECONDS * 2.0 ** min(attempt - 1, 20), _MOST_LOOK_SECONDS)
        waits = [(_next_sending(each) - clock.now()).total_seconds() for each in self._lost()]
        return max(1.0, min([seconds, *waits]))

    def _summary(self) -> str:
        objects = self._objects()
        kept = sum(each.commitment is Committed.COMMITTED for each in objects)
        others = [_words(each) for each in objects if each.commitment is Committed.FAILED]
        return f"{kept} objects committed" + (f"; not committed: {'; '.join(others)}" if others else "")


def _next_sending(lost: SentObject) -> datetime:
    """When it is due to be sent again; after the last time it is judged at once."""
    waits = (*_SEND_AGAIN, timedelta(0))
    return lost.sent_at + waits[min(lost.times_sent, len(waits)) - 1]


def _words(lost: SentObject) -> str:
    """Which object, and why."""
    reason = _REASONS.get(lost.reason, "no reason that DICOM names")
    return f"{lost.answer.kind}: {lost.reason:04X}H {reason}"
