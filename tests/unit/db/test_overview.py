"""What a study's state is called, from what is durably done and what its outbox rows say."""

from datetime import timedelta
from typing import Any

import pytest

from service import clock
from service.db import overview
from service.db.overview import StudyView
from service.db.status import Condition, Status, Tone, in_short, in_words, plain_status
from service.domain.job import Stage, State
from tests.unit.web.rows import Site, dead, done


def find(gateway: Site, uid: str = "2.25.1") -> StudyView:
    """The study as the pages see it now."""
    with gateway.db.session() as session:
        found = overview.find_study(session, uid, clock.now())
    assert found is not None
    return found


def test_receiving(gateway: Site) -> None:
    """A study without a job is receiving, and says what it waits for."""
    gateway.study(open=True)
    status = find(gateway).status
    assert (status.tone, status.short) == (Tone.RECEIVING, "receiving")
    assert status.text.startswith("receiving until PANO1 is silent")
    assert "last sign of life" in status.text


def test_what_waits_for_long_says_why(gateway: Site) -> None:
    """Without a relay nobody rings, without a worker nobody comes; a retry has its time; short waits need no words."""
    past, now = clock.now() - timedelta(minutes=5), clock.now()
    steps: dict[str, dict[str, Any]] = {
        "does `dentgate relay` run?": {"not_before": past, "rung_at": None},
        "no worker was free for 5 min": {"not_before": past, "rung_at": now},
        "not before": {"not_before": now + timedelta(minutes=5), "rung_at": None},
    }
    for number, (words, times) in enumerate(steps.items()):
        uid = f"2.25.9{number}"
        gateway.step(gateway.job(gateway.study(uid)), Stage.ANALYZE, **times)
        status = find(gateway, uid).status
        assert words in status.text, status.text
        assert status.short == "received, waiting for analysis"
        assert words in find(gateway, uid).jobs[0].stages[0].message


def test_waiting_and_analyzing(gateway: Site) -> None:
    """A received study waits for analysis until somebody holds the row, and says so from then on."""
    job = gateway.job(gateway.study())
    gateway.step(job, Stage.ANALYZE)
    assert find(gateway).status == plain_status(Tone.WORKING, "received, waiting for analysis")
    later = clock.now() + timedelta(seconds=60)
    other = gateway.job(gateway.study("2.25.2"))
    gateway.step(other, Stage.ANALYZE, lease="host/1/x", lease_until=later, attempts=1)
    assert find(gateway, "2.25.2").status.text == "received, analyzing"


def test_lease_that_ran_out_is_waiting_again(gateway: Site) -> None:
    """A row whose worker died does not look as if somebody worked on it."""
    job = gateway.job(gateway.study())
    past = clock.now() - timedelta(seconds=1)
    gateway.step(job, Stage.ANALYZE, lease="host/1/x", lease_until=past, attempts=1)
    status = find(gateway).status
    assert status.short == "received, waiting for analysis"
    assert "is gone" in status.text


def test_delivered(gateway: Site) -> None:
    """A delivered study says so, and how long each stage took."""
    job = gateway.job(gateway.study(), State.DELIVERED)
    gateway.step(job, Stage.ANALYZE, **done(2.5))
    gateway.step(job, Stage.DELIVER, "pacs", **done(0.5, "stored"))
    found = find(gateway)
    assert found.status == plain_status(Tone.DELIVERED, "delivered")
    assert [step.seconds for step in found.jobs[0].stages] == [2.5]
    assert [(step.destination, step.message) for step in found.jobs[0].deliveries] == [("pacs", "stored")]


def test_nowhere_to_deliver(gateway: Site) -> None:
    """Without destinations nothing claims to have been delivered."""
    gateway.step(gateway.job(gateway.study(), State.DELIVERED), Stage.REPORT, **done())
    assert find(gateway).status.text == "reported, nowhere to deliver"


def test_declined(gateway: Site) -> None:
    """A declined study names the reason in words; the stored reason keeps the name of the model."""
    gateway.job(gateway.study(), State.DECLINED, reason="teeth_panoramic: it is a photograph")
    found = find(gateway)
    assert found.status == plain_status(Tone.DECLINED, "not analyzed: it is a photograph")
    assert found.jobs[0].reason == "teeth_panoramic: it is a photograph"


def test_needs_attention(gateway: Site) -> None:
    """A delivery that was given up needs attention, in the peer's own words, and can be retried."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.DELIVER, "ehr", **done())
    gateway.step(job, Stage.DELIVER, "pacs", **dead("association rejected"))
    found = find(gateway)
    text = "needs attention: pacs: association rejected"
    assert found.status == Status(Tone.ATTENTION, text, "needs attention: pacs")
    assert found.jobs[0].retryable
    assert "Try again" in found.jobs[0].deliveries[1].to_do


def test_held_is_no_failure(gateway: Site) -> None:
    """A held delivery has a tone of its own, a short reason, and says what a person must do."""
    job = gateway.job(gateway.study(), State.REPORTED)
    message = "research model teeth_panoramic: set analysis.allow_research_models = true to deliver its results"
    gateway.step(job, Stage.DELIVER, "pacs", held=True, message=message)
    found = find(gateway)
    assert found.status == Status(Tone.HELD, f"held: pacs: {message}", "held: research model not allowed")
    assert found.jobs[0].retryable
    to_do = found.jobs[0].deliveries[0].to_do
    assert to_do.startswith("an administrator must set analysis.allow_research_models = true and restart Dentgate")
    assert to_do.endswith("then press Try again")


def test_given_up_comes_before_held(gateway: Site) -> None:
    """Where one delivery was given up and another is held, the study needs attention."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.DELIVER, "pacs", held=True, message="no patient matches")
    gateway.step(job, Stage.DELIVER, "ehr", **dead("full"))
    assert find(gateway).status.tone is Tone.ATTENTION


@pytest.mark.parametrize(
    ("message", "short"),
    [
        ("no patient matches the PatientID of the study; mend it", "no patient matches the PatientID of the study"),
        (
            "the patient with the PatientID of the study was born on another day than",
            "the patient's birth date differs",
        ),
        ("", "no reason was recorded"),
        ("word " * 40, " ".join(["word"] * 16) + "…"),
    ],
)
def test_in_short(message: str, short: str) -> None:
    """A list shows the first clause, or fewer words, never all of a long message."""
    assert in_short(message) == short


def test_in_words() -> None:
    """Code names of models go, what several models said stands once, and other words with a colon stay."""
    assert in_words("teeth_panoramic: it is a photograph; spine_ap: it is a photograph") == "it is a photograph"
    assert in_words("pixel data: truncated; send it again") == "pixel data: truncated; send it again"


def test_trying_again(gateway: Site) -> None:
    """A delivery that failed and is tried again by itself is no call for help."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.DELIVER, "ehr", attempts=2, message="connection refused")
    found = find(gateway)
    text = "reported, trying again: ehr: connection refused"
    assert found.status == Status(Tone.RETRYING, text, "reported, trying again: ehr")
    assert not found.jobs[0].retryable
    assert found.jobs[0].deliveries[0].to_do == ""


def test_some_destinations_have_everything(gateway: Site) -> None:
    """Where others have the results the state counts them beside the one that is tried again."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.step(job, Stage.REPORT, **done())
    for name in ("ehr", "archive"):
        gateway.step(job, Stage.DELIVER, name, **done())
    gateway.step(job, Stage.DELIVER, "deadpacs", attempts=2, message="connection refused")
    found = find(gateway).status
    assert (found.tone, found.short) == (Tone.RETRYING, "delivered to 2 of 3, trying again: deadpacs")
    assert found.text == "delivered to 2 of 3, trying again: deadpacs: connection refused"


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
    gateway.step(job, Stage.DELIVER, "slow", attempts=3, message="timed out")
    later = clock.now() + timedelta(seconds=60)
    gateway.step(job, Stage.DELIVER, "busy", lease="host/1/x", lease_until=later, attempts=2, message="timed out")
    with gateway.db.session() as session:
        counts = overview.count_work(session, clock.now())
    assert counts.jobs == {"received": 0, "analyzed": 0, "declined": 0, "reported": 1, "delivered": 0}
    assert (counts.open_studies, counts.due, counts.dead, counts.held) == (1, 3, 1, 1)
    assert counts.retrying == 1
    assert counts.deliveries == {
        ("pacs", Condition.DEAD): 1,
        ("ehr", Condition.HELD): 1,
        ("archive", Condition.WAITING): 1,
        ("slow", Condition.RETRYING): 1,
        ("busy", Condition.RUNNING): 1,
    }
