"""A study stays open while its sender is connected and sending, no longer."""

import threading

import pytest

from tests.unit.listener.conftest import Gateway, Start
from tests.unit.listener.raw_scu import (
    COMMAND,
    DX,
    EXPLICIT,
    IMPLICIT,
    LAST,
    VERIFICATION,
    RawScu,
    command,
    encode,
    image,
    pdu,
    pdv,
)


def test_studies_of_an_open_association_are_touched_until_it_ends(start: Start) -> None:
    """Every half quiet time while the sender is connected, and once at its end, also by a hang up."""
    gateway = start(quiet_seconds=0.2)
    with RawScu(gateway.port) as scu:
        scu.send_image(image())
        assert gateway.settle(lambda: len(gateway.ledger.touched) >= 3)
    assert gateway.settle(lambda: not gateway.listener._open())  # noqa: SLF001 - the thread has ended
    seen = len(gateway.ledger.touched)
    threading.Event().wait(0.3)
    assert len(gateway.ledger.touched) == seen
    assert set(gateway.ledger.touched) == {frozenset({"1.2.3.1"})}


def test_only_the_latest_studies_of_an_association_are_touched(gateway: Gateway) -> None:
    """A router that never ends its association does not keep every study open that it ever sent."""
    with RawScu(gateway.port) as scu:
        for study in [*range(1, 12), 5]:
            scu.send_image(image(study=study))
        scu.release()
    assert gateway.ledger.touched == [frozenset(f"1.2.3.{study}" for study in (5, 6, 7, 8, 9, 10, 11, 4))]


def test_a_study_becomes_quiet_while_its_sender_only_echoes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """An association that stays open with C-ECHO does not keep the studies open that it brought long ago."""
    monkeypatch.setattr("service.listener.association._KEPT_OPEN_SECONDS", 0.4)
    gateway = start(quiet_seconds=0.1)
    with RawScu(gateway.port, [(DX, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]) as scu:
        scu.send_image(image())
        assert gateway.settle(lambda: bool(gateway.ledger.touched))
        assert gateway.settle(lambda: scu.echo(3) == 0 and quiet(gateway))
        seen = len(gateway.ledger.touched)
        for _ in range(20):
            assert scu.echo(3) == 0
            threading.Event().wait(0.02)
        assert len(gateway.ledger.touched) == seen
        scu.send_image(image(2))
        assert gateway.settle(lambda: len(gateway.ledger.touched) > seen)
        assert gateway.settle(lambda: quiet(gateway))
        seen = len(gateway.ledger.touched)
        assert scu.release() == 6
        assert len(gateway.ledger.touched) == seen


def test_a_study_is_kept_at_least_three_quiet_times(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a long quiet time has senders that pause as long."""
    monkeypatch.setattr("service.listener.association._KEPT_OPEN_SECONDS", 0.0)
    gateway = start(quiet_seconds=0.4)
    with RawScu(gateway.port) as scu:
        scu.send_image(image())
        assert gateway.settle(lambda: len(gateway.ledger.touched) >= 4)
        assert gateway.settle(lambda: quiet(gateway))


def test_a_slow_object_keeps_its_studies_open(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long an object takes to arrive: the studies that were being sent when it began stay open."""
    monkeypatch.setattr("service.listener.association._KEPT_OPEN_SECONDS", 0.3)
    gateway = start(quiet_seconds=0.1)
    with RawScu(gateway.port) as scu:
        scu.send_image(image())
        whole = encode(image(2))
        scu.send(pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3.1.1.2"))), pdu(pdv(1, 0, whole[:100])))
        threading.Event().wait(0.6)
        seen = len(gateway.ledger.touched)
        assert gateway.settle(lambda: len(gateway.ledger.touched) >= seen + 2)
        scu.send(pdu(pdv(1, LAST, whole[100:])))
        assert scu.answer().status == 0


def quiet(gateway: Gateway) -> bool:
    """Whether no open association keeps a study open."""
    return not any(association.studies for association in gateway.listener._open())  # noqa: SLF001 - as the tick asks


def test_the_release_comes_after_the_last_touch(gateway: Gateway) -> None:
    """Who sees the release answered knows that the end of the association has been noted."""
    with RawScu(gateway.port) as scu:
        scu.send_image(image())
        assert scu.release() == 6
        assert gateway.ledger.touched == [frozenset({"1.2.3.1"})]
