"""What a clock that was set back leaves behind: times in the future that would make studies wait for it to catch up.

Leases, back-off and the silence of a sender are times of day, because any machine may judge them. A clock that jumps
forward only makes everything due too early, which is harmless: doing a stage twice makes the same objects.
"""

from datetime import timedelta

from sqlalchemy import and_, update

from service import clock
from service.db.breaker import LONGEST_WISH_SECONDS
from service.db.engine import Database
from service.db.outbox import SKEW
from service.db.tables import DestinationState, Outbox, Study


def heed_clock(db: Database, lease_seconds: float, *, jumped: bool) -> int:
    """Bring times that lie too far in the future back to now; the number of rows that were changed.

    Args:
        db: the record.
        lease_seconds: no lease is given for longer; one that ends later is shortened to that.
        jumped: the clock was seen to jump back, so no time in the future can be trusted. Otherwise only times that
            nobody can have meant are changed.
    """
    now = clock.now()
    latest = now + (SKEW if jumped else timedelta(seconds=LONGEST_WISH_SECONDS))
    soon = now + timedelta(seconds=lease_seconds)
    open_row = and_(Outbox.finished_at.is_(None), Outbox.dead_at.is_(None))
    with db.begin() as session:
        changes = (
            update(Outbox).where(open_row, Outbox.not_before > latest).values(not_before=now),
            update(Outbox).where(open_row, Outbox.lease_until > soon + SKEW).values(lease_until=soon),
            update(DestinationState).where(DestinationState.not_before > latest).values(not_before=now),
            update(DestinationState).where(DestinationState.asked_until > soon + SKEW).values(asked_until=soon),
            update(Study).where(Study.open, Study.active_at > now + SKEW).values(active_at=now),
            update(Study).where(Study.open, Study.opened_at > now + SKEW).values(opened_at=now),
            update(Study).where(Study.open, Study.asked_at > now + SKEW).values(asked_at=now),
        )
        return sum(session.connection().execute(change).rowcount for change in changes)
