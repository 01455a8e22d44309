"""Holds pynetdicom's reactor thread for as long as an answer is awaited.

pynetdicom pauses it before it sends a request, because the reactor takes whatever message has come and would throw an
answer away. It believes that the thread is paused a moment too early: on a busy machine the reactor, on its way out of
an earlier pause, took the answer, and the sender waited for its whole time-out (seen in 2 of 100 deliveries).
"""

import threading
import time

_LONGEST_SECONDS = 2.0  # the thread is gone then, and with it the danger
_LOOK_SECONDS = 0.001


class ReactorGate(threading.Event):
    """Stands for ``Association._reactor_checkpoint``; ``clear`` returns when the reactor really waits in ``wait``."""

    def __init__(self) -> None:
        """Open."""
        super().__init__()
        self._held = False
        super().set()

    def wait(self, timeout: float | None = None) -> bool:
        """Called by the reactor."""
        if not self.is_set():
            self._held = True
        try:
            return super().wait(timeout)
        finally:
            self._held = False

    def set(self) -> None:
        """Let the reactor go on; a thread that has not yet woken counts as gone."""
        self._held = False
        super().set()

    def clear(self) -> None:
        """Stop the reactor, and wait until it has stopped."""
        super().clear()
        deadline = time.monotonic() + _LONGEST_SECONDS
        while not self._held and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
