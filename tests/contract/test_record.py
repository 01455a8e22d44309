"""The record behaves the same on SQLite and on PostgreSQL."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from service.db import jobs, outbox, procedure_steps
from service.db.engine import Database
from service.db.jobs import StageEnd, StoredArtifact
from service.db.migrate import current, head, migrate, require_current
from service.db.outbox import Due
from service.db.studies import close_quiet_studies, record_instances, touch_studies
from service.db.tables import Instance, Job, Outbox, ProcedureStep, Study
from service.domain.errors import ConfigurationError, Transient
from service.domain.job import Outcome, Stage, State
from service.domain.study import Recorded
from tests.contract.images import IMAGE, closed_job

LEASE = 30.0


def end_lease(db: Database, outbox_id: int) -> None:
    """Let the lease of a row run out."""
    with db.begin() as session:
        row = session.get_one(Outbox, outbox_id)
        assert row.lease_until is not None
        row.lease_until -= timedelta(seconds=2 * LEASE)


def state_of(db: Database) -> str:
    """The state of the only job."""
    with db.session() as session:
        return session.scalars(select(Job.state)).one()


def test_some_senders_are_given_more_time(db: Database) -> None:
    """The silence of the sender counts, where it has one of its own."""
    record_instances(db, [IMAGE])
    assert close_quiet_studies(db, 0.0, by_sender={"PANO1": 60.0}) == 0
    assert close_quiet_studies(db, 0.0, by_sender={"PANO2": 60.0}) == 1
    record_instances(db, [replace(IMAGE, sop_instance_uid="1.2.3.1.2", sha256="b" * 64)])
    assert close_quiet_studies(db, 60.0, by_sender={"PANO1": 0.0}) == 1


def test_nothing_waits_for_ever(db: Database) -> None:
    """A study that never falls silent is closed after the longest wait, counted from its first waiting image."""
    record_instances(db, [IMAGE])
    with db.begin() as session:
        study = session.scalars(select(Study)).one()
        assert study.opened_at == study.active_at
        study.opened_at = study.active_at - timedelta(hours=1)
    record_instances(db, [replace(IMAGE, sop_instance_uid="1.2.3.1.2", sha256="b" * 64)])
    assert close_quiet_studies(db, 60.0, longest_seconds=7200.0) == 0
    assert close_quiet_studies(db, 60.0, longest_seconds=1800.0) == 1
    record_instances(db, [replace(IMAGE, sop_instance_uid="1.2.3.1.3", sha256="c" * 64)])
    assert close_quiet_studies(db, 60.0, longest_seconds=1800.0) == 0  # a new wait began with the late image


def test_a_completed_procedure_step_closes_its_study(db: Database) -> None:
    """As soon as all images are here that it names, and not before; once."""
    assert procedure_steps.create(db, "1.9", "PANO1", "IN PROGRESS", ["1.2.3"])
    assert not procedure_steps.create(db, "1.9", "PANO1", "IN PROGRESS", ["1.2.3"])
    record_instances(db, [IMAGE])
    assert procedure_steps.close_completed_studies(db) == 0
    assert procedure_steps.change(db, "1.9", "COMPLETED", ["1.2.3.1.1", "1.2.3.1.2"]) == "IN PROGRESS"
    assert procedure_steps.close_completed_studies(db) == 0
    record_instances(db, [replace(IMAGE, sop_instance_uid="1.2.3.1.2", sha256="b" * 64)])
    assert procedure_steps.close_completed_studies(db) == 1
    assert procedure_steps.close_completed_studies(db) == 0
    with db.session() as session:
        assert session.scalars(select(Instance.revision)).all() == [1, 1]
    assert procedure_steps.change(db, "1.9", "DISCONTINUED", []) == "COMPLETED"
    assert procedure_steps.change(db, "1.8", "COMPLETED", []) is None


def test_a_step_whose_images_never_come_is_dropped_after_a_day(db: Database) -> None:
    """Its study is left to silence."""
    procedure_steps.create(db, "1.9", "PANO1", "IN PROGRESS", ["1.2.3"])
    procedure_steps.change(db, "1.9", "COMPLETED", ["1.2.3.1.1", "1.2.3.1.2"])
    record_instances(db, [IMAGE])
    with db.begin() as session:
        step = session.scalars(select(ProcedureStep)).one()
        step.updated_at -= timedelta(days=2)
    assert procedure_steps.close_completed_studies(db) == 0
    with db.session() as session:
        assert session.scalars(select(ProcedureStep.resolved_at)).one() is not None
        assert session.scalars(select(Study.open)).one()


def test_migrations_reach_the_head_and_can_run_twice(db: Database) -> None:
    """Migrating an up-to-date database changes nothing."""
    assert migrate(db) == head() == current(db)
    require_current(db)


def test_an_unmigrated_database_is_named(tmp_path: Path) -> None:
    """A process refuses a database that was never migrated and says what to do."""
    with pytest.raises(ConfigurationError, match="dentgate migrate"):
        require_current(Database(f"sqlite:///{tmp_path / 'empty.db'}"))


def test_instances_are_recorded_once(db: Database) -> None:
    """The same bytes again make no second row; the same UID with other bytes is kept beside and flagged."""
    other = replace(IMAGE, sha256="b" * 64, storage_key="instances/bb/bb.dcm")
    assert record_instances(db, [IMAGE]) == [Recorded.NEW]
    assert record_instances(db, [IMAGE]) == [Recorded.SAME]
    assert record_instances(db, [other]) == [Recorded.CONFLICT]
    assert record_instances(db, [other]) == [Recorded.SAME]
    with db.session() as session:
        rows = session.scalars(select(Instance).order_by(Instance.id)).all()
    assert [(row.sha256[0], row.conflict) for row in rows] == [("a", False), ("b", True)]


def test_a_batch_answers_in_its_own_order(db: Database) -> None:
    """A group of instances of several studies gets its answers in the order of the group."""
    second = replace(IMAGE, study_instance_uid="1.2.2", sop_instance_uid="1.2.2.1", sha256="c" * 64)
    assert record_instances(db, [IMAGE, second, IMAGE]) == [Recorded.NEW, Recorded.NEW, Recorded.SAME]


def test_a_study_closes_only_when_quiet(db: Database) -> None:
    """A study with a recent sign of life stays open; a quiet one becomes one job, once."""
    record_instances(db, [IMAGE])
    touch_studies(db, {"1.2.3"})
    assert close_quiet_studies(db, quiet_seconds=60.0) == 0
    assert close_quiet_studies(db, quiet_seconds=0.0) == 1
    assert close_quiet_studies(db, quiet_seconds=0.0) == 0
    assert state_of(db) == State.RECEIVED


def test_a_late_instance_opens_the_next_revision(db: Database) -> None:
    """What comes after the study was closed makes revision 2, which sees all images; a duplicate makes none."""
    closed_job(db)
    record_instances(db, [IMAGE])
    assert close_quiet_studies(db, quiet_seconds=0.0) == 0
    record_instances(db, [replace(IMAGE, sop_instance_uid="1.2.3.1.2", sha256="d" * 64)])
    assert close_quiet_studies(db, quiet_seconds=0.0) == 1
    with db.session() as session:
        newest = session.scalars(select(Job).order_by(Job.revision.desc())).first()
    assert newest is not None
    assert newest.revision == 2
    assert len(jobs.load_work(db, newest.id).instances) == 2


def test_a_row_has_one_holder(db: Database) -> None:
    """Only one of two bells for the same row gets the lease; only the holder can end it."""
    row = closed_job(db)
    taken = outbox.claim(db, row, LEASE)
    assert taken is not None
    assert outbox.claim(db, row, LEASE) is None
    stale = replace(taken, lease="somebody/else")
    with pytest.raises(Transient):
        jobs.complete(db, stale, StageEnd(), [])
    assert state_of(db) == State.RECEIVED
    assert [due.stage for due in jobs.complete(db, taken, StageEnd(), [])] == [Stage.REPORT]
    assert state_of(db) == State.ANALYZED


def test_a_dead_worker_gives_back_and_a_killing_task_is_buried(db: Database) -> None:
    """After the lease ran out the row is due again; the second vanished worker makes it a dead letter."""
    row = closed_job(db)
    for expected in (1, 2):
        taken = outbox.claim(db, row, LEASE)
        assert taken is not None
        assert taken.attempt == expected
        end_lease(db, row)
    assert outbox.claim(db, row, LEASE) is None
    with db.session() as session:
        buried = session.get_one(Outbox, row)
    assert buried.dead_at is not None
    assert "vanished 2 times" in buried.message
    assert outbox.retry(db, buried.job_id) == 1
    assert outbox.retry(db, buried.job_id) == 0
    assert outbox.claim(db, row, LEASE) is not None


def test_rows_of_dead_processes_are_released_at_once(db: Database) -> None:
    """A killed process group loses its leases at the next start, at once, and is not counted as poison."""
    row = closed_job(db)
    assert outbox.claim(db, row, LEASE, holder=outbox.holder_name(2**22 + 1)) is not None
    assert outbox.release_orphans(db) == 1
    again = outbox.claim(db, row, LEASE)
    assert again is not None
    assert outbox.release_orphans(db) == 0
    with db.session() as session:
        assert session.get_one(Outbox, row).lost == 0


def test_a_renewed_lease_lasts(db: Database) -> None:
    """A lease that is renewed is kept; one that was lost is not renewed."""
    taken = outbox.claim(db, closed_job(db), LEASE)
    assert taken is not None
    assert outbox.renew(db, taken, LEASE)
    assert not outbox.renew(db, replace(taken, lease="other"), LEASE)


def test_each_destination_has_its_own_row(db: Database) -> None:
    """A held destination leaves the others done; the job is delivered when the last one is."""
    artifact = StoredArtifact("sr", "1.9", "application/dicom", "results/ab/ab", "e" * 64)
    due = [Due(closed_job(db), Stage.ANALYZE)]
    for end in (StageEnd(), StageEnd(artifacts=[artifact])):
        taken = outbox.claim(db, due[0].outbox_id, LEASE)
        assert taken is not None
        due = jobs.complete(db, taken, end, ["pacs", "ehr"])
    assert [item.stage for item in due] == [Stage.DELIVER, Stage.DELIVER]
    pacs, ehr = (outbox.claim(db, item.outbox_id, LEASE) for item in due)
    assert pacs is not None
    assert ehr is not None
    outbox.hold(db, ehr, "no patient matches")
    jobs.complete(db, pacs, StageEnd(message="stored"), ["pacs", "ehr"])
    assert state_of(db) == State.REPORTED
    assert outbox.retry_all(db) == 1
    again = outbox.claim(db, due[1].outbox_id, LEASE)
    assert again is not None
    jobs.complete(db, again, StageEnd(), ["pacs", "ehr"])
    assert state_of(db) == State.DELIVERED
    assert jobs.load_work(db, again.job_id).of_kind("sr") == [artifact]


def test_a_declined_study_goes_no_further(db: Database) -> None:
    """Declining is final and keeps its reason."""
    taken = outbox.claim(db, closed_job(db), LEASE)
    assert taken is not None
    assert jobs.complete(db, taken, StageEnd(Outcome.DECLINED, reason="not a panoramic"), ["pacs"]) == []
    assert state_of(db) == State.DECLINED
    assert outbox.ring_due(db, Stage.ANALYZE) == []


def test_a_failed_delivery_comes_back_later(db: Database) -> None:
    """A postponed row is not due before its time; the delay grows with the attempts and stays under a quarter hour."""
    taken = outbox.claim(db, closed_job(db), LEASE)
    assert taken is not None
    outbox.postpone(db, taken, "peer is down")
    assert outbox.claim(db, taken.outbox_id, LEASE) is None
    with db.begin() as session:
        session.execute(update(Outbox).values(not_before=taken.since))
    second = outbox.claim(db, taken.outbox_id, LEASE)
    assert second is not None
    assert second.attempt == 2
    assert all(outbox.backoff_seconds(attempt) <= outbox.LONGEST_DELAY_SECONDS for attempt in range(1, 100))


def test_a_lost_bell_is_rung_again(db: Database) -> None:
    """A row that nobody claimed is rung for again after a while, not every second."""
    row = closed_job(db)
    assert outbox.ring_due(db, Stage.ANALYZE) == []
    with db.begin() as session:
        rung = session.get_one(Outbox, row)
        assert rung.rung_at is not None
        rung.rung_at -= timedelta(seconds=outbox.RING_AGAIN_SECONDS + 1)
    assert [due.outbox_id for due in outbox.ring_due(db, Stage.ANALYZE)] == [row]


def test_the_newest_image_names_the_patient(db: Database) -> None:
    """A corrected header in a later image replaces what the study row says."""
    record_instances(db, [IMAGE])
    record_instances(db, [replace(IMAGE, sop_instance_uid="1.2.3.9", sha256="f" * 64, patient_id="P2")])
    with db.session() as session:
        assert session.scalars(select(Study.patient_id)).one() == "P2"


def test_a_conflict_changes_nothing_of_the_study(db: Database) -> None:
    """Other bytes under a known UID neither rename the patient nor open the study again."""
    closed_job(db)
    record_instances(db, [replace(IMAGE, sha256="b" * 64, patient_id="P2", patient_name="B^B")])
    assert close_quiet_studies(db, quiet_seconds=0.0) == 0
    with db.session() as session:
        assert session.scalars(select(Study.patient_id)).one() == "P1"


def test_a_study_of_conflicts_only_is_not_forgotten(db: Database) -> None:
    """A study whose every object carries a UID that is taken still becomes a job, which can be declined."""
    closed_job(db)
    assert record_instances(db, [replace(IMAGE, study_instance_uid="1.2.4", sha256="b" * 64)]) == [Recorded.CONFLICT]
    assert close_quiet_studies(db, quiet_seconds=0.0) == 1
    with db.session() as session:
        newest = session.scalars(select(Job).order_by(Job.id.desc())).first()
    assert newest is not None
    assert jobs.load_work(db, newest.id).instances == ()


def test_a_machine_that_goes_down_every_time_is_noticed(db: Database) -> None:
    """Work that was in hand at five crashes of the whole machine is a dead letter, too."""
    row = closed_job(db)
    for _ in range(outbox.ORPHANED_LIMIT):
        assert outbox.claim(db, row, LEASE, holder=outbox.holder_name(2**22 + 1)) is not None
        assert outbox.release_orphans(db) == 1
    assert outbox.claim(db, row, LEASE) is None
    with db.session() as session:
        assert session.get_one(Outbox, row).dead_at is not None


def test_a_long_host_name_fits(db: Database) -> None:
    """A lease of a machine with a long name (a pod, a domain name) can be taken and ended."""
    taken = outbox.claim(db, closed_job(db), LEASE, holder="w" * 100 + "/4194304/1234567890")
    assert taken is not None
    jobs.complete(db, taken, StageEnd(), [])
    assert state_of(db) == State.ANALYZED


def test_a_peer_cannot_put_a_row_off_for_ever(db: Database) -> None:
    """A wish for a very late retry is cut to an hour, and a person can have it done now."""
    taken = outbox.claim(db, closed_job(db), LEASE)
    assert taken is not None
    outbox.postpone(db, taken, "503", delay=1e9)
    with db.session() as session:
        row = session.get_one(Outbox, taken.outbox_id)
    assert row.not_before - taken.since < timedelta(hours=1, minutes=1)
    assert outbox.retry(db, row.job_id) == 1
    assert outbox.claim(db, taken.outbox_id, LEASE) is not None


def test_a_flood_is_rung_for_in_portions(db: Database) -> None:
    """The oldest rows come first, no more than asked for."""
    for number in range(5):
        record_instances(db, [replace(IMAGE, study_instance_uid=f"1.3.{number}", sop_instance_uid=f"1.4.{number}")])
    assert close_quiet_studies(db, quiet_seconds=0.0) == 5
    first = outbox.ring_due(db, Stage.ANALYZE, 2)
    assert len(first) == 2
    second = outbox.ring_due(db, Stage.ANALYZE)
    assert len(second) == 3
    assert max(due.outbox_id for due in first) < min(due.outbox_id for due in second)


def test_a_large_object_has_a_size(db: Database) -> None:
    """Objects beyond two gigabytes are recorded."""
    assert record_instances(db, [replace(IMAGE, size=1 << 33)]) == [Recorded.NEW]
