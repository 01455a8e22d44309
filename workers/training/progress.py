"""What a person who waits sees: one line that renews itself on a terminal, a line now and then in a file."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

_EVERY = 30.0  # seconds between lines where nobody watches
_SOON = 2.0  # seconds after which a person begins to wonder
_Item = TypeVar("_Item")


class Progress:
    """Tells how far a long job is."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """``stream``: standard output if None."""
        self._stream = stream or sys.stdout
        self._watched = self._stream.isatty()
        self._told = -_EVERY
        self._begun: tuple[float, float] | None = None  # when it was first told how much was done, and that

    def tell(self, line: str, done: float | None = None) -> None:
        """Replace the line on a terminal; elsewhere write one at most every half minute.

        Args:
            line: what is to be told.
            done: share of the job, 0 to 1; it and the time that is left go before the line.
        """
        now = time.perf_counter()
        if done is not None:
            begun, at = self._begun = self._begun or (now, done)
            left = f", {_duration((now - begun) * (1 - done) / (done - at))} left" if done > at else ""
            line = f"{100 * done:.0f} %{left}  {line}"
        if self._watched:
            self._stream.write(f"\r\033[K{line}")
        elif now - self._told > _EVERY:
            self._stream.write(f"{line}\n")
            self._told = now
        self._stream.flush()

    def through(self, items: Sequence[_Item], what: str) -> Iterator[_Item]:
        """Each of the items; tells how far it is, but of what is done in two seconds nothing."""
        began = time.perf_counter()
        for number, item in enumerate(items):
            if number and time.perf_counter() - began > _SOON:
                self.tell(f"{what}: {number} of {len(items)}", number / len(items))
            yield item
        if self._watched and self._begun:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def end(self, text: str) -> None:
        """Write the result below."""
        self._stream.write(f"\n{text}\n" if self._watched else f"{text}\n")
        self._stream.flush()


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60:  # noqa: PLR2004 - an hour
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
