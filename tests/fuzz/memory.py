"""A connection without a network: what the peer sends is there, in pieces of any size; what we send is kept."""

import socket
from collections.abc import Iterator


class MemorySocket:
    """As much of a socket as the listener and the senders use; ends like a peer that closes."""

    def __init__(self, incoming: bytes, pieces: Iterator[int]) -> None:
        """The peer's bytes, and how many of them each call receives at most."""
        self._incoming = memoryview(incoming)
        self._pieces = pieces
        self.sent = bytearray()

    def recv_into(self, buffer: memoryview) -> int:
        """As a socket's."""
        count = min(len(buffer), len(self._incoming), next(self._pieces))
        buffer[:count] = self._incoming[:count]
        self._incoming = self._incoming[count:]
        return count

    def recv(self, most: int) -> bytes:
        """As a socket's."""
        buffer = memoryview(bytearray(most))
        return bytes(buffer[: self.recv_into(buffer)])

    def sendall(self, data: bytes) -> None:
        """As a socket's."""
        self.sent += data

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Only what is asked of any connection."""
        assert (level, option, value) == (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def settimeout(self, seconds: float) -> None:
        """The peer never waits."""
        assert seconds > 0

    def shutdown(self, how: int) -> None:
        """Nothing more is sent."""
        assert how in {socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR}

    def close(self) -> None:
        """As a socket's."""
        self._incoming = self._incoming[:0]
