"""The objects that were sent to archives: what was said to each, and what became of their storage commitment.

Everything is kept for each object, not for each request: an archive may answer an old request, or answer twice.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service import clock
from service.db.engine import Database
from service.db.tables import CommitmentRequest, Outbox, SentObject
from service.domain.job import Stage
from service.domain.sent import CommitmentReport, Committed, ObjectAnswer
from service.domain.sent import SentObject as Sent


@dataclass(frozen=True, slots=True)
class Delivered:
    """What was sent in a job to a destination."""

    job_id: int
    destination: str


def note(db: Database, what: Delivered, answers: Iterable[ObjectAnswer], digests: Mapping[str, str]) -> None:
    """Keep what the archive said in one attempt; ``digests``: SOP Instance UID -> SHA-256 of the bytes."""
    latest = {answer.sop_instance_uid: answer for answer in answers}
    if not latest:
        return
    now = clock.now()
    with db.begin() as session:
        known = {row.sop_instance_uid: row for row in _rows(session, what)}
        for uid, answer in latest.items():
            row = known.get(uid)
            if row is None:
                row = SentObject(job_id=what.job_id, destination=what.destination, sop_instance_uid=uid, times_sent=0)
                session.add(row)
            row.kind, row.sop_class_uid, row.sha256 = answer.kind, answer.sop_class_uid, digests.get(uid, "")
            row.status, row.stored, row.comment = answer.status, answer.stored, answer.comment
            row.times_sent, row.sent_at = row.times_sent + 1, now
            row.commitment, row.reason = Committed.NOT_ASKED, 0


def objects(db: Database, what: Delivered) -> list[Sent]:
    """Everything that was sent, in the order in which it was sent first."""
    with db.session() as session:
        return [view(row) for row in _rows(session, what)]


def request(db: Database, what: Delivered, transaction_uid: str, uids: Sequence[str]) -> None:
    """Keep that commitment is about to be asked for these objects: before it is asked, for the answer may be quick."""
    with db.begin() as session:
        session.add(
            CommitmentRequest(
                transaction_uid=transaction_uid,
                job_id=what.job_id,
                destination=what.destination,
                instances=json.dumps(uids),
                asked_at=clock.now(),
            )
        )
        for row in _rows(session, what, uids):
            row.commitment, row.reason = Committed.ASKED, 0


def answered(db: Database, report: CommitmentReport) -> bool:
    """Keep an archive's answer, and make whoever waits for it due; False if nobody here asked for it.

    A failure is passed over where the object was sent again after that request: it speaks of the past.
    """
    now = clock.now()
    with db.begin() as session:
        asked = session.scalars(
            select(CommitmentRequest).where(CommitmentRequest.transaction_uid == report.transaction_uid)
        ).one_or_none()
        if asked is None:
            return False
        what = Delivered(asked.job_id, asked.destination)
        wanted = set(json.loads(asked.instances))
        for row in _rows(session, what, wanted):
            if row.sop_instance_uid in report.failed and row.sent_at <= asked.asked_at:
                row.commitment, row.reason = Committed.FAILED, report.failed[row.sop_instance_uid]
            elif row.sop_instance_uid in report.committed:
                row.commitment, row.reason = Committed.COMMITTED, 0
        asked.answered_at = now
        waiting = (
            Outbox.job_id == what.job_id,
            Outbox.destination == what.destination,
            Outbox.stage == Stage.COMMIT,
            Outbox.finished_at.is_(None),
            Outbox.not_before > now,
        )
        session.execute(update(Outbox).where(*waiting).values(not_before=now, rung_at=None))
        return True


def asked_at(db: Database, what: Delivered) -> list[datetime]:
    """When commitment was asked for, since the last time that it was given up; the first one first."""
    query = select(CommitmentRequest.asked_at).where(
        CommitmentRequest.job_id == what.job_id,
        CommitmentRequest.destination == what.destination,
        ~CommitmentRequest.given_up,
    )
    with db.session() as session:
        return list(session.scalars(query.order_by(CommitmentRequest.id)))


def give_up(db: Database, what: Delivered) -> None:
    """Begin anew when it is tried again: times and failures so far do not count any more."""
    with db.begin() as session:
        session.execute(
            update(CommitmentRequest)
            .where(CommitmentRequest.job_id == what.job_id, CommitmentRequest.destination == what.destination)
            .values(given_up=True)
        )
        for row in _rows(session, what):
            row.times_sent = min(row.times_sent, 1)


def view(row: SentObject) -> Sent:
    """A row as the domain has it."""
    return Sent(
        ObjectAnswer(row.kind, row.sop_class_uid, row.sop_instance_uid, row.status, row.stored, row.comment),
        row.sha256,
        row.times_sent,
        row.sent_at,
        Committed(row.commitment),
        row.reason,
    )


def _rows(session: Session, what: Delivered, uids: Collection[str] | None = None) -> list[SentObject]:
    query = select(SentObject).where(SentObject.job_id == what.job_id, SentObject.destination == what.destination)
    rows = session.scalars(query.order_by(SentObject.id)).all()
    return [row for row in rows if uids is None or row.sop_instance_uid in uids]
