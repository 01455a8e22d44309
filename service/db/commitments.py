"""Storage commitments asked of us: kept until their answer has reached the sender, for a day at most."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from service import clock
from service.db.engine import Database
from service.db.tables import Commitment, Instance

KEPT = timedelta(days=1)
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 15.0, 900.0
_AT_ONCE = 20
_LOOKED_UP = 500  # UIDs in one query


@dataclass(frozen=True, slots=True)
class Transaction:
    """A commitment that waits for its answer.

    Attributes:
        calling_ae, host: who asked, and from where.
        instances: SOP class UID and SOP instance UID of each instance.
        attempts: to answer, this one included.
    """

    id: int
    transaction_uid: str
    calling_ae: str
    host: str
    instances: tuple[tuple[str, str], ...]
    attempts: int


@dataclass(frozen=True, slots=True)
class Holding:
    """An instance that the record knows."""

    sop_class_uid: str
    storage_key: str


def request(
    db: Database,
    transaction_uid: str,
    calling_ae: str,
    host: str,
    instances: Sequence[tuple[str, str]],
    *,
    told_at_once: bool,
) -> Transaction:
    """Keep what was asked for; the same transaction of the same sender again is answered again.

    With ``told_at_once`` the caller makes the first attempt, otherwise it is due for whoever asks ``take_due``.
    """
    now = clock.now()
    delay = timedelta(seconds=FIRST_DELAY_SECONDS if told_at_once else 0)
    values = {"host": host, "instances": json.dumps(instances), "received_at": now, "message": ""}
    values |= {"attempts": int(told_at_once), "not_before": now + delay, "answered_at": None, "given_up_at": None}
    with db.begin() as session:
        row = session.scalars(
            select(Commitment)
            .where(Commitment.calling_ae == calling_ae, Commitment.transaction_uid == transaction_uid)
            .with_for_update()
        ).one_or_none()
        if row is None:
            row = Commitment(transaction_uid=transaction_uid, calling_ae=calling_ae)
            session.add(row)
        for name, value in values.items():
            setattr(row, name, value)
        session.flush()
        return _transaction(row)


def take_due(db: Database, calling_aes: Collection[str]) -> list[Transaction]:
    """Commitments of these senders whose answer is due; each is postponed before it is given out."""
    now = clock.now()
    waiting = (
        Commitment.answered_at.is_(None),
        Commitment.given_up_at.is_(None),
        Commitment.not_before <= now,
        Commitment.calling_ae.in_(calling_aes),
    )
    taken = []
    with db.begin() as session:
        query = select(Commitment).where(*waiting).order_by(Commitment.not_before).limit(_AT_ONCE)
        for row in session.scalars(query.with_for_update(skip_locked=True)):
            row.attempts += 1
            row.not_before = now + timedelta(seconds=_delay(row.attempts))
            taken.append(_transaction(row))
    return taken


def answered(db: Database, transaction_id: int) -> None:
    """The sender has confirmed the answer."""
    with db.begin() as session:
        _set(session, transaction_id, answered_at=clock.now(), message="")


def failed(db: Database, transaction_id: int, message: str) -> None:
    """An attempt failed, for this reason; it is tried again until the day is over."""
    now = clock.now()
    with db.begin() as session:
        _set(session, transaction_id, message=message)
        late = Commitment.received_at < now - KEPT
        session.execute(update(Commitment).where(Commitment.id == transaction_id, late).values(given_up_at=now))


def holdings(db: Database, sop_instance_uids: Sequence[str]) -> dict[str, Holding]:
    """Of these instances the ones that were recorded, by their UID."""
    found = dict[str, Holding]()
    with db.session() as session:
        for start in range(0, len(sop_instance_uids), _LOOKED_UP):
            query = select(Instance.sop_instance_uid, Instance.sop_class_uid, Instance.storage_key).where(
                Instance.sop_instance_uid.in_(sop_instance_uids[start : start + _LOOKED_UP]), ~Instance.conflict
            )
            found |= {uid: Holding(sop_class, key) for uid, sop_class, key in session.execute(query)}
    return found


def _delay(attempts: int) -> float:
    return min(FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 20), LONGEST_DELAY_SECONDS)


def _transaction(row: Commitment) -> Transaction:
    instances = tuple((str(sop_class), str(uid)) for sop_class, uid in json.loads(row.instances))
    return Transaction(row.id, row.transaction_uid, row.calling_ae, row.host, instances, row.attempts)


def _set(session: Session, transaction_id: int, **values: object) -> int:
    statement = update(Commitment).where(Commitment.id == transaction_id).values(**values)
    return cast("CursorResult[Any]", session.execute(statement)).rowcount
