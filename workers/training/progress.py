"""What a person who waits sees: one line that renews itself on a terminal, a line now and then in a file."""

import sys
import time
from typing import TextIO

_EVERY = 30.0  # seconds between lines where nobody watches


class Progress:
    """Tells how far a long job is."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """``stream``: standard output if None."""
        self._stream = stream or sys.stdout
        self._watched = self._stream.isatty()
        self._told = -_EVERY

    def tell(self, line: str) -> None:
        """Replace the line on a terminal; elsewhere write one at most every half minute."""
        now = time.perf_counter()
        if self._watched:
            self._stream.write(f"\r\033[K{line}")
        elif now - self._told > _EVERY:
            self._stream.write(f"{line}\n")
            self._told = now
        self._stream.flush()

    def end(self, text: str) -> None:
        """Write the result below."""
        self._stream.write(f"\n{text}\n" if self._watched else f"{text}\n")
        self._stream.flush()
