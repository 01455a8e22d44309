"""Requests that are too large to take apart: of associations, and of storage commitment."""

import struct
import time
from pathlib import Path

import pytest

from service.listener.commitment import PUSH_MODEL
from service.listener.request import check_request
from service.listener.wire import Malformed
from tests.fuzz.datasets import requested_commitment
from tests.unit.listener.conftest import Gateway
from tests.unit.listener.raw_scu import COMMAND, DX, EXPLICIT, IMPLICIT, LAST, RawScu, connect, pdu, pdv, request
from tests.unit.listener.test_association import alive, ending
from tests.unit.listener.test_commitment import Archive

HONEST = request([(DX, [EXPLICIT, IMPLICIT])] * 128)
SMALL = request([(DX, [EXPLICIT])])


def item(kind: int, body: bytes) -> bytes:
    """An item of a request (PS3.8 9.3.2)."""
    return struct.pack(">BxH", kind, len(body)) + body


def with_items(extra: bytes) -> bytes:
    """A request that goes on after what it should hold."""
    return struct.pack(">BxL", 1, len(SMALL) - 6 + len(extra)) + SMALL[6:] + extra


FLOODS = {
    "contexts": item(0x20, b"\1\0\0\0" + item(0x30, b"1.2") + item(0x40, b"1.2")) * 129,
    "contexts by the thousand": item(0x20, b"\1\0\0\0" + item(0x30, b"1.2") + item(0x40, b"1.2")) * 40000,
    "transfer syntaxes": item(0x20, b"\1\0\0\0" + item(0x30, b"1.2") + item(0x40, b"1.2") * 5000),
    "user information": item(0x50, b"") * 2,
    "roles": item(0x50, item(0x54, b"\0\0\0\0") * 5000),
    "empty items": item(0x10, b"") * 250000,
    "unknown items": item(0x99, b"") * 250000,
    "an item beyond the end": b"\x50\0\xff\xff",
    "an item within an item beyond the end": item(0x50, b"\x58\0\xff\xff"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_request_without_measure_is_aborted_at_once(gateway: Gateway, name: str) -> None:
    """With little work, where taking it apart would keep the processor for seconds; a neighbour is served."""
    began = time.process_time()
    with connect(gateway.port) as connection:
        connection.sendall(with_items(FLOODS[name]))
        assert ending(connection)[0] == 7
    assert time.process_time() - began < 0.5
    assert alive(gateway)


@pytest.mark.parametrize("missing", [0x30, 0x40])
def test_a_context_that_lacks_a_part_is_aborted(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, missing: int
) -> None:
    """Its abstract syntax or its transfer syntaxes are missing: told as damage, not as a failure of ours."""
    parts = b"".join(item(kind, EXPLICIT.encode()) for kind in (0x30, 0x40) if kind != missing)
    with connect(gateway.port) as connection:
        connection.sendall(with_items(item(0x20, b"\3\0\0\0" + parts)))
        assert ending(connection)[0] == 7
    assert not [
        record for record in caplog.records if record.name.startswith("service") and record.levelname == "ERROR"
    ]


def test_the_largest_honest_request_is_accepted(gateway: Gateway) -> None:
    """All 128 contexts there can be."""
    with RawScu(gateway.port, [(DX, [EXPLICIT, IMPLICIT])] * 128) as scu:
        assert len(scu.results) == 128
        assert scu.release() == 6


def test_user_identity_of_a_megabyte_is_looked_at_and_ignored(gateway: Gateway) -> None:
    """A ticket of 64 kB is legal, more cannot be said in an item; a request of over a megabyte is refused unread."""
    at = HONEST.index(b"\x50\0", 74)
    ticket = item(0x58, b"\1\0" + struct.pack(">H", 60000) + b"x" * 60000 + b"\0\0")
    body = HONEST[6:at] + item(0x50, HONEST[at + 4 :] + ticket)
    with connect(gateway.port) as connection:
        connection.sendall(struct.pack(">BxL", 1, len(body)) + body)
        assert connection.recv(1) == b"\2"
    with connect(gateway.port) as connection:
        connection.sendall(struct.pack(">BxL", 1, 3 << 20) + body)
        assert ending(connection)[0] == 7


def test_what_is_checked_is_only_the_outside() -> None:
    """A sound request passes; one whose last byte is missing does not."""
    check_request(HONEST)
    with pytest.raises(Malformed):
        check_request(HONEST[:-1])


@pytest.mark.parametrize(
    ("count", "size", "status"),
    [(3, 0, 0), (10000, 0, 0), (20000, 0, 0xC000), (0, 1 << 20, 0xC000), (0, 3 << 20, 0xC000)],
)
def test_a_commitment_without_measure_is_refused_unread(tmp_path: Path, count: int, size: int, status: int) -> None:
    """Ten thousand instances are taken; what would take seconds and gigabytes to parse is not looked at."""
    archive = Archive(tmp_path, {})
    empty = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    raw = struct.pack("<HHL", 8, 0x1199, 0xFFFFFFFF) + empty * (size // 8) if size else requested_commitment(count)
    words = _action()
    with RawScu(archive.listener.port, [(PUSH_MODEL, [IMPLICIT])]) as scu:
        began = time.process_time()
        scu.send(pdu(pdv(1, COMMAND | LAST, words)))
        for start in range(0, len(raw), 100_000):
            scu.send(pdu(pdv(1, LAST if start + 100_000 >= len(raw) else 0, raw[start : start + 100_000])))
        assert scu.answer().status == status
        if status:
            assert time.process_time() - began < 0.5
    archive.listener.stop(0)
    archive.db.close()


def _action() -> bytes:
    """The command set of an N-ACTION request (PS3.7 10.3.5)."""
    well_known = f"{PUSH_MODEL}.1".encode()
    values = {
        0x0003: PUSH_MODEL.encode(), 0x0100: b"\x30\1", 0x0110: b"\7\0", 0x0800: b"\0\0",
        0x1001: well_known + b"\0" * (len(well_known) % 2), 0x1008: b"\1\0",
    }  # fmt: skip
    return b"".join(struct.pack("<HHL", 0, element, len(value)) + value for element, value in values.items())
