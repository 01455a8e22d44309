"""What was said to each sent object, and its commitment, are kept alike on SQLite and on PostgreSQL."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from service import clock
from service.db import sent
from service.db.engine import Database
from service.db.sent import Delivered
from service.db.tables import Outbox
from service.domain.job import Stage
from service.domain.sent import CommitmentReport, Committed, ObjectAnswer
from tests.contract.images import closed_job

WHAT = Delivered(1, "pacs")


@pytest.fixture
def db(db: Database) -> Database:
    """With one job whose commitment waits."""
    closed_job(db)
    with db.begin() as session:
        later = clock.now() + timedelta(hours=1)
        session.add(Outbox(job_id=1, stage=Stage.COMMIT, destination="pacs", not_before=later))
    return db


def said(uid: str, *, status: int = 0, stored: bool = True) -> ObjectAnswer:
    """An answer to an object."""
    return ObjectAnswer("sr", "1.2.840.10008.5.1.4.1.1.88.34", uid, status, stored, "words")


def commitments(db: Database) -> dict[str, tuple[Committed, int, int]]:
    """How far each object is, why not, and how often it was sent."""
    return {
        each.answer.sop_instance_uid: (each.commitment, each.reason, each.times_sent) for each in sent.objects(db, WHAT)
    }


def test_the_last_answer_to_each_object_is_kept(db: Database) -> None:
    """A refusal, then a success: one row, sent twice; other jobs and destinations are none of its business."""
    sent.note(db, WHAT, [said("1.2.1"), said("1.2.2", status=0xA700, stored=False)], {"1.2.1": "d" * 64})
    sent.note(db, WHAT, [said("1.2.2")], {})
    sent.note(db, Delivered(1, "other"), [said("1.2.1", status=0xC000, stored=False)], {})
    first, second = sent.objects(db, WHAT)
    assert (first.answer.status, first.answer.comment, first.sha256, first.times_sent) == (0, "words", "d" * 64, 1)
    assert (second.answer.status, second.answer.stored, second.times_sent) == (0, True, 2)


def test_a_report_is_kept_and_wakes_who_waits(db: Database) -> None:
    """Committed and failed objects, and the waiting row is due at once; an unknown transaction changes nothing."""
    sent.note(db, WHAT, [said("1.2.1"), said("1.2.2"), said("1.2.3")], {})
    sent.request(db, WHAT, "1.9.1", ["1.2.1", "1.2.2"])
    assert not sent.answered(db, CommitmentReport("1.9.2", ("1.2.1",), {}))
    assert commitments(db)["1.2.1"][0] is Committed.ASKED
    with db.session() as session:
        assert session.scalars(select(Outbox.not_before).where(Outbox.stage == Stage.COMMIT)).one() > clock.now()
    assert sent.answered(db, CommitmentReport("1.9.1", ("1.2.1", "1.2.3"), {"1.2.2": 0x0112}))
    assert commitments(db) == {
        "1.2.1": (Committed.COMMITTED, 0, 1),
        "1.2.2": (Committed.FAILED, 0x0112, 1),
        "1.2.3": (Committed.NOT_ASKED, 0, 1),  # nobody asked for it
    }
    with db.session() as session:
        assert session.scalars(select(Outbox.not_before).where(Outbox.stage == Stage.COMMIT)).one() <= clock.now()


def test_a_late_failure_does_not_undo_a_second_sending(db: Database) -> None:
    """What failed and was sent again is not failed by the report on an earlier request."""
    sent.note(db, WHAT, [said("1.2.1")], {})
    sent.request(db, WHAT, "1.9.1", ["1.2.1"])
    sent.note(db, WHAT, [said("1.2.1")], {})
    assert sent.answered(db, CommitmentReport("1.9.1", (), {"1.2.1": 0x0112}))
    assert commitments(db) == {"1.2.1": (Committed.NOT_ASKED, 0, 2)}
    assert len(sent.asked_at(db, WHAT)) == 1
    sent.give_up(db, WHAT)
    assert sent.asked_at(db, WHAT) == []
    assert commitments(db) == {"1.2.1": (Committed.NOT_ASKED, 0, 1)}
    with db.begin() as session:
        session.execute(update(Outbox).values(finished_at=clock.now()))
    assert sent.answered(db, CommitmentReport("1.9.1", ("1.2.1",), {}))
    assert commitments(db)["1.2.1"][0] is Committed.COMMITTED
