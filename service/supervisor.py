"""Everything on one machine: starts the processes of ``dentgate up``, again when they die, and stops them in order."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from service.domain.errors import DentgateError

_LOG = logging.getLogger(__name__)
CALM_SECONDS = 10.0  # a process that lived this long may be started again at once
LONGEST_DELAY_SECONDS = 30.0
STOP_SECONDS = 20.0
TROUBLE_SECONDS = 2.0


class Child:
    """One process and its restarts."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Nothing is started yet."""
        self.name = name
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._not_before = 0.0

    def keep_running(self) -> None:
        """Start the process if it does not run and its delay is over."""
        now = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._failures = 0 if now - self._started > CALM_SECONDS else self._failures + 1
            delay = 0.0 if self._failures == 0 else min(2.0**self._failures, LONGEST_DELAY_SECONDS)
            self._not_before = now + delay
            _LOG.warning("%s ended with %d; next start in %.0f s", self.name, code, delay)
            self._process = None
        if now >= self._not_before:
            # Own process groups: Ctrl-C reaches only us, and we stop the others in order.
            self._process = subprocess.Popen(self._command, env=dict(self._environment), start_new_session=True)  # noqa: S603
            self._started = now

    def ask_to_stop(self) -> None:
        """SIGTERM, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait_stopped(self, deadline: float) -> None:
        """Wait until the deadline (monotonic seconds), then kill the process and what it started."""
        if self._process is None:
            return
        try:
            self._process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            _LOG.warning("%s did not stop in time, killing it", self.name)
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Supervisor:
    """Keeps children running until told to stop."""

    def __init__(self, children: Sequence[Child]) -> None:
        """Children are started in this order and asked to stop in this order."""
        self._children = children

    def run(self, stop: threading.Event, each_round: Callable[[], None] | None = None) -> None:
        """Until ``stop`` is set; then all children are stopped. ``each_round`` looks after what is not a child."""
        try:
            while not stop.is_set():
                try:
                    if each_round is not None:
                        each_round()
                    for child in self._children:
                        child.keep_running()
                except (DentgateError, OSError) as trouble:  # one failed start must not take the others down
                    _LOG.warning("could not start a process: %s; trying again", trouble)
                    stop.wait(TROUBLE_SECONDS)
                stop.wait(0.2)
        finally:
            for child in self._children:
                child.ask_to_stop()
            deadline = time.monotonic() + STOP_SECONDS
            for child in self._children:
                child.wait_stopped(deadline)


def command_of(*arguments: str) -> list[str]:
    """A ``dentgate`` command run by this interpreter."""
    return [sys.executable, "-m", "service", *arguments]


def end_with_parent(parent_pid: int) -> None:
    """End this process when the supervisor dies without a word (kill -9), so that nothing is left behind."""

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
