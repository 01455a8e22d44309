"""Group commit: instances that finish at the same time share one transaction.

There is no thread and no waiting for company: the first to arrive writes for all that have arrived by then, the others
wait for it, and who comes meanwhile forms the next group. An idle gateway commits at once, a busy one once per group.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from sqlalchemy.exc import OperationalError

from service.domain.errors import OutOfResources
from service.domain.study import ReceivedInstance, Recorded

_LOG = logging.getLogger(__name__)

Record = Callable[[Sequence[ReceivedInstance]], Sequence[Recorded]]


class _Ticket:
    def __init__(self, instance: ReceivedInstance) -> None:
        self.instance = instance
        self.answer: Recorded | None = None
        self.failed = False


class GroupCommit:
    """Calls ``record`` for one group at a time; safe for many threads."""

    def __init__(self, record: Record) -> None:
        """``record`` writes all or nothing and gives one answer for each instance, in order."""
        self._record = record
        self._waiting: list[_Ticket] = []
        self._arrivals = threading.Lock()
        self._turn = threading.Lock()

    def __call__(self, instance: ReceivedInstance) -> Recorded:
        """Record one instance, together with whatever else is waiting.

        Raises:
            OutOfResources: the record could not be written; the sender tries again.
        """
        ticket = _Ticket(instance)
        with self._arrivals:
            self._waiting.append(ticket)
        with self._turn:
            if ticket.answer is None and not ticket.failed:
                with self._arrivals:
                    group, self._waiting = self._waiting, []
                self._write(group)
        if ticket.answer is None:
            message = "the record cannot be written now; send again"
            raise OutOfResources(message)
        return ticket.answer

    def _write(self, group: list[_Ticket]) -> None:
        try:
            answers = self._record([ticket.instance for ticket in group])
            for ticket, answer in zip(group, answers, strict=True):
                ticket.answer = answer
        except Exception as error:  # noqa: BLE001 - whatever the record raises, every sender of the group must hear it
            _LOG.error("record failed for %d instances: %s", len(group), type(error).__name__)
            if len(group) > 1 and not isinstance(error, OperationalError):
                for ticket in group:  # one that the database refuses must not take its neighbours along
                    self._write([ticket])
                return
            for ticket in group:
                ticket.answer, ticket.failed = None, True
