"""The circuit breaker of a destination, on SQLite and PostgreSQL: while it is silent, one delivery asks for all."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service import clock
from service.db import breaker, jobs, outbox
from service.db.engine import Database
from service.db.jobs import StageEnd
from service.db.studies import close_quiet_studies, record_instances
from service.db.tables import DestinationState, Outbox
from service.domain.job import Stage
from service.domain.study import ReceivedInstance

LEASE = 30.0
Wait = tuple[datetime, str] | None


def reported(db: Database, number: int) -> None:
    """A study whose results are due at pacs and ehr."""
    image = ReceivedInstance(
        study_instance_uid=f"1.2.3.{number}",
        series_instance_uid=f"1.2.3.{number}.1",
        sop_instance_uid=f"1.2.3.{number}.1.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        storage_key=f"instances/ab/{number}.dcm",
        sha256=f"{number:064}",
        size=10,
        calling_ae="PANO1",
    )
    record_instances(db, [image])
    assert close_quiet_studies(db, quiet_seconds=0.0) == 1
    due = outbox.ring_due(db, Stage.ANALYZE)
    while due and due[0].stage is not Stage.DELIVER:
        taken = outbox.claim(db, due[0].outbox_id, LEASE)
        assert taken is not None
        due = jobs.complete(db, taken, StageEnd(), ["pacs", "ehr"])


def rows(db: Database, destination: str) -> list[Outbox]:
    """Its deliveries, in the order in which they came."""
    with db.session() as session:
        return list(session.scalars(select(Outbox).where(Outbox.destination == destination).order_by(Outbox.id)))


def claimed(db: Database, destination: str) -> list[outbox.Claim]:
    """All deliveries to it that workers get who try every one."""
    tried = [outbox.claim(db, row.id, LEASE) for row in rows(db, destination)]
    return [taken for taken in tried if taken is not None]


@pytest.fixture
def three(db: Database) -> Database:
    """Three studies on their way; the first delivery to the PACS found it silent."""
    for number in (1, 2, 3):
        reported(db, number)
    taken = outbox.claim(db, rows(db, "pacs")[0].id, LEASE)
    assert taken is not None
    outbox.postpone(db, taken, "no answer")
    breaker.silent(db, "pacs", "no answer")
    return db


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """So many seconds pass."""
    moment = clock.now() + timedelta(seconds=seconds)
    monkeypatch.setattr(clock, "now", lambda: moment)


def test_the_others_wait_with_it(three: Database) -> None:
    """No other delivery is begun or counted, each says why it waits; other destinations do not notice."""
    assert claimed(three, "pacs") == []
    waiting = rows(three, "pacs")[1:]
    assert [row.attempts for row in waiting] == [0, 0]
    assert {row.message for row in waiting} == {"waits for pacs to answer again: no answer"}
    assert all(row.not_before > clock.now() for row in waiting)
    assert len(claimed(three, "ehr")) == 3


def test_one_asks_for_all(three: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time one delivery is begun; a worker that vanished while it asked is replaced after its lease."""
    claimed(three, "pacs")
    later(monkeypatch, 5)
    assert len(claimed(three, "pacs")) == 1
    later(monkeypatch, LEASE - 10)
    assert claimed(three, "pacs") == []
    later(monkeypatch, 16)
    assert len(claimed(three, "pacs")) == 1


def test_an_answer_frees_all(three: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waited is due at once, whatever time it was given; what failed by itself keeps its back-off."""
    claimed(three, "pacs")
    breaker.silent(three, "pacs", "no answer", retry_after=600)
    claimed(three, "pacs")
    breaker.answered(three, "pacs")
    later(monkeypatch, 0.01)
    assert [taken.outbox_id for taken in claimed(three, "pacs")] == [row.id for row in rows(three, "pacs")[1:]]
    assert rows(three, "pacs")[1].message == ""


def test_trouble_of_our_own_says_nothing(three: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked and could not find out lets the next one ask, before the lease is over."""
    later(monkeypatch, 5)
    assert len(claimed(three, "pacs")) == 1
    breaker.unsettled(three, "pacs")
    later(monkeypatch, LEASE - 10)
    assert len(claimed(three, "pacs")) == 1


def test_it_is_asked_ever_more_seldom(three: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 s, 4 s ... a minute at the most; a person who presses Try again is not made to wait."""
    for _ in range(20):
        breaker.silent(three, "pacs", "no answer")
    later(monkeypatch, breaker.LONGEST_SECONDS - 1)
    assert claimed(three, "pacs") == []
    later(monkeypatch, 2)
    assert len(claimed(three, "pacs")) == 1
    breaker.silent(three, "pacs", "no answer")
    outbox.retry_all(three)
    later(monkeypatch, 0.01)
    assert len(claimed(three, "pacs")) == 1


def test_a_peer_cannot_ask_for_less(three: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy server that says Retry-After: 0 is not asked by every delivery in a row."""
    breaker.silent(three, "pacs", "busy", retry_after=0.0)
    later(monkeypatch, 1)
    assert claimed(three, "pacs") == []
    later(monkeypatch, 5)
    assert len(claimed(three, "pacs")) == 1


def test_a_peer_that_asks_for_days_is_asked_after_an_hour(three: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A maintenance page with a date of its own must not hold results back for longer."""
    breaker.silent(three, "pacs", "maintenance", retry_after=7 * 86400.0)
    later(monkeypatch, breaker.LONGEST_WISH_SECONDS - 10)
    assert claimed(three, "pacs") == []
    later(monkeypatch, 20)
    assert len(claimed(three, "pacs")) == 1


def test_what_failed_least_asks_first(three: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the oldest again and again: a study that cannot be delivered must not ask for those that can."""
    claimed(three, "pacs")
    later(monkeypatch, 100)
    rung = [due.outbox_id for due in outbox.ring_due(three, Stage.DELIVER)]
    first, *others = [row.id for row in rows(three, "pacs")]
    assert [each for each in rung if each in {first, *others}] == [*others, first]


def test_an_answer_frees_what_had_failed_before(three: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that was due again after a failure of its own does not sleep until the time of the silent peer."""
    later(monkeypatch, 5)
    breaker.answered(three, "pacs")
    taken = outbox.claim(three, rows(three, "pacs")[1].id, LEASE)
    assert taken is not None
    outbox.postpone(three, taken, "out of resources", 1.0)
    later(monkeypatch, 2)
    breaker.silent(three, "pacs", "maintenance", retry_after=3000)
    claimed(three, "pacs")
    breaker.silent(three, "pacs", "no answer")  # of one that was under way: another time than the rows have
    later(monkeypatch, 5)
    breaker.answered(three, "pacs")
    later(monkeypatch, 0.01)
    assert len(claimed(three, "pacs")) == 3
    assert rows(three, "pacs")[1].message == "out of resources"


@pytest.mark.parametrize("gone", [False, True])
def test_who_is_buried_instead_does_not_ask(three: Database, monkeypatch: pytest.MonkeyPatch, gone: bool) -> None:  # noqa: FBT001 - a parameter
    """A row that has made workers vanish, or that another worker has taken, leaves the place to the next one."""
    later(monkeypatch, 5)
    first, second, _ = rows(three, "pacs")
    with three.begin() as session:
        session.execute(update(Outbox).where(Outbox.id == first.id).values(lost=outbox.LOST_LIMIT))
    if gone:
        monkeypatch.setattr(breaker, "admit", _taken_meanwhile(first.id, breaker.admit))
    assert outbox.claim(three, first.id, LEASE) is None
    with three.session() as session:
        assert (session.get_one(Outbox, first.id).dead_at is None) == gone
        assert session.get_one(DestinationState, "pacs").asked_until is None
    monkeypatch.undo()
    later(monkeypatch, 6)
    assert outbox.claim(three, second.id, LEASE) is not None


def _taken_meanwhile(outbox_id: int, admit: Callable[..., Wait]) -> Callable[[Session, str, float], Wait]:
    """Admits, and another worker finishes the row at that moment."""

    def admitted(session: Session, destination: str, lease_seconds: float) -> Wait:
        answer = admit(session, destination, lease_seconds)
        session.execute(update(Outbox).where(Outbox.id == outbox_id).values(held=True))
        return answer

    return admitted
