"""Any bytes: the parsers answer with an error of the house, the listener with an abort or a refusal, and lives on."""

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.errors import Refused
from service.listener.command import parse_command
from service.listener.dataset import outline
from service.listener.intake import Intake
from service.listener.wire import Malformed
from service.storage.folder import FolderStorage
from tests.unit.listener.conftest import Gateway, Ledger
from tests.unit.listener.raw_scu import (
    BIG_ENDIAN,
    COMMAND,
    EXPLICIT,
    IMPLICIT,
    LAST,
    VERIFICATION,
    RawScu,
    command,
    connect,
    encode,
    image,
    part10,
    pdu,
    pdv,
    request,
)

SYNTAXES = [IMPLICIT, EXPLICIT, BIG_ENDIAN, "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1.99"]
QUICK = settings(max_examples=150, derandomize=True, deadline=None, database=None)
NETWORK = settings(QUICK, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with a few of them changed, removed or doubled."""
    raw = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(raw) - 1, 0)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "ones"]))
        if kind == "change":
            raw[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "cut":
            del raw[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            raw[at:at] = draw(st.binary(max_size=8))
        else:
            raw[at : at + 4] = b"\xff" * 4
    return bytes(raw)


@QUICK
@given(st.sampled_from(SYNTAXES).flatmap(lambda syntax: st.tuples(st.just(syntax), damaged(encode(image(), syntax)))))
def test_a_damaged_data_set_is_read_or_refused(case: tuple[str, bytes]) -> None:
    """Nothing but Refused comes out of the pass over a data set."""
    syntax, raw = case
    try:
        outline(io.BytesIO(raw), syntax, frozenset({0x0020000D}), 1 << 20)
    except Refused:
        return


@QUICK
@given(st.binary(max_size=200) | damaged(command(instance="1.2.3")))
def test_a_damaged_command_is_read_or_malformed(raw: bytes) -> None:
    """Nothing but Malformed comes out of the reader of commands."""
    try:
        parse_command(raw)
    except Malformed:
        return


def test_a_damaged_file_is_taken_or_refused(tmp_path: Path) -> None:
    """An upload never fails in another way, and a refused one leaves no file."""
    ledger = Ledger()
    intake = Intake(FolderStorage(tmp_path, 0), ledger.record, ledger.touch, 1 << 20)

    @QUICK
    @given(damaged(part10(image())))
    def upload(raw: bytes) -> None:
        before = sum(path.is_file() for path in tmp_path.rglob("*"))
        try:
            intake.accept_file(io.BytesIO(raw), "WEB")
        except Refused:
            assert sum(path.is_file() for path in tmp_path.rglob("*")) == before

    upload()
    assert not list((tmp_path / "incoming").iterdir())


@pytest.mark.parametrize("established", [False, True])
def test_damaged_pdus_never_hurt_the_listener(gateway: Gateway, established: bool) -> None:  # noqa: FBT001
    """Before and within an association: the connection ends or goes on, a neighbour is served, nothing half is kept."""
    stream = pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3.1.1.1"))) + pdu(pdv(1, LAST, encode(image())))

    @NETWORK
    @given(damaged(stream if established else request([("1.2.840.10008.5.1.4.1.1.1.1", [EXPLICIT])]) + stream))
    def send(raw: bytes) -> None:
        if established:
            with RawScu(gateway.port) as scu:
                scu.send(raw)
                scu.connection.shutdown(1)
                while scu.receive()[0]:
                    pass
        else:
            with connect(gateway.port) as connection:
                connection.sendall(raw)
                connection.shutdown(1)
                try:
                    while connection.recv(4096):
                        pass
                except ConnectionResetError:
                    pass

    send()
    assert gateway.settle(lambda: not gateway.listener._open())  # noqa: SLF001 - all threads have ended
    assert not list((gateway.root / "incoming").iterdir())
    with RawScu(gateway.port, [(VERIFICATION, [IMPLICIT])]) as scu:
        assert scu.echo() == 0
