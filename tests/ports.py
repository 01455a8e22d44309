"""Ports for the servers of tests, apart from those that the system hands out, and for each process from elsewhere on.

A port is asked for some time before its server listens on it. Until then no connection of another test may get it, and
no other process that runs tests either.
"""

import itertools
import os
import socket
from collections.abc import Iterator
from functools import cache

FIRST, COUNT = 20_000, 12_000  # the system begins at 32768, or at 49152
_STEP, _PROCESSES = 100, 120


@cache
def _numbers() -> Iterator[int]:
    """One after the other, from where no process with a number close to ours begins."""
    return itertools.count(os.getpid() * 37 % _PROCESSES * _STEP)


def free_port() -> int:
    """A TCP port of the loopback on which nobody listened a moment ago."""
    for number in itertools.islice(_numbers(), COUNT):
        port = FIRST + number % COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    message = f"no port from {FIRST} on is free"
    raise AssertionError(message)
