"""How long the first in line has waited, by what it waits for: so a stopped relay or worker looks from outside."""

from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service.db.tables import Outbox, Study
from service.domain.job import Stage

CLOSE = "close"  #: the relay closes studies that fell silent, which makes their analysis due


def longest_waits(session: Session, now: datetime) -> dict[str, float]:
    """What is waited for ("close" or a stage) -> seconds, 0 where nobody waits.

    Open studies wait since their last sign of life, rows since they were due. What is worked on, held, dead, or due
    later (a destination that does not answer) does not wait.
    """
    free = or_(Outbox.lease_until.is_(None), Outbox.lease_until < now)
    waiting = (Outbox.finished_at.is_(None), Outbox.dead_at.is_(None), ~Outbox.held, Outbox.not_before <= now, free)
    first = select(Outbox.stage, func.min(Outbox.not_before)).where(*waiting).group_by(Outbox.stage)
    since: dict[str, datetime | None] = {str(stage): due for stage, due in session.execute(first)}
    since[CLOSE] = session.scalars(select(func.min(Study.active_at)).where(Study.open)).one()
    return {name: _seconds(since.get(name), now) for name in (CLOSE, *(stage.value for stage in Stage))}


def _seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)
