"""The relay: closes complete studies and rings for every due outbox row, so it recovers lost messages and dead workers.

Any number may run at once: closing and ringing are single conditional updates in the database.
"""

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from service import clock
from service.broker import Broker
from service.db.clock_jumps import heed_clock
from service.db.engine import Database
from service.db.outbox import AT_ONCE, ring_due
from service.domain.errors import Transient
from service.domain.job import Stage

_LOG = logging.getLogger(__name__)
TICK_SECONDS = 0.5
TROUBLE_SECONDS = 5.0
JUMP_SECONDS = 2.0  # what time servers smooth over is less
CHORE_SECONDS = 600.0


class Relay:
    """The loop of the relay process."""

    def __init__(
        self,
        db: Database,
        broker: Broker,
        close: Callable[[], int],
        *,
        lease_seconds: float = 45.0,
        chore: Callable[[], object] = lambda: None,
    ) -> None:
        """Nothing starts before ``run``.

        Args:
            db: the record.
            broker: rings.
            close: closes the studies that are complete and says how many.
            lease_seconds: as in the settings.
            chore: what is done every ten minutes, for example retention.
        """
        self._db = db
        self._broker = broker
        self._close = close
        self._lease_seconds = lease_seconds
        self._chore = chore
        self._next_chore = time.monotonic()
        self._offset: float | None = None  # of the clock against the one that nobody sets

    def tick(self) -> int:
        """Close what is complete, ring for what is due; the number of bells. Raises Transient if the broker is away."""
        self._heed_clock()
        closed = self._close()
        if closed:
            _LOG.info("closed %d studies", closed)
        if time.monotonic() >= self._next_chore:
            self._next_chore = time.monotonic() + CHORE_SECONDS
            self._chore()
        return sum(self._ring(stage) for stage in Stage)

    def _heed_clock(self) -> None:
        """After a jump back of the clock, and once at the start, nothing may wait for times that are not to come."""
        offset = clock.now().timestamp() - time.monotonic()
        jumped = self._offset is not None and offset < self._offset - JUMP_SECONDS
        if jumped or self._offset is None:
            moved = heed_clock(self._db, self._lease_seconds, jumped=jumped)
            if jumped or moved:
                _LOG.warning("the clock was set back; %d times in the future were brought to now", moved)
        self._offset = offset

    def _ring(self, stage: Stage) -> int:
        """Ring for a stage, but keep its queue short: a bell that lies in it is as good as ten."""
        room = AT_ONCE - self._broker.waiting(stage)
        due = ring_due(self._db, stage, room) if room > 0 else []
        for row in due:
            self._broker.ring(row.stage, row.outbox_id)
        return len(due)

    def run(self, stop: threading.Event) -> None:
        """Tick until told to stop; trouble with database or broker is waited out."""
        delay = TICK_SECONDS
        while not stop.wait(delay):
            try:
                self.tick()
                delay = TICK_SECONDS
            except Transient as trouble:
                _LOG.warning("relay waits: %s", trouble)
                delay = TROUBLE_SECONDS
            except (SQLAlchemyError, OSError) as trouble:
                kind = "database" if isinstance(trouble, SQLAlchemyError) else "storage"
                _LOG.warning("relay waits: %s: %s", kind, type(trouble).__name__)
                delay = TROUBLE_SECONDS
