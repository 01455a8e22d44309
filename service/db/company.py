"""Companions: further analyses that a worker takes together with one, so that their images share a network's passes.

Only what is blameless keeps company. What ever failed, or was at work when a worker vanished, runs alone: if it is that
which kills workers, its neighbours lose one attempt and no more.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import aliased

from service import clock
from service.db.engine import Database
from service.db.outbox import Claim, free
from service.db.tables import Job, Outbox
from service.domain.job import Stage


def take_companions(db: Database, taken: Claim, most: int, lease_seconds: float) -> list[Claim]:
    """Take up to ``most`` further rows of the same stage that are due, the oldest first, each under its own lease.

    Of a study with several analyses left none is taken: a later one builds on what an earlier one found.

    Args:
        db: the record.
        taken: what the worker has already; nothing is taken beside what failed before, and only analyses are.
        most: rows.
        lease_seconds: as for ``outbox.claim``.
    """
    if most < 1 or not taken.blameless or taken.stage is not Stage.ANALYZE:
        return []
    with db.session() as session:  # mostly nothing is due, which must not cost a write transaction
        ids = session.scalars(_blameless(select(Outbox.id)).limit(most)).all()
    if not ids:
        return []
    now, holder = clock.now(), taken.lease.rsplit("/", 1)[0]
    claims = []
    with db.begin() as session:
        mine = _blameless(select(Outbox)).where(Outbox.id.in_(ids))
        # never waits for a row that another takes at this moment, so two workers cannot wait for each other
        for row in session.scalars(mine.with_for_update(of=Outbox, skip_locked=True)):
            row.attempts, row.put_off = 1, False
            row.lease, row.lease_until = f"{holder}/{clock.token()}", now + timedelta(seconds=lease_seconds)
            row.started_at = now
            claims.append(Claim(row.id, row.job_id, Stage.ANALYZE, "", 1, row.lease, now, blameless=True))
    return claims


def _blameless(wanted: Select[Any]) -> Select[Any]:
    """Analyses that are due, to which nothing ever happened, each the only one left of its study; the oldest first."""
    other, job_of_other = aliased(Outbox), aliased(Job)
    untouched = (Outbox.lease == "", Outbox.attempts + Outbox.faults + Outbox.lost + Outbox.orphaned == 0)
    another = (
        select(other.id)
        .join(job_of_other, job_of_other.id == other.job_id)
        .where(job_of_other.study_id == Job.study_id, other.id != Outbox.id)
        .where(other.stage == Stage.ANALYZE, other.finished_at.is_(None))
    )
    due = wanted.join(Job, Job.id == Outbox.job_id).where(Outbox.stage == Stage.ANALYZE, free(clock.now()))
    return due.where(*untouched, ~another.exists()).order_by(Outbox.id)
