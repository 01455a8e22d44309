"""The circuit breaker of a destination, on SQLite and PostgreSQL: while it is silent, one delivery asks for all."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from service import clock
from service.db import breaker, jobs, outbox
from service.db.engine import Database
from service.db.jobs import StageEnd
from service.db.studies import close_quiet_studies, record_instances
from service.db.tables import Outbox
from service.domain.job import Stage
from service.domain.study import ReceivedInstance

LEASE = 30.0


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
