"""Whether a destination answers, noted for the circuit breaker where somebody speaks with it, and nowhere else.

What a stage does before and after (reading results, asking the record, waiting for a report) says nothing of the peer.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from service.db import breaker
from service.db.engine import Database
from service.domain.errors import Held, Permanent, Transient, Unavailable
from service.domain.sent import CommitmentReport
from service.export.commitment import Archive

_LOG = logging.getLogger(__name__)


@contextmanager
def conversation(db: Database, name: str) -> Iterator[None]:
    """Speak with a destination: what comes of it, or the error on its way, says whether it answers.

    Other errors than those of a destination are trouble of our own and say nothing.
    """
    try:
        yield
    except Unavailable as silence:
        _note(name, breaker.silent, db, name, str(silence), silence.retry_after)
        raise
    except (Permanent, Transient, Held):
        _note(name, breaker.answered, db, name)
        raise
    _note(name, breaker.answered, db, name)


@dataclass(frozen=True, slots=True)
class Watched:
    """An archive, of which it is noted whether it answers.

    Attributes:
        name: of the destination.
    """

    db: Database
    name: str
    archive: Archive

    def ask_commitment(
        self, transaction_uid: str, instances: Sequence[tuple[str, str]], heard: Callable[[CommitmentReport], bool]
    ) -> None:
        """See Archive."""
        with conversation(self.db, self.name):
            self.archive.ask_commitment(transaction_uid, instances, heard)


def _note(name: str, note: Callable[..., None], *words: object) -> None:
    try:
        note(*words)
    except SQLAlchemyError as trouble:  # what became of the delivery matters more
        _LOG.warning("database is away (%s); whether %s answers was not noted", type(trouble).__name__, name)
