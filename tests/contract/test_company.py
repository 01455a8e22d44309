"""Which analyses are taken together, on SQLite and PostgreSQL, and what becomes of them if their process is killed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from service import clock
from service.db import jobs, outbox
from service.db.company import take_companions
from service.db.engine import Database
from service.db.jobs import StageEnd
from service.db.outbox import Claim
from service.db.studies import close_quiet_studies, record_instances
from service.db.tables import Outbox
from service.domain.job import Stage
from tests.contract.images import IMAGE
from tests.contract.test_recovery import LEASE, POOL, row_of

TASK = f"{POOL}/task"


def studies(db: Database, count: int, first: int = 0) -> list[int]:
    """So many studies of one image become quiet; the outbox ids of all analyses."""
    for number in range(first, first + count):
        study, digest = f"1.2.{number}", f"{number:064}"
        record_instances(db, [replace(IMAGE, study_instance_uid=study, sop_instance_uid=f"{study}.1", sha256=digest)])
    close_quiet_studies(db, 0.0)
    with db.session() as session:
        return list(session.scalars(select(Outbox.id).order_by(Outbox.id)))


def leader(db: Database, row: int, holder: str = TASK) -> Claim:
    """The row as a worker's own."""
    taken = outbox.claim(db, row, LEASE, holder)
    assert taken is not None
    return taken


def numbers(claims: Sequence[Claim]) -> list[int]:
    """Of their rows."""
    return [taken.outbox_id for taken in claims]


def test_the_oldest_that_are_due_are_taken(db: Database) -> None:
    """As many as asked for, each under its own lease in the name of the same task; the rest stays free."""
    rows = studies(db, 5)
    first = leader(db, rows[0])
    assert take_companions(db, first, 0, LEASE) == []
    taken = take_companions(db, first, 2, LEASE)
    assert numbers(taken) == rows[1:3]
    leases = {each.lease for each in (first, *taken)}
    assert len(leases) == 3
    assert {lease.rsplit("/", 1)[0] for lease in leases} == {TASK}
    assert all(each.attempt == 1 for each in taken)
    assert outbox.claim(db, rows[1], LEASE) is None, "its bell rings for nothing"
    jobs.complete(db, taken[0], StageEnd(), [])
    assert row_of(db, rows[1]).finished_at is not None
    assert row_of(db, rows[3]).lease == ""


@pytest.mark.parametrize("trouble", ["attempts", "faults", "lost", "orphaned"])
def test_what_ever_failed_runs_alone(db: Database, trouble: str) -> None:
    """It is nobody's companion, and takes none with it."""
    rows = studies(db, 3)
    with db.begin() as session:
        session.execute(update(Outbox).where(Outbox.id == rows[1]).values({trouble: 1}))
    failed = leader(db, rows[1])
    assert take_companions(db, failed, 5, LEASE) == []
    with db.begin() as session:
        released = {"lease": "", "lease_until": None, "attempts": 0, trouble: 1}
        session.execute(update(Outbox).where(Outbox.id == rows[1]).values(released))
    assert numbers(take_companions(db, leader(db, rows[0]), 5, LEASE)) == [rows[2]]


@pytest.mark.parametrize(
    "values",
    [
        {"held": True},
        {"dead_at": clock.now()},
        {"finished_at": clock.now()},
        {"stage": Stage.REPORT},
        {"lease": "gone/1/1/x"},
    ],
)
def test_what_is_not_due_is_left(db: Database, values: dict[str, object]) -> None:
    """Nor what is held, dead, done, of another stage, or was left by a worker that vanished."""
    rows = studies(db, 2)
    with db.begin() as session:
        session.execute(update(Outbox).where(Outbox.id == rows[1]).values(values))
    assert take_companions(db, leader(db, rows[0]), 5, LEASE) == []


def test_revisions_of_a_study_go_one_after_the_other(db: Database) -> None:
    """A late image's analysis builds on the earlier one: while that is open, neither is anybody's companion."""
    rows = studies(db, 2)
    record_instances(db, [replace(IMAGE, study_instance_uid="1.2.1", sop_instance_uid="1.2.1.2", sha256="e" * 64)])
    close_quiet_studies(db, 0.0)
    assert len(studies(db, 0)) == 3
    first = leader(db, rows[0])
    assert take_companions(db, first, 5, LEASE) == []
    jobs.complete(db, leader(db, rows[1]), StageEnd(), [])
    assert len(take_companions(db, first, 5, LEASE)) == 1


def test_a_killed_process_gives_back_all_that_it_worked_on(db: Database) -> None:
    """At once, nobody is blamed, each runs alone from then on; other processes of the pool keep theirs."""
    rows = studies(db, 5)
    taken = take_companions(db, leader(db, rows[0]), 2, LEASE)
    neighbour = leader(db, rows[3], f"{POOL}/another")
    jobs.complete(db, taken[0], StageEnd(), [])
    assert outbox.worker_lost(db, TASK, "killed") == 2
    for row in (rows[0], rows[2]):
        freed = row_of(db, row)
        assert (freed.lease, freed.lost, freed.orphaned, freed.dead_at, freed.message) == ("", 0, 1, None, "killed")
    assert row_of(db, rows[3]).lease == neighbour.lease
    again = leader(db, rows[0], f"{POOL}/again")
    assert take_companions(db, again, 5, LEASE) == []
    assert numbers(take_companions(db, leader(db, rows[4]), 5, LEASE)) == []


def test_what_kills_workers_is_buried(db: Database) -> None:
    """Once in company and twice alone; its companion of that time lost nothing but time."""
    rows = studies(db, 2)
    assert len(take_companions(db, leader(db, rows[0]), 5, LEASE)) == 1
    assert outbox.worker_lost(db, TASK, "killed") == 2
    for times in (1, 2):
        leader(db, rows[1])
        assert outbox.worker_lost(db, TASK, "killed") == 1
        assert (row_of(db, rows[1]).dead_at is not None) == (times == 2)
    assert "vanished 2 times" in row_of(db, rows[1]).message
    innocent = leader(db, rows[0])
    jobs.complete(db, innocent, StageEnd(), [])
    assert row_of(db, rows[0]).lost == 0


def test_what_was_given_back_at_a_stop_keeps_company_again(db: Database) -> None:
    """A stop is no failure."""
    rows = studies(db, 3)
    assert len(take_companions(db, leader(db, rows[0]), 5, LEASE)) == 2
    assert outbox.give_back(db, POOL) == 3
    assert numbers(take_companions(db, leader(db, rows[1]), 5, LEASE)) == [rows[0], rows[2]]


def test_two_workers_never_take_the_same(db: Database) -> None:
    """Several at once, each with its own row, share out what is due."""
    rows = studies(db, 24)
    leaders = [leader(db, row, f"{POOL}/{row}") for row in rows[:4]]
    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda each: take_companions(db, each, 7, LEASE), leaders))
    taken = [row for share in shares for row in numbers(share)]
    assert len(taken) == len(set(taken))
    assert set(taken) <= set(rows[4:])
    for share in shares:
        for each in share:
            assert row_of(db, each.outbox_id).lease == each.lease
