"""Who holds a place: connections and associations are limited, and who makes no use of a place loses it to who does.

A limit alone would let a few dozen silent peers, or cables that were pulled, keep every modality out until their time
is up. So the newest connection always gets in, at the price of the oldest that has not asked for an association yet;
and when all associations are taken, the one that has been silent for longest makes room.
"""

import threading
import time
from typing import Generic, Protocol, TypeVar

#: connections beyond the association limit: those that have not asked yet, and those that are being turned away
SPARE = 32
#: an association between two requests, and one that stopped in the middle of one, is given up for another after this
IDLE_SECONDS, STALLED_SECONDS = 10.0, 30.0


class Holder(Protocol):
    """A connection."""

    @property
    def busy(self) -> bool:
        """True while a request is being received or answered."""

    @property
    def heard_at(self) -> float:
        """When it last received something, on the monotonic clock."""

    def stop(self, *, now: bool) -> None:
        """End it; with ``now`` without a word."""


H = TypeVar("H", bound=Holder)


class Places(Generic[H]):
    """The places of one listener; safe for many threads."""

    def __init__(self, most: int) -> None:
        """``most`` associations."""
        self._most = most
        self._lock = threading.Lock()
        self._waiting: dict[H, None] = {}  # connected, not admitted; the oldest first
        self._admitted: set[H] = set()
        self._leaving: set[H] = set()  # told to end; their threads still run

    def all(self) -> list[H]:
        """Everything that is connected."""
        with self._lock:
            return [*self._waiting, *self._admitted, *self._leaving]

    def connect(self, holder: H) -> bool:
        """Give a new connection its place; False if so many are leaving that it must be closed."""
        with self._lock:
            if len(self._leaving) >= self._most + SPARE:
                return False
            self._waiting[holder] = None
            crowded = len(self._waiting) + len(self._admitted) > self._most + SPARE
            oldest = next(iter(self._waiting)) if crowded else None
            if oldest is not None:
                self._leave(oldest)
        if oldest is not None:
            oldest.stop(now=True)
        return True

    def admit(self, holder: H) -> bool:
        """Give a connection one of the places of associations; False if all are in use."""
        with self._lock:
            if holder not in self._waiting:
                return False
            silent = self._longest_silent() if len(self._admitted) >= self._most else None
            if silent is None and len(self._admitted) >= self._most:
                return False
            if silent is not None:
                self._leave(silent)
            del self._waiting[holder]
            self._admitted.add(holder)
        if silent is not None:
            silent.stop(now=False)
        return True

    def forget(self, holder: H) -> None:
        """It has ended."""
        with self._lock:
            self._waiting.pop(holder, None)
            self._admitted.discard(holder)
            self._leaving.discard(holder)

    def _leave(self, holder: H) -> None:
        self._waiting.pop(holder, None)
        self._admitted.discard(holder)
        self._leaving.add(holder)

    def _longest_silent(self) -> H | None:
        """Whose place is free for another, None if all are in use. Idle ones come before stalled ones."""
        now = time.monotonic()
        late = [
            (holder.busy, holder.heard_at, holder)
            for holder in self._admitted
            if now - holder.heard_at >= (STALLED_SECONDS if holder.busy else IDLE_SECONDS)
        ]
        return min(late, key=lambda entry: entry[:2])[2] if late else None
