"""A real listener process under fire: it lives, its memory is bounded, its neighbours notice nothing."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import func, select

from service.db.engine import Database
from service.db.tables import Instance
from tests.builders import as_bytes, uid_of, xray
from tests.fuzz import protocol
from tests.fuzz.conftest import Effort
from tests.fuzz.dice import Dice
from tests.fuzz.process import Running, running
from tests.unit.listener.raw_scu import DX, EXPLICIT, RawScu, data_set_bytes
from workers.training.phantom import panoramic_phantom

GROWTH_MB, PEERS, LONGEST_SECONDS = 120.0, 4, 20.0
POOLED = 24  # handles of the database's connections, of which some are kept


@dataclass
class Neighbour:
    """Sends a whole panoramic again and again, each time as another instance; every one must be a success."""

    port: int
    pixels: object = field(default_factory=lambda: panoramic_phantom(7, rows=376, columns=720).pixels)
    stored: int = 0
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0

    def __post_init__(self) -> None:
        """Make the image that changes its name only."""
        self._uid = uid_of("neighbour", "00000000")
        file = as_bytes(xray(self.pixels, seed="neighbour", SOPInstanceUID=self._uid))  # type: ignore[arg-type]
        self._raw = data_set_bytes(file)
        self._stop = threading.Event()

    def run(self) -> None:
        """Until told to stop."""
        while not self._stop.is_set():
            uid = f"{self._uid[:-8]}{self.stored + 10_000_000:08d}"
            began = time.perf_counter()
            try:
                with RawScu(self.port, [(DX, [EXPLICIT])], calling="NEIGHBOUR") as scu:
                    answer = scu.store(self._raw.replace(self._uid.encode(), uid.encode()), uid)
                    scu.release()
                if answer.status:
                    self.failures.append(f"{answer.status:04X} {answer.comment}")
                else:
                    self.stored += 1
            except OSError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.longest = max(self.longest, time.perf_counter() - began)
            self._stop.wait(0.02)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """All the while."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


@dataclass
class Fire:
    """Hostile peers."""

    port: int
    seed: int
    count: int
    sent: int = 0
    longest: tuple[float, int] = (0.0, -1)
    unanswered: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Everything, from several peers at once."""
        threads = [threading.Thread(target=self._peer, args=(first,)) for first in range(PEERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _peer(self, first: int) -> None:
        for number in range(first, self.count, PEERS):
            dice = Dice(self.seed, number, 77)
            raw = protocol.connection(dice)
            began = time.perf_counter()
            ended = self._one(dice, raw)
            with self.lock:
                self.sent += 1
                self.longest = max(self.longest, (time.perf_counter() - began, number))
                if not ended:
                    self.unanswered.append(number)

    def _one(self, dice: Dice, raw: bytes) -> bool:
        """Whether the listener ended the connection in time, once we had said everything."""
        step = dice.pick((1 << 20, 1 << 20, 4096, 137))
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=LONGEST_SECONDS) as connection:
                if dice.chance(5):
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                    )  # a reset at the end
                for start in range(0, min(len(raw), 300_000), step):
                    connection.sendall(raw[start : start + step])
                if dice.chance(10):
                    return True  # hangs up without waiting for anything
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
        except TimeoutError:
            return False
        except OSError:
            return True  # it had enough of us
        return True


def under_fire(folder: Path, effort: Effort) -> None:
    """The test of this file."""
    with running(folder, ["listen"], "listener", "network_timeout = 10\nmax_associations = 32\n") as listener:
        neighbour = Neighbour(listener.port)
        Fire(listener.port, effort.seed + 1, 60).run()  # what it keeps for good it has now
        before, handles = listener.rss_mb, listener.handles
        fire = Fire(listener.port, effort.seed, effort.connections)
        peaks: list[float] = []
        done = threading.Event()
        sampler = threading.Thread(target=_sample, args=(listener, peaks, done))
        sampler.start()
        began = time.perf_counter()
        with neighbour.sending():
            fire.run()
        seconds = time.perf_counter() - began
        done.set()
        sampler.join()
        lines = (
            f"listener: seed {effort.seed}, {fire.sent} connections in {seconds:.0f} s",
            f"longest {fire.longest[0]:.2f} s (input {fire.longest[1]})",
            f"memory {before:.0f} -> peak {max(peaks):.0f} MB, handles {handles} -> {listener.handles}",
            f"neighbour {neighbour.stored} stored, {len(neighbour.failures)} failed, longest {neighbour.longest:.2f} s",
        )
        print("\n" + ", ".join(lines))  # noqa: T201 - the seed and the figures are what is wanted of a long run
        assert listener.process.poll() is None
        assert not fire.unanswered
        assert not neighbour.failures
        assert neighbour.stored > 0
        assert max(peaks) - before < GROWTH_MB
        assert settled(listener, handles + POOLED), f"{handles} -> {listener.handles} handles"
        assert not listener.complaints()
        assert not list((listener.data / "incoming").iterdir())
        assert kept(listener.data) == neighbour.stored


def _sample(listener: Running, peaks: list[float], done: threading.Event) -> None:
    while not done.wait(0.1):
        peaks.append(listener.rss_mb)


def settled(listener: Running, handles: int) -> bool:
    """Whether it lets go of the handles of those who left."""
    for _ in range(100):
        if listener.handles <= handles:
            return True
        time.sleep(0.1)
    return False


def kept(data: Path) -> int:
    """Instances of the neighbour in the record."""
    db = Database(f"sqlite:///{data / 'dentgate.db'}")
    with db.session() as session:
        count = session.scalars(select(func.count()).where(Instance.calling_ae == "NEIGHBOUR")).one()
    db.close()
    return count


@pytest.mark.timeout(300)
def test_a_listener_under_fire(tmp_path: Path, effort: Effort) -> None:
    """Hundreds of broken connections, and a neighbour who gets Success for every image."""
    under_fire(tmp_path, effort)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_listener_under_fire_for_long(tmp_path: Path, effort: Effort) -> None:
    """The same with tens of thousands."""
    under_fire(tmp_path, effort)
