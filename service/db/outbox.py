"""The outbox: every stage that is due is a row here, written in the transaction that made it due.

A worker takes a row by a lease with a deadline and renews it while it works. What a dead worker held falls due again
when the lease runs out; nothing has to be cleaned up. Whoever lost the lease cannot finish the row any more.
"""

import os
import platform
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import CursorResult, and_, case, or_, select, update
from sqlalchemy.orm import Session

from service import clock
from service.db import breaker
from service.db.engine import Database
from service.db.tables import Outbox
from service.domain.job import BY_DESTINATION, Stage

SKEW = timedelta(seconds=5)  # clocks of the machines of one installation may differ by so much
RING_AGAIN_SECONDS = 20.0  # a bell that nobody answered is rung again after this time
LOST_LIMIT = 2  # a task that made two workers vanish is not tried a third time
ORPHANED_LIMIT = 5  # nor one that was at work each time when the whole machine or process group went down
AT_ONCE = 200  # rows rung for in one go
FIRST_DELAY_SECONDS = 2.0
LONGEST_DELAY_SECONDS = 900.0
_HOLDER_PARTS = 3  # of a lease: machine, process, its start; then the task, if it is one's, and a token


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a row until ``lease`` runs out.

    Attributes:
        attempt: 1 for the first; those that only had to wait are not counted, except the looks of a commitment.
        faults: how many attempts in a row before this one ended in trouble of our own.
        blameless: nothing ever went wrong with it, so it may be worked on beside others.
    """

    outbox_id: int
    job_id: int
    stage: Stage
    destination: str
    attempt: int
    lease: str
    since: datetime
    faults: int = 0
    blameless: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """A row to ring for."""

    outbox_id: int
    stage: Stage


def ring_due(db: Database, stage: Stage, most: int = AT_ONCE) -> list[Due]:
    """Rows of a stage whose time has come and that nobody holds, the oldest first, ``most`` at the most.

    Of deliveries those that failed least come first: what fails again and again must not be what asks for all the
    others whether a silent destination answers. Each is noted as rung, so that it is not rung for every second.
    """
    now = clock.now()
    again = now - timedelta(seconds=RING_AGAIN_SECONDS)
    # a bell of the future was rung before the clock was set back: it says nothing
    unheard = or_(Outbox.rung_at.is_(None), Outbox.rung_at <= again, Outbox.rung_at > now + SKEW)
    due = and_(Outbox.stage == stage, free(now), unheard)
    with db.session() as session:
        order = (Outbox.attempts, Outbox.id) if stage in BY_DESTINATION else (Outbox.id,)
        ids = session.scalars(select(Outbox.id).where(due).order_by(*order).limit(most)).all()
    if not ids:
        return []
    with db.begin() as session:
        rung = session.scalars(update(Outbox).where(Outbox.id.in_(ids), due).values(rung_at=now).returning(Outbox.id))
        return [Due(outbox_id, stage) for outbox_id in sorted(rung, key=ids.index)]


def claim(db: Database, outbox_id: int, lease_seconds: float, holder: str | None = None) -> Claim | None:
    """Take a row; None if it is done, held by somebody, not yet due, or has made too many workers vanish.

    Args:
        db: the record.
        outbox_id: the row.
        lease_seconds: how long it is ours, unless it is renewed.
        holder: ``holder_name``, and behind a slash the task within that worker for which it is taken.
    """
    now = clock.now()
    lease = f"{holder or holder_name()}/{clock.token()}"
    with db.session() as session:  # a stale bell must not cost a write transaction
        found = session.execute(select(Outbox.destination).where(Outbox.id == outbox_id, free(now))).one_or_none()
        if found is None:
            return None
    with db.begin() as session:
        if found.destination and (wait := breaker.admit(session, found.destination, lease_seconds)):
            _wait_for_peer(session, outbox_id, now, *wait)
            return None
        row = session.execute(
            update(Outbox)
            .where(Outbox.id == outbox_id, free(now))
            .values(
                lost=Outbox.lost + case((Outbox.lease == "", 0), else_=1),
                attempts=Outbox.attempts + 1,
                put_off=False,
                lease=lease,
                lease_until=now + timedelta(seconds=lease_seconds),
                started_at=now,
            )
            .returning(
                Outbox.job_id,
                Outbox.stage,
                Outbox.destination,
                Outbox.attempts,
                Outbox.faults,
                Outbox.lost,
                Outbox.orphaned,
            )
        ).one_or_none()
        if row is None:
            breaker.let_ask(session, found.destination)
            return None
        blameless = row.attempts == 1 and not row.faults + row.lost + row.orphaned
        stage = Stage(row.stage)
        taken = Claim(outbox_id, row.job_id, stage, row.destination, row.attempts, lease, now, row.faults, blameless)
        if row.lost >= LOST_LIMIT or row.orphaned >= ORPHANED_LIMIT:
            _end(session, taken, dead_at=now, message=_vanished(row.lost + row.orphaned))
            breaker.let_ask(session, found.destination)
            return None
        return taken


def _wait_for_peer(session: Session, outbox_id: int, now: datetime, until: datetime, words: str) -> None:
    """Not tried, and not counted; a row that has a story of its own keeps it."""
    message = case((Outbox.attempts == 0, words), else_=Outbox.message)
    mine = (Outbox.id == outbox_id, free(now))
    session.execute(update(Outbox).where(*mine).values(not_before=until, put_off=True, rung_at=None, message=message))


def renew(db: Database, taken: Claim, lease_seconds: float) -> bool:
    """Push the deadline; False if the lease is lost."""
    with db.begin() as session:
        until = clock.now() + timedelta(seconds=lease_seconds)
        return _update(session, taken, lease_until=until)


def finish(session: Session, taken: Claim, message: str = "") -> bool:
    """Mark the row done, inside the caller's transaction; False if the lease was lost: then roll back."""
    now = clock.now()
    return _end(session, taken, finished_at=now, message=message, seconds=(now - taken.since).total_seconds())


def postpone(db: Database, taken: Claim, message: str, delay: float | None = None) -> None:
    """Give the row back for later: back-off doubles with every attempt, with jitter, unless the peer named a time."""
    _later(db, taken, message, _pause(taken.attempt, delay), faults=0)


def wait(db: Database, taken: Claim, message: str, delay: float | None = None) -> None:
    """Give the row back for later, because an answer is awaited: nothing failed, so the attempt does not count.

    The looks of a commitment do count: its pauses grow with them, and it has a patience of its own.
    """
    counted = taken.attempt if taken.stage is Stage.COMMIT else taken.attempt - 1
    _later(db, taken, message, _pause(taken.attempt, delay), faults=0, attempts=counted)


def fault(db: Database, taken: Claim, message: str, delay: float | None = None) -> None:
    """Give the row back after trouble of our own; how often that was so in a row decides on the back-off."""
    faults = taken.faults + 1
    _later(db, taken, message, _pause(faults, delay), faults=faults)


def _later(db: Database, taken: Claim, message: str, seconds: float, **values: object) -> None:
    with db.begin() as session:
        then = clock.now() + timedelta(seconds=seconds)
        _end(session, taken, not_before=then, rung_at=None, message=message, **values)


def _pause(times: int, wish: float | None) -> float:
    return backoff_seconds(times) if wish is None else min(wish, breaker.LONGEST_WISH_SECONDS)


def bury(db: Database, taken: Claim, message: str) -> None:
    """To the dead letters, with the peer's own words."""
    with db.begin() as session:
        _end(session, taken, dead_at=clock.now(), message=message)


def hold(db: Database, taken: Claim, message: str) -> None:
    """Wait for a person."""
    with db.begin() as session:
        _end(session, taken, held=True, message=message)


def retry(db: Database, job_id: int) -> int:
    """Make the dead, held and postponed rows of a job due now; the number of rows. Safe to press twice."""
    return _retry(db, Outbox.job_id == job_id)


def retry_all(db: Database) -> int:
    """Make all dead, held and postponed rows due now; the number of rows."""
    return _retry(db, Outbox.id > 0)


def release_orphans(db: Database) -> int:
    """Give back what dead processes of this machine held, without waiting for the lease; the number of rows.

    This is for a machine that was switched off or a process group that was killed: most likely the work did not kill
    its worker, so it is counted apart from lost ones.
    """
    prefix = f"{_machine()}/"
    with db.session() as session:
        rows = session.execute(select(Outbox.id, Outbox.lease).where(Outbox.lease.startswith(prefix, autoescape=True)))
        orphans = [row for row in rows if not _lives(row.lease)]
    with db.begin() as session:
        return sum(
            _rows(
                session,
                update(Outbox)
                .where(Outbox.id == row.id, Outbox.lease == row.lease)
                .values(orphaned=Outbox.orphaned + 1, **_RELEASED),
            )
            for row in orphans
        )


def worker_lost(db: Database, holder: str, why: str) -> int:
    """Give back at once what a task held whose process was killed, or bury what made too many of them vanish.

    A row that it worked on alone is counted as lost. Of several nobody knows which it was: they are counted as
    orphaned, and each runs alone from then on.

    Args:
        db: the record.
        holder: the pool and the task within it; what others hold is left alone.
        why: in words, for the rows.

    Returns:
        How many rows were given back or buried.
    """
    with db.begin() as session:
        theirs = and_(Outbox.finished_at.is_(None), _of(holder))
        rows = session.scalars(select(Outbox).where(theirs).order_by(Outbox.id).with_for_update()).all()
        for row in rows:
            row.lost, row.orphaned = (row.lost + 1, row.orphaned) if len(rows) == 1 else (row.lost, row.orphaned + 1)
            row.lease, row.lease_until, row.rung_at, row.message = "", None, None, why
            if row.lost >= LOST_LIMIT:
                row.dead_at, row.message = clock.now(), _vanished(row.lost)
        return len(rows)


def give_back(db: Database, holder: str) -> int:
    """Give back everything that a worker holds which stops now, uncounted: nothing failed; the number of rows."""
    statement = update(Outbox).where(_of(holder), Outbox.finished_at.is_(None))
    with db.begin() as session:
        return _rows(session, statement.values(attempts=Outbox.attempts - 1, **_RELEASED))


def holder_name(pid: int | None = None) -> str:
    """Who holds a lease: machine, process and its start, whose death ends it (for a pool, the parent of the pool)."""
    process = os.getpid() if pid is None else pid
    return f"{_machine()}/{process}/{_started(process)}"


def backoff_seconds(attempt: int) -> float:
    """Delay after the given attempt (1 for the first): doubling, capped, with half of it as jitter."""
    longest = min(FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 20), LONGEST_DELAY_SECONDS)
    return longest * (0.5 + clock.jitter() / 2)


def _vanished(times: int) -> str:
    return f"the worker vanished {times} times during this stage (killed, out of memory or time limit)"


def _of(holder: str) -> Any:  # noqa: ANN401 - SQLAlchemy's expression types do not combine
    return Outbox.lease.startswith(f"{holder}/", autoescape=True)


_RELEASED: dict[str, Any] = {"lease": "", "lease_until": None, "rung_at": None}
_ANEW: dict[str, Any] = {"attempts": 0, "faults": 0, "lost": 0, "orphaned": 0}


def free(now: datetime) -> Any:  # noqa: ANN401 - SQLAlchemy's expression types do not combine
    """Whether a row can be taken: its time has come, and nobody holds it."""
    return and_(
        Outbox.finished_at.is_(None),
        Outbox.dead_at.is_(None),
        ~Outbox.held,
        Outbox.not_before <= now,
        or_(Outbox.lease_until.is_(None), Outbox.lease_until < now),
    )


def _machine() -> str:
    return platform.node().replace("/", "-")[:100]


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks, so that a pid used again is another; empty where /proc is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def _lives(lease: str) -> bool:
    """Whether the process that holds a lease of this machine still runs."""
    parts = lease.split("/")
    holder = "/".join(parts[:_HOLDER_PARTS])
    try:
        pid = int(parts[1])
        os.kill(pid, 0)
    except (ProcessLookupError, ValueError, IndexError):
        return False
    except PermissionError:
        return True  # as another user
    return holder_name(pid) == holder


def _end(session: Session, taken: Claim, **values: object) -> bool:
    return _update(session, taken, lease="", lease_until=None, **values)


def _update(session: Session, taken: Claim, **values: object) -> bool:
    statement = update(Outbox).where(Outbox.id == taken.outbox_id, Outbox.lease == taken.lease).values(**values)
    return _rows(session, statement) == 1


def _rows(session: Session, statement: Any) -> int:  # noqa: ANN401 - an UPDATE of any shape
    return cast("CursorResult[Any]", session.execute(statement)).rowcount


def _retry(db: Database, condition: Any) -> int:  # noqa: ANN401 - SQLAlchemy expression
    now = clock.now()
    statement = (
        update(Outbox)
        .where(
            condition,
            Outbox.finished_at.is_(None),
            or_(Outbox.dead_at.is_not(None), Outbox.held, Outbox.not_before > now),
        )
        .values(dead_at=None, held=False, not_before=now, put_off=False, **_ANEW, **_RELEASED)
    )
    with db.begin() as session:
        breaker.forget(session)
        return _rows(session, statement)
