"""What brings work back, on SQLite and PostgreSQL: killed processes, stops, clocks; and what may be removed."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from service import clock
from service.db import jobs, outbox
from service.db.clock_jumps import heed_clock
from service.db.engine import Database
from service.db.jobs import StageEnd
from service.db.retention import expire, expired, forget
from service.db.studies import close_quiet_studies, record_instances
from service.db.tables import Instance, Job, Outbox, Study
from service.domain.job import NEXT, Stage, State
from service.domain.study import Recorded
from service.storage import open_storage, put
from tests.contract.images import IMAGE, closed_job

LEASE, HOUR = 30.0, timedelta(hours=1)
POOL = "machine/7/100"


def row_of(db: Database, outbox_id: int) -> Outbox:
    """A row as it is now."""
    with db.session() as session:
        return session.get_one(Outbox, outbox_id)


def deliver(db: Database) -> None:
    """Do everything that is due, as workers would that find nothing wrong."""
    for stage in NEXT.values():
        for due in outbox.ring_due(db, stage) or _rung(db, stage):
            taken = outbox.claim(db, due.outbox_id, LEASE)
            assert taken is not None
            jobs.complete(db, taken, StageEnd(), ["pacs"])


def _rung(db: Database, stage: Stage) -> list[outbox.Due]:
    with db.session() as session:
        unfinished = select(Outbox.id).where(Outbox.stage == stage, Outbox.finished_at.is_(None))
        return [outbox.Due(each, stage) for each in session.scalars(unfinished)]


def test_a_killed_process_gives_its_row_back_at_once(db: Database) -> None:
    """Not after the lease: the parent of the pool says so; it counts as lost, and the second time it is buried."""
    row = closed_job(db)
    for times in (1, 2):
        assert outbox.claim(db, row, LEASE, f"{POOL}/task-{times}") is not None
        assert not outbox.worker_lost(db, f"machine/8/100/task-{times}", "killed"), "another pool"
        assert not outbox.worker_lost(db, f"{POOL}/task", "killed"), "another process of the pool"
        assert outbox.worker_lost(db, f"{POOL}/task-{times}", "killed") == 1
        assert (row_of(db, row).dead_at is not None) == (times == 2)
    assert "vanished 2 times" in row_of(db, row).message
    assert outbox.claim(db, row, LEASE, POOL) is None


def test_a_finished_row_is_not_lost(db: Database) -> None:
    """A process that is killed after it had finished changes nothing."""
    row = closed_job(db)
    taken = outbox.claim(db, row, LEASE, POOL)
    assert taken is not None
    jobs.complete(db, taken, StageEnd(), [])
    assert not outbox.worker_lost(db, POOL, "killed")


def test_a_worker_that_stops_gives_back_what_it_holds(db: Database) -> None:
    """Uncounted, and rung for at once; what another pool holds stays its own."""
    row = closed_job(db)
    assert outbox.claim(db, row, LEASE, f"{POOL}/task") is not None
    assert outbox.give_back(db, "machine/7/1") == 0, "a process whose number only begins the same"
    assert outbox.give_back(db, POOL) == 1
    given = row_of(db, row)
    assert (given.attempts, given.lost, given.orphaned, given.lease) == (0, 0, 0, "")
    assert [due.outbox_id for due in outbox.ring_due(db, Stage.ANALYZE)] == [row]


def test_two_relays_ring_once(db: Database) -> None:
    """What one relay has rung for the other does not ring for."""
    closed_job(db)
    assert outbox.ring_due(db, Stage.ANALYZE) == []


def test_a_clock_set_back_keeps_nobody_waiting(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour back: what was received, postponed, rung for and leased before it is due at once or after one lease."""
    now = clock.now()
    record_instances(db, [IMAGE])
    record_instances(db, [replace(IMAGE, study_instance_uid="1.2.4", sop_instance_uid="1.2.4.1", sha256="b" * 64)])
    assert close_quiet_studies(db, 0.0) == 2
    rung, held = outbox.ring_due(db, Stage.ANALYZE)
    assert outbox.claim(db, held.outbox_id, LEASE, POOL) is not None
    record_instances(db, [replace(IMAGE, study_instance_uid="1.2.5", sop_instance_uid="1.2.5.1", sha256="c" * 64)])
    monkeypatch.setattr(clock, "now", lambda: now - HOUR)
    assert outbox.ring_due(db, Stage.ANALYZE) == []
    assert close_quiet_studies(db, 5.0) == 0
    heed_clock(db, LEASE, jumped=True)
    assert [due.outbox_id for due in outbox.ring_due(db, Stage.ANALYZE)] == [rung.outbox_id]
    monkeypatch.setattr(clock, "now", lambda: now - HOUR + timedelta(seconds=LEASE + 10))
    assert close_quiet_studies(db, 5.0) == 1
    assert outbox.claim(db, held.outbox_id, LEASE, POOL) is not None


def test_a_clock_that_did_not_jump_changes_nothing(db: Database) -> None:
    """Back-off, and what a peer wished, are left alone when a relay starts."""
    taken = outbox.claim(db, closed_job(db), LEASE)
    assert taken is not None
    outbox.postpone(db, taken, "503", delay=3000.0)
    assert heed_clock(db, LEASE, jumped=False) == 0
    with db.begin() as session:
        session.execute(update(Outbox).values(not_before=clock.now() + 2 * HOUR))
    assert heed_clock(db, LEASE, jumped=False) == 1


def test_only_what_was_delivered_may_go(db: Database, tmp_path: Path) -> None:
    """Open, analyzed, dead and held keep their images; delivered ones go after their days, and come back when sent."""
    storage = open_storage(tmp_path.as_uri(), reserve_mb=0)
    put(storage, IMAGE.storage_key, b"image")
    record_instances(db, [IMAGE])
    later = clock.now() + HOUR
    assert expired(db, later) == [], "open"
    assert close_quiet_studies(db, 0.0) == 1
    assert expired(db, later) == [], "not analyzed"
    with db.begin() as session:
        session.execute(update(Outbox).values(dead_at=clock.now()))
    assert expired(db, later) == [], "dead letter"
    assert outbox.retry_all(db) == 1
    deliver(db)
    assert expired(db, clock.now() - HOUR) == [], "too early"
    (study,) = expired(db, later)
    assert study.keys == (IMAGE.storage_key,)
    assert expire(db, storage, -HOUR) == 1
    assert not (tmp_path / IMAGE.storage_key).exists()
    with db.session() as session:
        assert session.scalars(select(Instance.storage_key)).all() == [""]
        assert session.scalars(select(Job.state)).all() == [State.DELIVERED]
    assert expire(db, storage, -HOUR) == 0
    assert record_instances(db, [IMAGE]) == [Recorded.SAME]
    with db.session() as session:
        assert session.scalars(select(Instance.storage_key)).all() == [IMAGE.storage_key]


def test_a_study_that_came_to_life_again_keeps_its_images(db: Database, tmp_path: Path) -> None:
    """A late image between looking and removing: nothing of the study goes, and its file is newer than its time."""
    storage = open_storage(tmp_path.as_uri(), reserve_mb=0)
    put(storage, IMAGE.storage_key, b"image")
    closed_job(db)
    deliver(db)
    with db.begin() as session:
        session.execute(update(Study).values(open=True))
    assert expire(db, storage, -HOUR) == 0
    storage.remove(IMAGE.storage_key, clock.now() - HOUR)
    assert (tmp_path / IMAGE.storage_key).exists()


def days_later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """So many days pass; the files are as old as they are."""
    moment = clock.now() + timedelta(days=days)
    monkeypatch.setattr(clock, "now", lambda: moment)


def test_what_came_again_is_kept_as_long_as_what_is_new(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed after its days and sent again, an image has all its days before it; the next chore leaves it alone."""
    storage, week = open_storage(tmp_path.as_uri(), reserve_mb=0), timedelta(days=7)
    put(storage, IMAGE.storage_key, b"image")
    closed_job(db)
    deliver(db)
    days_later(monkeypatch, 8)
    assert expire(db, storage, week) == 1
    assert record_instances(db, [IMAGE]) == [Recorded.SAME]
    assert expire(db, storage, week) == 0
    days_later(monkeypatch, 6)
    assert expired(db, clock.now() - week) == []
    days_later(monkeypatch, 2)
    assert len(expired(db, clock.now() - week)) == 1


def test_what_comes_again_while_it_is_removed_is_kept(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender was told that it is kept: between looking and noting that it goes, the study has come to life."""
    closed_job(db)
    deliver(db)
    days_later(monkeypatch, 8)
    (study,) = expired(db, clock.now() - timedelta(days=7))
    assert record_instances(db, [IMAGE]) == [Recorded.SAME]
    assert not forget(db, study)
    with db.session() as session:
        assert session.scalars(select(Instance.storage_key)).all() == [IMAGE.storage_key]


def claimed_anew(db: Database, row: int) -> outbox.Claim:
    """The row, when its time has come."""
    with db.begin() as session:
        session.execute(update(Outbox).values(not_before=clock.now()))
    taken = outbox.claim(db, row, LEASE)
    assert taken is not None
    return taken


def test_waiting_is_not_failing(db: Database) -> None:
    """An attempt that only waited is not counted; those of a commitment are, because its pauses grow with them."""
    row = closed_job(db)
    for _ in range(3):
        taken = claimed_anew(db, row)
        assert taken.attempt == 1
        outbox.wait(db, taken, "waits for another", 2.0)
    with db.begin() as session:
        session.execute(update(Outbox).values(stage=Stage.COMMIT))
    for look in (1, 2, 3):
        taken = claimed_anew(db, row)
        assert taken.attempt == look
        outbox.wait(db, taken, "waits for a report", 2.0)


def test_trouble_of_our_own_is_counted_in_a_row(db: Database) -> None:
    """A failure that passes, or a wait, in between begins the count anew, and so does a person."""
    row = closed_job(db)
    for end in (outbox.postpone, outbox.wait, None):
        for faults in (0, 1):
            taken = claimed_anew(db, row)
            assert taken.faults == faults
            outbox.fault(db, taken, "no memory", 0.0)
        taken = claimed_anew(db, row)
        assert taken.faults == 2
        if end is not None:
            end(db, taken, "peer is down", 0.0)
        else:
            outbox.bury(db, taken, "no memory")
            assert outbox.retry_all(db) == 1
    assert claimed_anew(db, row).faults == 0
