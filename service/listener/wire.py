"""One connection as a stream of bytes: one large buffer, few system calls, no copy of what goes to storage."""

import socket
import time
from collections.abc import Callable

from service.domain.errors import DentgateError

_BUFFER = 262144


class Closed(DentgateError):  # noqa: N818 - what happened, not a fault
    """The peer closed the connection."""


class Malformed(DentgateError):  # noqa: N818 - what the bytes are
    """The peer's bytes break the upper layer protocol.

    Args:
        message: what is wrong.
        reason: A-ABORT reason of the service provider (PS3.8 9.3.8).
    """

    def __init__(self, message: str, reason: int = 6) -> None:
        """The reason defaults to "invalid PDU parameter value"."""
        super().__init__(message)
        self.reason = reason


class Wire:
    """Buffered reading and plain writing. For one thread, but ``shut`` may be called from any."""

    def __init__(self, connection: socket.socket, remaining: Callable[[], float]) -> None:
        """Take the connection over.

        Args:
            connection: connected; closed by ``close``.
            remaining: seconds to wait for the next bytes; zero or less means now.
        """
        self._connection = connection
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self.remaining = remaining
        self.heard_at = time.monotonic()  # other threads read it
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else 40 ms for each answer

    def some(self, most: int) -> memoryview:
        """One to ``most`` bytes, valid until the next call. Raises Closed, TimeoutError, OSError."""
        if self._start == self._end:
            self._start, self._end = 0, self._receive(self._view)
        count = min(most, self._end - self._start)
        piece = self._view[self._start : self._start + count]
        self._start += count
        return piece

    def take(self, count: int) -> bytes:
        """Exactly ``count`` bytes; the caller has bounded it. Raises as ``some``."""
        piece = self.some(count) if count else b""
        if len(piece) == count:
            return bytes(piece)
        whole = bytearray(piece)
        while len(whole) < count:
            whole += self.some(count - len(whole))
        return bytes(whole)

    def send(self, data: bytes) -> None:
        """Send all of it. Raises TimeoutError, OSError."""
        self._connection.settimeout(max(self.remaining(), 0.001))
        self._connection.sendall(data)

    def linger(self, seconds: float) -> None:
        """Wait for the peer to close, so that what was sent last reaches it; never raises."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + seconds
            self.remaining = lambda: deadline - time.monotonic()
            while self.remaining() > 0:  # a peer that goes on sending is cut off
                self._receive(self._view)
        except (OSError, Closed):
            return

    def shut(self, *, sending: bool) -> None:
        """Wake the thread that reads, with ``sending`` also the one that writes; it gets Closed or OSError."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR if sending else socket.SHUT_RD)
        except OSError:
            return  # it has ended by itself

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _receive(self, view: memoryview) -> int:
        self._connection.settimeout(max(self.remaining(), 0.001))
        count = self._connection.recv_into(view)
        if not count:
            message = "the peer closed the connection"
            raise Closed(message)
        self.heard_at = time.monotonic()
        return count
