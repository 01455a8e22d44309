"""Reviews in the record, on SQLite and on PostgreSQL: one entry at a time, a signature on its way or not there."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from service.db import jobs, outbox, reviews
from service.db.engine import Database
from service.db.jobs import StageEnd, StoredArtifact
from service.db.reviews import Request, record_request
from service.db.studies import close_quiet_studies, record_instances
from service.db.tables import Artifact, Job, Outbox, Review
from service.domain.errors import NotUnderstood, Outdated
from service.domain.job import Stage, State
from service.domain.review import Action, Conclusion, Deed, Reviewer, Standing
from service.domain.study import ReceivedInstance
from tests.contract.images import IMAGE

STUDY, LEASE = "1.2.3", 30.0
ANALYSIS = StoredArtifact("analysis", "1.2.3.1.1/teeth", "application/json", "results/aa/aa", "a" * 64)
OTHER = replace(ANALYSIS, name="1.2.3.1.1/secret_model")
PREVIEW = StoredArtifact("preview", "1.2.3.1.1", "image/png", "results/bb/bb", "b" * 64)
SR = StoredArtifact("sr", "1.9", "application/dicom", "results/cc/cc", "c" * 64)
REJECT = (Action(Deed.REJECT, "2.25.1"), Action(Deed.ADD, kind="caries", tooth=36, image="1.2.3.1.1", box=(1, 2, 3, 4)))


def reported(db: Database, image: ReceivedInstance = IMAGE, destinations: tuple[str, ...] = ("ehr",)) -> int:
    """An image arrives and is analyzed and reported; the job."""
    record_instances(db, [image])
    assert close_quiet_studies(db, quiet_seconds=0.0) == 1
    finish(db, Stage.ANALYZE, [ANALYSIS, OTHER, PREVIEW], destinations)
    return finish(db, Stage.REPORT, [SR], destinations)


def finish(db: Database, stage: Stage, made: list[StoredArtifact], destinations: tuple[str, ...] = ("ehr",)) -> int:
    """Do the newest row of a stage; its job."""
    with db.session() as session:
        rows = select(Outbox.id).where(Outbox.stage == stage, Outbox.finished_at.is_(None)).order_by(Outbox.id.desc())
        row = session.scalars(rows).first()
    assert row is not None
    taken = outbox.claim(db, row, LEASE)
    assert taken is not None
    jobs.complete(db, taken, StageEnd(artifacts=made), destinations)
    return taken.job_id


def asking(key: str, version: str, conclusion: Conclusion = Conclusion.OPEN, **more: object) -> Request:
    """A request of Anna."""
    given = {"key": key, "digest": key * 8, "version": version, "reviewer": Reviewer("Muster^Anna")}
    return Request(**{**given, "conclusion": conclusion, "analyses": (ANALYSIS.name,), **more})  # type: ignore[arg-type]  # as the test says


def seen(db: Database) -> reviews.Seen:
    """What stands."""
    with db.session() as session:
        found = reviews.find_seen(session, STUDY)
    assert found is not None
    return found


def count(db: Database, table: type[Review] | type[Job]) -> int:
    """Rows of a table."""
    with db.session() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def test_entries_come_back_as_they_were_given(db: Database) -> None:
    """Actions, person and conclusion are read as they were written; the version counts them."""
    reported(db)
    assert seen(db).version == "1.0"
    assert record_request(db, STUDY, asking("a", "1.0", actions=REJECT, reviewer=Reviewer("A", "7", "Praxis")))
    found = seen(db)
    assert (found.version, found.entries[0].actions, found.entries[0].reviewer.organization) == (
        "1.1",
        REJECT,
        "Praxis",
    )
    assert count(db, Job) == 1  # nothing leaves before somebody signs


def test_a_repeated_request_is_one(db: Database) -> None:
    """The same key again does nothing, whatever stands by then; with other content it is refused."""
    reported(db)
    first = asking("a", "1.0", Conclusion.SIGN)
    assert record_request(db, STUDY, first)
    assert not record_request(db, STUDY, first)
    assert (count(db, Review), count(db, Job)) == (1, 2)
    with pytest.raises(NotUnderstood, match="another request"):
        record_request(db, STUDY, replace(first, digest="other"))


def test_who_comes_second_reads_again(db: Database) -> None:
    """A request that names another version than the one that stands does nothing, and is told which one does."""
    reported(db)
    record_request(db, STUDY, asking("a", "1.0", actions=REJECT))
    with pytest.raises(Outdated, match=r"version 1.1, not 1.0"):
        record_request(db, STUDY, asking("b", "1.0", Conclusion.SIGN))
    assert (count(db, Review), count(db, Job)) == (1, 1)


def test_of_many_reviewers_at_once_one_wins(db: Database) -> None:
    """Eight signatures at the same moment make one entry and one job; seven are told to read again."""
    reported(db)
    outcomes: list[str] = []
    gate = threading.Barrier(8)

    def sign(number: int) -> None:
        gate.wait()
        try:
            outcomes.append(str(record_request(db, STUDY, asking(f"k{number}", "1.0", Conclusion.SIGN))))
        except Outdated:
            outcomes.append("outdated")

    threads = [threading.Thread(target=sign, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["True"] + ["outdated"] * 7
    assert (count(db, Review), count(db, Job)) == (1, 2)


def test_one_request_sent_by_many_is_done_once(db: Database) -> None:
    """A client that lost the answer and asks again, several times at once, signs once."""
    reported(db)
    outcomes: list[bool] = []
    gate = threading.Barrier(4)

    def sign() -> None:
        gate.wait()
        outcomes.append(record_request(db, STUDY, asking("same", "1.0", Conclusion.SIGN)))

    threads = [threading.Thread(target=sign) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, False, False, True]
    assert (count(db, Review), count(db, Job)) == (1, 2)


def test_a_signature_brings_about_report_and_delivery_and_no_analysis(db: Database) -> None:
    """The new job begins at its report, with the analyses that the person saw and no others, as the next revision."""
    reported(db)
    record_request(db, STUDY, asking("a", "1.0", Conclusion.SIGN))
    with db.session() as session:
        job = session.scalars(select(Job).order_by(Job.id.desc())).first()
        assert job is not None
        assert (job.revision, job.state) == (2, State.ANALYZED)
        assert [(row.stage, row.finished_at) for row in job.outbox] == [(Stage.REPORT, None)]
        names = [row.name for row in session.scalars(select(Artifact).where(Artifact.job_id == job.id))]
    assert sorted(names) == [PREVIEW.name, ANALYSIS.name]
    context = reviews.load_context(db, job.id)
    assert (len(context.entries), context.newest, context.signed_revision, context.withdrawn) == (1, job.id, 1, False)
    assert reviews.earlier_results(db, job.id, ["sr", "seg"]) == [("sr", SR.storage_key)]
    assert finish(db, Stage.REPORT, [replace(SR, name="1.10", storage_key="results/dd/dd")]) == job.id
    assert finish(db, Stage.DELIVER, []) == job.id
    with db.session() as session:
        assert session.get_one(Job, job.id).state == State.DELIVERED


def test_a_crash_in_the_middle_of_signing_leaves_nothing(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process dies after the job was made and before the commit, there is neither entry nor job nor row."""
    reported(db)
    begin = reviews._begin_job  # noqa: SLF001 - the last step before the commit

    def dies(*arguments: object) -> int:
        begin(*arguments)  # type: ignore[arg-type]  # passed on
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reviews, "_begin_job", dies)
        with pytest.raises(KeyboardInterrupt):
            record_request(db, STUDY, asking("a", "1.0", Conclusion.SIGN))
    assert (count(db, Review), count(db, Job)) == (0, 1)
    assert seen(db).version == "1.0"
    assert record_request(db, STUDY, asking("a", "1.0", Conclusion.SIGN))


def test_a_late_image_makes_the_reviewer_look_again(db: Database) -> None:
    """A new analysis changes the version as soon as it is reported, not before; the review takes up where it was."""
    reported(db)
    record_request(db, STUDY, asking("a", "1.0", actions=REJECT))
    late = replace(IMAGE, sop_instance_uid="1.2.3.1.2", sha256="d" * 64)
    record_instances(db, [late])
    assert close_quiet_studies(db, quiet_seconds=0.0) == 1
    finish(db, Stage.ANALYZE, [ANALYSIS, PREVIEW])
    assert seen(db).version == "1.1"  # its report is being written
    assert record_request(db, STUDY, asking("b", "1.1", Conclusion.SIGN))
    finish(db, Stage.REPORT, [SR])  # of the signature
    finish(db, Stage.REPORT, [SR])  # of the late image
    assert seen(db).version == "2.2"
    with db.session() as session:
        line = reviews.review_lines(session, [seen(db).study_id])[seen(db).study_id]
    assert line.standing is Standing.NEWER
    assert line.words.endswith("newer findings wait for review")
    with pytest.raises(Outdated):
        record_request(db, STUDY, asking("c", "1.2", Conclusion.SIGN))
    assert record_request(db, STUDY, asking("d", "2.2", Conclusion.SIGN))
    with db.session() as session:
        assert session.scalars(select(Job.revision).order_by(Job.id)).all() == [1, 2, 3, 4]


def test_what_was_held_is_looked_at_anew_after_a_signature(db: Database) -> None:
    """A held delivery of the AI's report is due again: it finds that it is superseded, and nobody has to press."""
    reported(db)
    with db.session() as session:
        row = session.scalars(select(Outbox.id).where(Outbox.stage == Stage.DELIVER)).one()
    taken = outbox.claim(db, row, LEASE)
    assert taken is not None
    outbox.hold(db, taken, "no patient matches")
    record_request(db, STUDY, asking("a", "1.0", Conclusion.SIGN))
    assert outbox.claim(db, row, LEASE) is not None


def test_two_reports_never_go_to_one_place_at_once(db: Database) -> None:
    """While an earlier report is being delivered, the signed one sees that; other destinations are not concerned."""
    reported(db, destinations=("ehr", "pacs"))
    with db.session() as session:
        row = session.scalars(select(Outbox.id).where(Outbox.destination == "ehr")).one()
    record_request(db, STUDY, asking("a", "1.0", Conclusion.SIGN))
    job = finish(db, Stage.REPORT, [], ("ehr", "pacs"))
    assert not reviews.earlier_in_hand(db, job, "ehr")
    taken = outbox.claim(db, row, LEASE)
    assert taken is not None
    assert reviews.earlier_in_hand(db, job, "ehr")
    assert not reviews.earlier_in_hand(db, job, "pacs")
    assert not reviews.earlier_in_hand(db, taken.job_id, "ehr")


def test_a_withdrawal_is_the_end(db: Database) -> None:
    """Afterwards nothing can be recorded any more."""
    reported(db)
    record_request(db, STUDY, asking("a", "1.0", Conclusion.WITHDRAW, reason="wrong patient"))
    assert reviews.load_context(db, 1).withdrawn
    with pytest.raises(Outdated, match="withdrawn"):
        record_request(db, STUDY, asking("b", "1.1", Conclusion.SIGN))


def test_nothing_to_review(db: Database) -> None:
    """A study without a report has nothing to be reviewed."""
    record_instances(db, [IMAGE])
    assert seen(db).version == "0.0"
    with pytest.raises(NotUnderstood, match="no result"):
        record_request(db, STUDY, asking("a", "0.0", actions=REJECT))
