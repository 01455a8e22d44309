"""The relay: closes complete studies and rings for every due outbox row, so it recovers lost messages and dead workers.

Any number may run at once: closing and ringing are single conditional updates in the database.
"""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from service.broker import Broker
from service.db.engine import Database
from service.db.outbox import AT_ONCE, ring_due
from service.domain.errors import Transient
from service.domain.job import Stage

_LOG = logging.getLogger(__name__)
TICK_SECONDS = 0.5
TROUBLE_SECONDS = 5.0


class Relay:
    """The loop of the relay process."""

    def __init__(self, db: Database, broker: Broker, close: Callable[[], int]) -> None:
        """Nothing starts before ``run``; ``close`` closes the studies that are complete and says how many."""
        self._db = db
        self._broker = broker
        self._close = close

    def tick(self) -> int:
        """Close what is complete, ring for what is due; the number of bells. Raises Transient if the broker is away."""
        closed = self._close()
        if closed:
            _LOG.info("closed %d studies", closed)
        return sum(self._ring(stage) for stage in Stage)

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
            except SQLAlchemyError as trouble:
                _LOG.warning("relay waits: database: %s", type(trouble).__name__)
                delay = TROUBLE_SECONDS
