"""Places: silent peers lose theirs to those who have something to say."""

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from service.listener import places
from tests.unit.listener.conftest import Gateway, Start
from tests.unit.listener.raw_scu import COMMAND, LAST, RawScu, command, connect, image, pdu, pdv, request
from tests.unit.listener.test_association import ECHO, alive, ending, rejection

IDLE, MOST = 500, 16


@contextmanager
def silent(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections that never say a word."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(port)) for _ in range(count)]


def handles() -> int:
    """Open file handles of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_five_hundred_silent_connections_take_nobodys_place(start: Start) -> None:
    """A neighbour is served while they stand and after; threads and handles stay bounded."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    gateway = start(max_associations=MOST)
    with RawScu(gateway.port, ECHO) as neighbour:
        before = handles()
        with silent(gateway.port, IDLE):
            began = time.perf_counter()
            for _ in range(20):
                assert alive(gateway)
            assert time.perf_counter() - began < 20
            assert gateway.settle(lambda: handles() - before - IDLE <= MOST + places.SPARE)
            assert len(gateway.listener._open()) <= MOST + places.SPARE  # noqa: SLF001 - connections and threads
        assert neighbour.echo() == 0
    assert gateway.settle(lambda: not gateway.listener._open())  # noqa: SLF001 - all threads have ended


def test_as_many_at_once_as_there_are_places_are_all_served(start: Start) -> None:
    """A burst of senders is no flood: nobody who is about to ask loses the connection."""
    gateway = start(max_associations=64)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(gateway.port)) for _ in range(64)]
        for connection in connections:
            connection.sendall(request(ECHO))
        assert [connection.recv(1) for connection in connections] == [b"\2"] * 64


def test_silent_associations_make_room(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every place is taken the association that was silent for longest is aborted; busy and lively ones stay."""
    monkeypatch.setattr(places, "IDLE_SECONDS", 0.3)
    gateway = start(max_associations=3)
    with RawScu(gateway.port, ECHO) as oldest, RawScu(gateway.port) as busy, RawScu(gateway.port, ECHO) as lively:
        assert rejection(gateway.port) == (2, 3, 2)
        busy.send(pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3"))), pdu(pdv(1, 0, b"\x08\x00")))
        threading.Event().wait(0.4)
        assert lively.echo() == 0
        assert alive(gateway)
        assert oldest.receive()[0] == 7
        assert lively.echo() == 0
        busy.connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            busy.receive()


def test_a_sender_that_stopped_within_an_object_makes_room(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cable that was pulled does not hold a place until the network timeout."""
    monkeypatch.setattr(places, "STALLED_SECONDS", 0.3)
    gateway = start(max_associations=1)
    with RawScu(gateway.port) as stalled:
        stalled.send(pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3"))), pdu(pdv(1, 0, b"\x08\x00")))
        assert rejection(gateway.port) == (2, 3, 2)
        threading.Event().wait(0.4)
        assert alive(gateway)
        assert stalled.receive()[0] == 7
    assert gateway.settle(lambda: not gateway.files())


def test_a_rejected_peer_that_does_not_leave_is_left(start: Start) -> None:
    """It may not hold its connection by sending on after the rejection."""
    gateway = start(max_associations=1)
    with RawScu(gateway.port, ECHO) as scu, connect(gateway.port) as connection:
        connection.sendall(b"\xff" * 100)
        assert connection.recv(1) == b"\7"
        began = time.perf_counter()
        try:
            while time.perf_counter() - began < 8:
                connection.sendall(b"x")
                threading.Event().wait(0.05)
        except OSError:
            pass
        assert time.perf_counter() - began < 4
        assert scu.echo() == 0


def test_the_rest_of_a_study_is_not_lost_with_its_place(gateway: Gateway) -> None:
    """An association that lost its place is told so by an abort, and the sender may come again at once."""
    with RawScu(gateway.port) as scu:
        assert scu.send_image(image(1)).status == 0
        gateway.listener._open()[0].stop(now=False)  # noqa: SLF001 - as for a newcomer
        assert ending(scu.connection)[0] == 7
    with RawScu(gateway.port) as scu:
        assert scu.send_image(image(2)).status == 0
    assert len(gateway.ledger.rows) == 2
