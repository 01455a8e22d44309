"""What a sender says it has of a study, held against what is here: the same on SQLite and on PostgreSQL."""

import math
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select, update

from service import clock
from service.db.clock_jumps import heed_clock
from service.db.counts import settle
from service.db.engine import Database
from service.db.job_lines import job_lines
from service.db.studies import (
    SilentStudy,
    close_quiet_studies,
    close_silent_study,
    close_studies,
    record_instances,
    silent_studies,
)
from service.db.tables import Instance, Job, SentObject, Study
from tests.contract.images import IMAGE

SECOND = replace(IMAGE, sop_instance_uid="1.2.3.1.2", sha256="b" * 64)
THIRD = replace(IMAGE, sop_instance_uid="1.2.3.1.3", sha256="c" * 64)
OTHER = replace(IMAGE, study_instance_uid="1.2.4", sop_instance_uid="1.2.4.1", sha256="d" * 64)


def silent(db: Database, quiet_seconds: float = 0.0) -> list[SilentStudy]:
    """The silent studies of the sender."""
    return silent_studies(db, {"PANO1": quiet_seconds})


def told(db: Database, expected: int, results_at: tuple[str, ...] = (), quiet_seconds: float = 0.0) -> bool:
    """The sender says how many images of the only silent study it has."""
    (study,) = silent(db)
    return settle(db, study, expected, quiet_seconds=quiet_seconds, longest_seconds=3600.0, results_at=results_at)


def study_of(db: Database) -> Study:
    """The first study."""
    with db.session() as session:
        return session.scalars(select(Study).order_by(Study.id).limit(1)).one()


def test_a_study_waits_for_what_its_sender_has(db: Database) -> None:
    """Open, with the words that say why, until as many are here; then one revision of all, and the words are gone."""
    record_instances(db, [IMAGE, SECOND])
    assert not told(db, 3, quiet_seconds=5.0)
    study = study_of(db)
    assert study.open
    assert study.opened_at is not None
    until = f"{study.opened_at + timedelta(hours=1):%H:%M:%S} UTC"
    words = f"2 of 3 images that PANO1 has are here; asked again every 5 s until {until}"
    assert study.waits == words
    assert job_lines(db, "1.2.3") == [f"1.2.3  receiving although it is silent: {words}"]
    record_instances(db, [THIRD])
    assert "until PANO1 is silent" in job_lines(db, "1.2.3")[0]
    assert told(db, 3)
    study = study_of(db)
    assert (study.open, study.revision, study.asked_at, study.waits) == (False, 1, None, None)
    with db.session() as session:
        assert session.scalars(select(Instance.revision)).all() == [1, 1, 1]


def test_a_study_that_came_to_life_while_its_sender_was_asked_stays_open(db: Database) -> None:
    """The answer is older than what arrived meanwhile; the images to come belong to the same revision."""
    record_instances(db, [IMAGE, SECOND])
    with db.begin() as session:
        session.execute(update(Study).values(active_at=clock.now() - timedelta(minutes=5)))
    (study,) = silent(db, 60.0)
    record_instances(db, [THIRD])
    assert not settle(db, study, 2, quiet_seconds=60.0, longest_seconds=3600.0)
    assert study_of(db).open
    with db.begin() as session:
        session.execute(update(Study).values(active_at=clock.now() - timedelta(minutes=5)))
    assert settle(db, study, 3, quiet_seconds=60.0, longest_seconds=3600.0)


def test_a_sender_that_has_fewer_keeps_nothing_open(db: Database) -> None:
    """It may have deleted what it sent."""
    record_instances(db, [IMAGE, SECOND])
    assert told(db, 0)


def test_two_versions_of_an_image_count_once(db: Database) -> None:
    """The same SOP Instance UID with other bytes is no second image."""
    record_instances(db, [IMAGE, replace(IMAGE, sha256="e" * 64)])
    assert not told(db, 2)
    record_instances(db, [SECOND])
    assert told(db, 2)


def test_our_results_at_the_sender_count(db: Database) -> None:
    """A PACS that both sends and gets results counts them, too; not those that it refused, or that are elsewhere."""
    record_instances(db, [IMAGE])
    assert told(db, 1)
    with db.begin() as session:
        job_id = session.scalars(select(Job.id)).one()
        for number, (place, stored) in enumerate((("pacs", True), ("pacs", False), ("other", True))):
            row = SentObject(job_id=job_id, destination=place, stored=stored, status=0, sent_at=clock.now(), kind="sr")
            row.sop_class_uid, row.sop_instance_uid = "1.2", f"2.25.{number}"
            session.add(row)
    record_instances(db, [SECOND])
    assert not told(db, 3)
    assert not told(db, 4, ("pacs",))
    assert told(db, 3, ("pacs",))


def test_a_sender_is_asked_again_after_another_quiet_time(db: Database) -> None:
    """That it has more is a sign of life; only the record remembers it, so a new relay goes on as the old one did."""
    record_instances(db, [IMAGE])
    assert silent(db, 60.0) == []
    assert not told(db, 2)
    with db.begin() as session:
        session.execute(update(Study).values(active_at=clock.now() - timedelta(minutes=5)))
    assert silent(db, 60.0) == []
    assert not close_silent_study(db, 1, 60.0)
    with db.begin() as session:
        session.execute(update(Study).values(asked_at=clock.now() - timedelta(minutes=2)))
    assert [study.study_instance_uid for study in silent(db, 60.0)] == ["1.2.3"]
    assert close_silent_study(db, 1, 60.0)
    assert silent(db) == []


def test_only_senders_that_can_be_asked_are(db: Database) -> None:
    """Studies of others are not looked at."""
    record_instances(db, [IMAGE, replace(OTHER, calling_ae="PANO2")])
    assert [study.study_instance_uid for study in silent(db)] == ["1.2.3"]


def test_nobody_waits_for_images_for_ever(db: Database) -> None:
    """The longest wait closes a study that its sender has more of."""
    record_instances(db, [IMAGE])
    assert not told(db, 2)
    assert close_quiet_studies(db, 0.0, by_sender={"PANO1": 3600.0}, longest_seconds=3600.0) == 0
    with db.begin() as session:
        session.execute(update(Study).values(opened_at=clock.now() - timedelta(hours=2)))
    assert close_quiet_studies(db, 0.0, by_sender={"PANO1": 3600.0}, longest_seconds=3600.0) == 1


def test_an_infinite_wait_has_words(db: Database) -> None:
    """Where there is no longest wait, none is named."""
    record_instances(db, [IMAGE])
    assert not settle(db, silent(db)[0], 2, quiet_seconds=0.5, longest_seconds=math.inf)
    assert study_of(db).waits == "1 of 2 images that PANO1 has are here; asked again every 0.5 s"


def test_a_clock_that_was_set_back_does_not_stop_the_questions(db: Database) -> None:
    """A question in the future was asked now."""
    record_instances(db, [IMAGE])
    assert not told(db, 2)
    with db.begin() as session:
        session.execute(update(Study).values(asked_at=clock.now() + timedelta(hours=1)))
    assert silent(db) == []
    assert heed_clock(db, 45.0, jumped=True) == 1
    assert len(silent(db)) == 1


def test_named_studies_are_closed_at_once(db: Database) -> None:
    """Those that are open, once; others stay."""
    record_instances(db, [IMAGE, OTHER])
    assert close_studies(db, {"1.2.3", "1.2.9"}) == 1
    assert close_studies(db, {"1.2.3"}) == 0
    with db.session() as session:
        assert session.scalars(select(Study.study_instance_uid).where(Study.open)).all() == ["1.2.4"]
