"""A signature on its way through the stages: real record and storage, a folder each as archive and as record."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pydicom

from service.db import jobs, outbox, reviews
from service.db.jobs import StageEnd, StoredArtifact, StoredInstance
from service.db.retention import expire
from service.db.reviews import Request, record_request
from service.db.tables import Outbox
from service.domain.finding import Analysis
from service.domain.job import Stage
from service.domain.review import Action, Conclusion, Deed, Reviewer, judge
from service.storage import get, put
from tests.bench import PANORAMIC, Bench, OneTooth, allowing
from tests.builders import analysis_of, as_bytes, uid_of, xray
from tests.unit.web.rows import encoded
from workers.pipeline import run

STUDY = uid_of("seen", "study")
PNG = encoded((PANORAMIC >> 4).astype("uint8"))
ANNA = Reviewer("Muster^Anna", "L-7", "Praxis am Tor")


def settings(folder: Path, allow: str = "true") -> str:
    """An archive, and a record: two folders, because each gets a row of its own."""
    return allowing(folder / "archive", allow).replace(
        'name = "out"', 'name = "archive"\nresults = ["sr", "seg"]'
    ) + '[[destination]]\nname = "record"\nurl = "{}"\nresults = ["report", "oru"]\n'.format(
        (folder / "record").as_uri()
    )


def seen(made: Bench) -> tuple[reviews.Seen, tuple[str, ...], list[str]]:
    """What stands, the names of the analyses, and tracking UIDs of the findings."""
    with made.services.db.session() as session:
        found = reviews.find_seen(session, STUDY)
    assert found is not None
    stored = [each for each in made.artifacts("analysis") if each.job_id == found.job_id]
    analyses = [Analysis.from_json(get(made.services.storage, each.storage_key)) for each in stored]
    ids = [each.tracking_uid for each in judge(STUDY, analyses, found.entries)]
    return found, tuple(each.name for each in stored), ids


def sign(made: Bench, key: str, *actions: Action, **more: object) -> None:
    """Anna signs what she sees."""
    found, names, _ = seen(made)
    given = {"conclusion": Conclusion.SIGN, "actions": actions, "analyses": names, **more}
    assert record_request(made.services.db, STUDY, Request(key, key, found.version, ANNA, **given))  # type: ignore[arg-type]  # as the test says


def arrived(made: Bench, seed: str = "seen") -> None:
    """A panoramic of the study arrives; three teeth are found in every image, as a model would."""
    made.receive(as_bytes(xray(PANORAMIC, seed=seed, StudyInstanceUID=STUDY)))
    (row,) = (row for row in made.due() if row.stage == Stage.ANALYZE)
    taken = outbox.claim(made.services.db, row.id, 30.0)
    assert taken is not None
    work = jobs.load_work(made.services.db, taken.job_id)
    end = StageEnd(artifacts=[each for image in work.instances for each in _found(made, image)])
    jobs.complete(made.services.db, taken, end, made.services.destination_names())


def _found(made: Bench, image: StoredInstance) -> Iterator[StoredArtifact]:
    uid = image.sop_instance_uid
    analysis = analysis_of(xray(PANORAMIC, SOPInstanceUID=uid), (36, 37, 46))
    for kind, name, content in (("preview", uid, PNG), ("analysis", f"{uid}/teeth", analysis.to_json())):
        digest = hashlib.sha256(content).hexdigest()
        stored = put(made.services.storage, f"results/{digest[:2]}/{digest}", content)
        yield StoredArtifact(kind, name, "application/octet-stream", stored.key, digest)


def received(made: Bench, seed: str = "seen") -> None:
    """The same, and its results are delivered."""
    arrived(made, seed)
    made.work()


def delivered(folder: Path) -> dict[str, bytes]:
    """What lies there, by name."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def status_in(folder: Path) -> str:
    """Status of the FHIR report of the newest revision in the record."""
    newest = max(folder.rglob("report*.json"), key=lambda path: path.parent.name)
    resources = [entry["resource"] for entry in json.loads(newest.read_bytes())["entry"]]
    return next(str(each["status"]) for each in resources if each["resourceType"] == "DiagnosticReport")


def test_a_signature_sends_a_verified_report_beside_the_first(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Nothing is analyzed again; the archive has both generations, the record the final one; rows done stay done."""
    made = bench(settings(tmp_path))
    received(made)
    before = delivered(tmp_path / "archive")
    assert status_in(tmp_path / "record") == "preliminary"
    sign(made, "one", Action(Deed.REJECT, seen(made)[2][0]))
    made.work()
    assert made.job().state == "delivered", [row.message for row in made.rows()]
    after = delivered(tmp_path / "archive")
    assert {name: after[name] for name in before} == before
    assert len(after) == 2 * len(before)
    new = [pydicom.dcmread(io.BytesIO(after[name])) for name in after if name not in before and name.startswith("sr")]
    assert {ds.VerificationFlag for ds in new} == {"VERIFIED"}
    assert all("PredecessorDocumentsSequence" in ds for ds in new)
    assert status_in(tmp_path / "record") == "final"
    assert len({each.storage_key for each in made.artifacts("analysis")}) == len(made.artifacts("analysis")) // 2
    for row in made.rows():
        run(made.context, row.id)
    assert delivered(tmp_path / "archive") == after


def test_a_worker_that_dies_in_the_middle_changes_nothing(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Killed between the signature and the delivery: the next one makes the same objects, byte for byte."""
    made = bench(settings(tmp_path))
    received(made)
    sign(made, "one")
    (report,) = made.due()
    assert outbox.claim(made.services.db, report.id, 30.0, holder=outbox.holder_name(2**22 + 1)) is not None
    assert outbox.release_orphans(made.services.db) == 1
    run(made.context, report.id)
    made_first = {each.name: each.sha256 for each in made.artifacts("sr") if each.job_id == report.job_id}
    again = made.due()[0]
    assert outbox.claim(made.services.db, again.id, 30.0, holder=outbox.holder_name(2**22 + 1)) is not None
    assert outbox.release_orphans(made.services.db) == 1
    for row in made.rows():
        run(made.context, row.id)
    assert made.job().state == "delivered"
    digests = {hashlib.sha256(content).hexdigest() for content in delivered(tmp_path / "archive").values()}
    assert set(made_first.values()) <= digests


def test_a_late_image_never_replaces_what_was_signed(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Its images go to the archive, its report is held until somebody reviews; the signature then covers all."""
    made = bench(settings(tmp_path))
    received(made)
    sign(made, "one")
    made.work()
    received(made, "late")
    held = made.rows()[-1]
    assert (held.destination, held.held) == ("record", True)
    assert "newer AI findings wait for review" in held.message
    assert status_in(tmp_path / "record") == "final"
    late = uid_of("late", "instance")
    assert any(late.encode() in content for content in delivered(tmp_path / "archive").values())
    sign(made, "two")
    made.work()
    assert status_in(tmp_path / "record") == "amended"
    run(made.context, held.id)
    done = next(row for row in made.rows() if row.id == held.id)
    assert (done.held, done.finished_at is not None) == (False, True)
    assert "takes its place" in done.message
    assert status_in(tmp_path / "record") == "amended"
    assert {each.state for each in made.jobs()} == {"delivered"}


def test_a_late_report_of_the_ai_finds_the_signature(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Signed while the AI's own delivery was still waiting: the record gets the signed report only."""
    made = bench(settings(tmp_path))
    arrived(made)
    run(made.context, made.due()[0].id)
    waiting = made.due()
    sign(made, "one")
    (report,) = (row for row in made.due() if row.id not in {each.id for each in waiting})
    run(made.context, report.id)
    taken = outbox.claim(made.services.db, waiting[1].id, 30.0)  # somebody is delivering the first report
    assert taken is not None
    signed = [row for row in made.due() if row.job_id == report.job_id and row.destination == "record"]
    run(made.context, signed[0].id)
    row = next(row for row in made.rows() if row.id == signed[0].id)
    assert row.message.startswith("waits for an earlier report")
    assert not (tmp_path / "record").exists()
    outbox.postpone(made.services.db, taken, "gave up", 0.0)
    run(made.context, waiting[1].id)
    assert not (tmp_path / "record").exists()
    with made.services.db.begin() as session:
        session.get_one(Outbox, row.id).not_before = row.started_at  # type: ignore[assignment]  # it was started
    run(made.context, row.id)
    assert status_in(tmp_path / "record") == "final"
    made.work()
    assert {each.state for each in made.jobs()} == {"delivered"}


def test_a_withdrawal_takes_everything_back(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """The record is told entered-in-error, the archive gets a rejection note; nothing follows any more."""
    made = bench(settings(tmp_path))
    received(made)
    sign(made, "one", conclusion=Conclusion.WITHDRAW, reason="wrong patient")
    made.work()
    assert status_in(tmp_path / "record") == "entered-in-error"
    files = delivered(tmp_path / "archive")
    (note,) = (pydicom.dcmread(io.BytesIO(files[name])) for name in files if name.startswith("rejection"))
    assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
    received(made, "late")
    assert delivered(tmp_path / "archive") == files
    assert status_in(tmp_path / "record") == "entered-in-error"
    assert made.job().state == "delivered"
    assert "a person withdrew" in made.rows()[-1].message


def _expired(made: Bench, folder: Path) -> None:
    """Everything was delivered, and the images are gone after their time."""
    assert expire(made.services.db, made.services.storage, timedelta(hours=-1)) == 1
    assert not [path for path in (folder / "data" / "instances").rglob("*") if path.is_file()]


def test_a_signature_after_the_images_are_gone(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Retention took the pixels; a change, a new region and a signature still make every object, with its patient."""
    made = bench(settings(tmp_path))
    received(made)
    before = delivered(tmp_path / "archive")
    _expired(made, tmp_path)
    image = uid_of("seen", "instance")
    added = Action(Deed.ADD, kind="caries", tooth=46, image=image, box=(10, 20, 60, 90))
    sign(made, "one", Action(Deed.REJECT, seen(made)[2][0]), added)
    made.work()
    assert made.job().state == "delivered", [row.message for row in made.rows()]
    assert status_in(tmp_path / "record") == "final"
    after = delivered(tmp_path / "archive")
    new = [pydicom.dcmread(io.BytesIO(after[name])) for name in after if name not in before]
    first = pydicom.dcmread(io.BytesIO(next(iter(before.values()))))
    assert sorted(ds.Modality for ds in new) == ["SEG", "SR"]
    assert {(ds.PatientID, ds.PatientName, ds.AccessionNumber, ds.StudyInstanceUID) for ds in new} == {
        (first.PatientID, first.PatientName, first.AccessionNumber, STUDY)
    }
    assert all(image.encode() in after[name] for name in after)
    (header,) = (path for path in (tmp_path / "data" / "headers").rglob("*") if path.is_file())
    assert "PixelData" not in pydicom.dcmread(header)


def test_a_withdrawal_after_the_images_are_gone(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """A report of the wrong patient can be taken back however long ago it was: record and archive are told."""
    made = bench(settings(tmp_path))
    made.context = replace(made.context, models=lambda: (OneTooth(),), load=lambda model: model.load("cpu"))
    made.receive(as_bytes(xray(PANORAMIC, seed="seen", StudyInstanceUID=STUDY)))
    made.work()
    assert status_in(tmp_path / "record") == "preliminary"
    _expired(made, tmp_path)
    sign(made, "one", conclusion=Conclusion.WITHDRAW, reason="wrong patient")
    made.work()
    assert made.job().state == "delivered", [row.message for row in made.rows()]
    assert status_in(tmp_path / "record") == "entered-in-error"
    assert any(name.startswith("rejection") for name in delivered(tmp_path / "archive"))
