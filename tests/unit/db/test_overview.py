"""What a study's state is called, from what is durably done and what its outbox rows say."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service import clock
from service.db import overview
from service.db.overview import StudyView, Tone
from service.domain.job import Stage, State
from tests.unit.web.rows import Site, dead, done, site


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Site]:
    """An empty gateway."""
    made = site(tmp_path)
    yield made
    made.db.close()


def find(gateway: Site, uid: str = "2.25.1") -> StudyView:
    """The study as the pages see it now."""
    with gateway.db.session() as session:
        found = overview.find_study(session, uid, clock.now())
    assert found is not None
    return found


def test_receiving(gateway: Site) -> None:
    """A study without a job is receiving."""
    gateway.study(open=True)
    assert find(gateway).status == overview.Status(Tone.RECEIVING, "receiving")


def test_waiting_and_analyzing(gateway: Site) -> None:
    """A received study waits for analysis until somebody holds the row, and says so from then on."""
    job = gateway.job(gateway.study())
    gateway.step(job, Stage.ANALYZE)
    assert find(gateway).status == overview.Status(Tone.WORKING, "received, waiting for analysis")
    later = clock.now() + timedelta(seconds=60)
    other = gateway.job(gateway.study("2.25.2"))
    gateway.step(other, Stage.ANALYZE, lease="host/1/x", lease_until=later, attempts=1)
    assert find(gateway, "2.25.2").status.text == "received, analyzing"


def test_lease_that_ran_out_is_waiting_again(gateway: Site) -> None:
    """A row whose worker died does not look as if somebody worked on it."""
    job = gateway.job(gateway.study())
    past = clock.now() - timedelta(seconds=1)
    gateway.step(job, Stage.ANALYZE, lease="host/1/x", lease_until=past, attempts=1)
    assert find(gateway).status.text == "received, waiting for analysis"


def test_delivered(gateway: Site) -> None:
    """A delivered study says so, and how long each stage took."""
    job = gateway.job(gateway.study(), State.DELIVERED)
    gateway.step(job, Stage.ANALYZE, **done(2.5))
    gateway.step(job, Stage.DELIVER, "pacs", **done(0.5, "stored"))
    found = find(gateway)
    assert found.status == overview.Status(Tone.DELIVERED, "delivered")
    assert [step.seconds for step in found.jobs[0].stages] == [2.5]
    assert [(step.destination, step.message) for step in found.jobs[0].deliveries] == [("pacs", "stored")]


def test_nowhere_to_deliver(gateway: Site) -> None:
    """Without destinations nothing claims to have been delivered."""
    gateway.step(gateway.job(gateway.study(), State.DELIVERED), Stage.REPORT, **done())
    assert find(gateway).status.text == "reported, nowhere to deliver"


def test_declined(gateway: Site) -> None:
    """A declined study names the reason."""
    gateway.job(gateway.study(), State.DECLINED, reason="no pixel data")
    assert find(gateway).status == overview.Status(Tone.DECLINED, "declined: no pixel data")


@pytest.mark.parametrize("columns", [dead("association rejected"), {"held": True, "message": "association rejected"}])
def test_needs_attention(gateway: Site, columns: dict[str, Any]) -> None:
    """A dead or held delivery needs attention, in the peer's own words, and can be retried."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.DELIVER, "ehr", **done())
    gateway.step(job, Stage.DELIVER, "pacs", **columns)
    found = find(gateway)
    assert found.status == overview.Status(Tone.ATTENTION, "needs attention: pacs: association rejected")
    assert found.jobs[0].retryable


def test_trying_again(gateway: Site) -> None:
    """A delivery that failed and is tried again by itself is no call for help."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.DELIVER, "ehr", attempts=2, message="connection refused")
    found = find(gateway)
    assert found.status == overview.Status(Tone.RETRYING, "reported, trying again: ehr: connection refused")
    assert not found.jobs[0].retryable


def test_trouble_of_an_earlier_revision_stays_visible(gateway: Site) -> None:
    """A failed delivery is not hidden by a later revision that went well."""
    study = gateway.study(revision=2)
    gateway.step(gateway.job(study, State.REPORTED), Stage.DELIVER, "pacs", **dead("full"))
    gateway.step(gateway.job(study, State.DELIVERED, revision=2), Stage.DELIVER, "pacs", **done())
    found = find(gateway)
    assert found.status.text == "needs attention: pacs: full"
    assert [job.revision for job in found.jobs] == [2, 1]


def test_list_is_paged_and_newest_first(gateway: Site) -> None:
    """The list is ordered by arrival, the newest first, page by page, with the number of all studies."""
    start = clock.now()
    for number in range(5):
        gateway.study(f"2.25.{number + 1}", received_at=start + timedelta(seconds=number))
    with gateway.db.session() as session:
        studies, total = overview.list_studies(session, 2, 2, clock.now())
    assert total == 5
    assert [study.study_instance_uid for study in studies] == ["2.25.3", "2.25.2"]


def test_conflicts_are_counted_apart(gateway: Site) -> None:
    """An object that came under a taken UID counts as a conflict, not as an image."""
    gateway.study(instances=2, conflict=True)
    found = find(gateway)
    assert (found.images, found.conflicts) == (2, 1)
    with gateway.db.session() as session:
        assert [row.conflict for row in overview.list_instances(session, "2.25.1")] == [False, False, True]


def test_artifact_belongs_to_its_study(gateway: Site) -> None:
    """An artifact is found under its own study only."""
    artifact = gateway.artifact(gateway.job(gateway.study()), "sr", "2.25.9", b"sr")
    gateway.study("2.25.2")
    with gateway.db.session() as session:
        assert overview.find_artifact(session, "2.25.1", artifact) is not None
        assert overview.find_artifact(session, "2.25.2", artifact) is None


def test_counts(gateway: Site) -> None:
    """The metrics count every job and every unfinished row once."""
    study = gateway.study(open=True)
    job = gateway.job(study, State.REPORTED)
    gateway.step(job, Stage.ANALYZE, **done())
    gateway.step(job, Stage.DELIVER, "pacs", **dead("x"))
    gateway.step(job, Stage.DELIVER, "ehr", held=True)
    gateway.step(job, Stage.DELIVER, "archive")
    with gateway.db.session() as session:
        counts = overview.count_work(session)
    assert counts.jobs == {"received": 0, "analyzed": 0, "declined": 0, "reported": 1, "delivered": 0}
    assert (counts.open_studies, counts.due, counts.dead, counts.held) == (1, 1, 1, 1)
