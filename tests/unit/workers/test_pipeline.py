"""The three stages on a real record, a real storage and the real model; every way to end becomes a state of the row."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import JPEGLosslessSV1

from service.bootstrap import build
from service.db.tables import Outbox
from service.domain.finding import Analysis
from service.storage import get
from tests.bench import PANORAMIC, Bench, allowing, settings
from tests.builders import as_bytes, xray
from workers.pipeline import run


def test_a_panoramic_becomes_results(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """One panoramic goes the whole path; doing a finished row again changes nothing."""
    made = bench()
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    assert made.job().state == "delivered", [row.message for row in made.rows()]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    kinds = Counter(path.name.split("-")[0] for path in files)
    assert set(kinds) == {"report", "seg", "sr"}
    assert kinds["report"] == 1
    assert kinds["sr"] == len(made.artifacts("analysis"))  # each model speaks for itself
    before = made.rows()
    for row in before:
        run(made.context, row.id)
    assert [row.attempts for row in made.rows()] == [row.attempts for row in before]


def test_research_results_wait_for_permission(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Without allow_research_models nothing leaves; the row is held and says which setting to change."""
    made = bench(allowing(tmp_path / "out", allow="false"))
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    held = made.rows()[-1]
    assert held.held
    assert "allow_research_models" in held.message
    assert not (tmp_path / "out").exists()
    assert made.job().state == "reported"


def test_a_dead_destination_is_tried_again(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """A destination that cannot be reached is postponed with the reason, and works after it came back."""
    blocked = tmp_path / "out"
    blocked.write_text("a file where the folder should be")
    made = bench()
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    row = made.rows()[-1]
    assert row.attempts == 1
    assert row.message
    assert row.not_before > row.started_at  # type: ignore[operator]  # it was started
    blocked.unlink()
    with made.services.db.begin() as session:
        session.get_one(Outbox, row.id).not_before = row.started_at  # type: ignore[assignment]
    run(made.context, row.id)
    assert made.job().state == "delivered"


def test_a_destination_that_left_the_settings_is_a_dead_letter(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """A row for a destination nobody knows any more is buried with a line that says so."""
    made = bench()
    made.receive(as_bytes(xray(PANORAMIC)))
    for _ in range(2):
        run(made.context, made.due()[0].id)
    fewer = build(settings(tmp_path, "[analysis]\nallow_research_models = true\n"))
    run(replace(made.context, services=fewer), made.due()[0].id)
    fewer.db.close()
    assert "not in the settings" in made.rows()[-1].message
    assert made.rows()[-1].dead_at is not None


def test_an_altered_artifact_is_never_delivered(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """A result whose bytes changed in storage is a dead letter, not a delivery."""
    made = bench()
    made.receive(as_bytes(xray(PANORAMIC)))
    for _ in range(2):
        run(made.context, made.due()[0].id)
    target = tmp_path / "data" / made.artifacts("sr")[0].storage_key
    target.chmod(0o600)
    target.write_bytes(target.read_bytes().replace(b"UNVERIFIED", b"VERIFIED  "))
    made.work()
    assert "altered" in made.rows()[-1].message
    assert not (tmp_path / "out").exists()


def test_a_study_no_model_accepts_is_declined(bench: Callable[..., Bench]) -> None:
    """A chest-like CR is kept and declined; the reason names the model and what it wants."""
    made = bench()
    chest = xray(PANORAMIC[:, :400], modality="CR", BodyPartExamined="CHEST", AnatomicRegionSequence=None)
    chest.StudyDescription = "Chest"
    made.receive(as_bytes(chest))
    made.work()
    assert made.job().state == "declined"
    assert "teeth_panoramic" in made.job().reason
    assert made.artifacts("preview")


def test_a_corrupt_pixel_stream_is_declined(bench: Callable[..., Bench]) -> None:
    """Compressed pixels that cannot be decoded decline the study with a reason; the worker lives on."""
    made = bench()
    broken = bytearray(as_bytes(xray(PANORAMIC), JPEGLosslessSV1))
    start = broken.index(b"\xff\xd8\xff") + 2  # the JPEG's own header, after its start mark
    broken[start : start + 200] = bytes(200)
    made.receive(bytes(broken))
    made.work()
    assert made.job().state == "declined"
    assert made.job().reason
    assert not made.artifacts("analysis")
    made.receive(as_bytes(xray(PANORAMIC, seed="next")))
    made.work()
    assert made.job().state == "delivered"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom says so at every touch
def test_leading_zeros_in_uids_do_not_stop_the_results(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """A UID that the listener lets through is good enough for every result and for the folder."""
    made = bench()
    study, image = "1.2.03.4", "1.2.03.4.1.007"
    made.receive(as_bytes(xray(PANORAMIC, StudyInstanceUID=study, SOPInstanceUID=image)))
    made.work()
    assert made.job().state == "delivered", [row.message for row in made.rows()]
    assert {path.name.split("-")[0] for path in (tmp_path / "out" / "1.2.03.4").rglob("*.*")} == {"report", "seg", "sr"}


def test_a_late_image_keeps_what_was_found_before(bench: Callable[..., Bench]) -> None:
    """Revision 2 analyzes only the new image; results of the first one keep identity and bytes."""
    made = bench()
    first = xray(PANORAMIC, seed="a")
    made.receive(as_bytes(first))
    made.work()
    made.receive(as_bytes(xray(PANORAMIC, seed="b", StudyInstanceUID=first.StudyInstanceUID)))
    made.work()
    assert made.job().revision == 2
    assert made.job().state == "delivered"
    analyses = made.artifacts("analysis")
    of_first, of_second = (
        {(each.name, each.storage_key) for each in analyses if each.job_id == job}
        for job in sorted({each.job_id for each in analyses})
    )
    assert of_first < of_second
    assert len(of_second) == 2 * len(of_first)
    results = made.artifacts("sr")
    one, two = (
        {(each.name, each.sha256) for each in results if each.job_id == job}
        for job in sorted({each.job_id for each in results})
    )
    assert one < two
    assert Analysis.from_json(get(made.services.storage, analyses[0].storage_key)).findings
