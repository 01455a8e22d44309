"""Hostile records and archives: a delivery ends in one of the ways that the pipeline knows, and in bounded memory."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from service.domain.errors import Held, Permanent, Transient
from service.domain.result import Delivery, Result
from service.export.store_scu import StoreScu
from tests.builders import as_bytes, destination_of, shapes, xray
from tests.fhir_script import Answer, delivery, server
from tests.fuzz.answers import hostile_answer
from tests.fuzz.conftest import Effort
from tests.fuzz.dice import Dice, damaged
from tests.fuzz.report import peak_mb
from tests.unit.listener.raw_scu import pdu, pdv

# pynetdicom's own threads stumble over what we send them; what counts is what becomes of the delivery
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

LONGEST_SECONDS, GROWTH_MB = 20.0, 400.0


def tried(what: str, seed: int, count: int, deliver: Callable[[Dice], object]) -> None:
    """That many deliveries; each ends well, or with an error that says what to do."""
    counts, slowest, before = dict[str, int](), 0.0, peak_mb()
    for number in range(count):
        began = time.perf_counter()
        try:
            deliver(Dice(seed, number, 99))
            word = "delivered"
        except (Transient, Permanent, Held) as error:
            word = type(error).__name__
        except Exception as error:  # noqa: BLE001 - the finding
            pytest.fail(f"{what}, seed {seed}, delivery {number}: {type(error).__name__}: {error}")
        slowest = max(slowest, time.perf_counter() - began)
        counts[word] = counts.get(word, 0) + 1
    print(f"\n{what}: seed {seed}, {count} deliveries, slowest {slowest:.2f} s, {counts}")  # noqa: T201 - figures
    assert slowest < LONGEST_SECONDS
    assert peak_mb() - before < GROWTH_MB


def to_a_record(effort: Effort, count: int) -> None:
    """Reports to a FHIR server whose answers are damaged."""
    dice = [Dice(0)]

    def answer(method: str, path: str, body: bytes) -> Answer:
        return hostile_answer(dice[0], method, path, body)

    with server(answer) as destination:

        def deliver(chosen: Dice) -> None:
            dice[0] = chosen
            destination.deliver(delivery())

        tried("record", effort.seed, count, deliver)


def test_a_hostile_record(effort: Effort) -> None:
    """Some."""
    to_a_record(effort, effort.requests // 3)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hostile_record_for_long(effort: Effort) -> None:
    """Many."""
    to_a_record(effort, effort.requests)


@contextmanager
def archive(answers: Callable[[], bytes]) -> Iterator[int]:
    """A port at which every connection is answered with bytes, whatever it says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(0.3)
                    try:
                        connection.recv(65536)
                        connection.sendall(answers())
                        while connection.recv(65536):
                            pass
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def accepted(dice: Dice) -> bytes:
    """An A-ASSOCIATE-AC for one context, a response, a release: mostly damaged."""
    titles = b"\0\1\0\0" + b"PACS".ljust(16) + b"DENTGATE".ljust(16) + bytes(32)
    context = b"\x21\0\0\x19\1\0\0\0\x40\0\0\x11" + b"1.2.840.10008.1.2"
    items = b"\x10\0\0\x15" + b"1.2.840.10008.3.1.1.1" + context + b"\x50\0\0\x08\x51\0\0\x04\0\0\x40\0"
    raw = pdu(titles + items, kind=2) + pdu(pdv(1, 3, dice.bytes(dice.below(90)))) + b"\6\0\0\0\0\4\0\0\0\0"
    return damaged(dice, raw) if dice.chance(90) else raw


def to_an_archive(effort: Effort, count: int) -> None:
    """Objects to a PACS whose bytes are damaged."""
    ds = xray(shapes(16, 16))
    result = Result("sr", str(ds.SOPInstanceUID), "application/dicom", as_bytes(ds))
    dice = [Dice(0)]
    with archive(lambda: accepted(dice[0])) as port:
        destination = StoreScu(destination_of(f"dicom://PACS@127.0.0.1:{port}"), "DENTGATE")

        def deliver(chosen: Dice) -> None:
            dice[0] = chosen
            destination.deliver(Delivery("1.2.3", 1, (result,), 1))

        tried("archive", effort.seed, count, deliver)


def test_a_hostile_archive(effort: Effort) -> None:
    """Some."""
    to_an_archive(effort, effort.requests // 20)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hostile_archive_for_long(effort: Effort) -> None:
    """Many."""
    to_an_archive(effort, effort.requests // 4)
