"""What the parent of a pool does for its processes: reports those that were killed, and stops within a limit.

The parent forks, so it keeps no connection: each time it needs the record it opens one and closes it again.
"""

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals
from sqlalchemy.exc import SQLAlchemyError

from service.db import outbox
from service.db.engine import Database
from service.settings import Settings

_LOG = logging.getLogger(__name__)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, prctl(2)


class PoolKeeper:
    """Connects to Celery's signals for as long as the worker lives."""

    def __init__(self, settings: Settings, holder: str) -> None:
        """``holder``: in whose name the processes of the pool hold their leases."""
        self._url = settings.database.url
        self._stop_seconds = settings.analysis.stop_seconds
        self._holder = holder
        self._ending = False

    def watch(self) -> None:
        """Begin to listen; before the pool forks."""
        signals.task_failure.connect(self._failed, weak=False)
        signals.worker_shutting_down.connect(self._stopping, weak=False)
        parent = os.getpid()
        signals.worker_process_init.connect(lambda **_: _die_with(parent), weak=False)

    def _failed(self, exception: object = None, task_id: str = "", **_: object) -> None:
        """In the parent, a process died or was killed at its time limit: its rows need not wait for their leases."""
        if self._ending or not isinstance(exception, WorkerLostError | TimeLimitExceeded):
            return
        why = "took longer than the hard time limit" if isinstance(exception, TimeLimitExceeded) else "was killed"
        words = f"the process that worked on it {why}; tried once more"
        self._in_the_record(lambda db: outbox.worker_lost(db, f"{self._holder}/{task_id}", words))

    def _stopping(self, **_: object) -> None:
        """On SIGTERM Celery takes no new work and waits for what runs, for ever; we end that wait."""
        timer = threading.Timer(self._stop_seconds, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        """Give back what is held, then go: the leases are free before anybody could miss us."""
        self._ending = True
        for pid in _children():  # first, so that none of them finishes what somebody else then begins
            _kill(pid)
        self._in_the_record(lambda db: outbox.give_back(db, self._holder))
        _LOG.warning("stopped with work left, after %.0f s; it was given back", self._stop_seconds)
        os._exit(0)  # Celery would still wait

    def _in_the_record(self, do: Callable[[Database], object]) -> None:
        db = Database(self._url)
        try:
            do(db)
        except SQLAlchemyError as trouble:
            _LOG.warning("database is away (%s); the lease will bring the row back", type(trouble).__name__)
        finally:
            db.close()


def _die_with(parent: int) -> None:
    """In a process of the pool: never outlive the parent, in whose name its lease is held (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), signal.SIGKILL)


def _children() -> list[int]:
    """The processes below this one (Linux); elsewhere none is found, and they end when the parent has gone."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:  # noqa: PTH123 - a pseudo file
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
