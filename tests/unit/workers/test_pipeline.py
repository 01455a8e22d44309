"""The three stages on a real record, a real storage and the real model; every way to end becomes a state of the row."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydicom.uid import JPEGLosslessSV1
from sqlalchemy import select

from service.bootstrap import Services, build
from service.db import outbox
from service.db.migrate import migrate
from service.db.studies import close_quiet_studies, record_instances, touch_studies
from service.db.tables import Artifact, Job, Outbox
from service.domain.finding import Analysis
from service.listener.intake import Intake
from service.settings import Settings, load_settings
from service.storage import get
from tests.builders import as_bytes, xray
from tests.gateway import free_port
from workers.app import Context
from workers.models import MODELS, LoadedModel, Model
from workers.pipeline import run
from workers.training.phantom import panoramic_phantom

PANORAMIC = panoramic_phantom(31, rows=376, columns=720, missing=(18, 46)).pixels


@dataclass
class Bench:
    """A worker's bench: settings, services, and what a test does with them."""

    context: Context
    folder: Path

    @property
    def services(self) -> Services:
        """Database, storage, broker (which nobody serves: the relay's part is played by ``work``)."""
        return self.context.services

    def receive(self, *files: bytes) -> None:
        """Instances arrive, the study becomes quiet."""
        intake = Intake(
            self.services.storage,
            record=lambda instances: record_instances(self.services.db, instances),
            touch=lambda studies: touch_studies(self.services.db, studies),
            max_object_bytes=1 << 30,
        )
        for file in files:
            intake.accept_file(io.BytesIO(file), "TEST")
        close_quiet_studies(self.services.db, 0.0)

    def work(self) -> None:
        """Do everything that is due, as relay and workers would."""
        while rows := self.due():
            for row in rows:
                run(self.context, row.id)

    def due(self) -> list[Outbox]:
        """Rows that can be worked on now."""
        with self.services.db.session() as session:
            rows = session.scalars(
                select(Outbox).where(Outbox.finished_at.is_(None), Outbox.dead_at.is_(None), ~Outbox.held)
            ).all()
            return [row for row in rows if row.attempts == 0]

    def rows(self) -> list[Outbox]:
        """All outbox rows."""
        with self.services.db.session() as session:
            return list(session.scalars(select(Outbox).order_by(Outbox.id)))

    def job(self) -> Job:
        """The newest job."""
        with self.services.db.session() as session:
            return session.scalars(select(Job).order_by(Job.id.desc())).first() or pytest.fail("no job")

    def artifacts(self, kind: str) -> list[Artifact]:
        """Artifacts of a kind, of all jobs."""
        with self.services.db.session() as session:
            return list(session.scalars(select(Artifact).where(Artifact.kind == kind).order_by(Artifact.id)))


def settings(folder: Path, text: str) -> Settings:
    """Settings with a broker that nobody serves."""
    path = folder / "dentgate.toml"
    path.write_text(text)
    address = {"DENTGATE_BROKER__URL": f"redis://127.0.0.1:{free_port()}/0", "DENTGATE_STORAGE__RESERVE_MB": "0"}
    return load_settings(path, folder / "data", environment=address)


@pytest.fixture(scope="module")
def load() -> Callable[[Model], LoadedModel]:
    """Loads a model once for all tests here, as a worker does for all its jobs."""
    warm = {model.name: model.load("cpu") for model in MODELS}
    return lambda model: warm[model.name]


@pytest.fixture
def bench(tmp_path: Path, load: Callable[[Model], LoadedModel]) -> Iterator[Callable[[str], Bench]]:
    """Makes a bench from settings."""
    made: list[Bench] = []

    def make(text: str = "") -> Bench:
        chosen = settings(tmp_path, text or allowing(tmp_path / "out"))
        services = build(chosen)
        migrate(services.db)
        made.append(Bench(Context(services, load, outbox.holder_name()), tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.services.db.close()


def allowing(out: Path, allow: str = "true") -> str:
    """Settings with one folder as destination."""
    return f'[analysis]\nallow_research_models = {allow}\n[[destination]]\nname = "out"\nurl = "{out.as_uri()}"\n'


def test_a_panoramic_becomes_results(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """One panoramic goes the whole path; doing a finished row again changes nothing."""
    made = bench()
    made.receive(as_bytes(xray(PANORAMIC)))
    made.work()
    assert made.job().state == "delivered", [row.message for row in made.rows()]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(path.name.split("-")[0] for path in files) == ["report", "seg", "sr"]
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
    one, again, new = made.artifacts("analysis")
    assert (one.storage_key, one.name) == (again.storage_key, again.name)
    assert new.name != one.name
    kept = {(each.name, each.sha256) for each in made.artifacts("sr") if each.job_id == one.job_id}
    assert kept <= {(each.name, each.sha256) for each in made.artifacts("sr") if each.job_id == new.job_id}
    assert Analysis.from_json(get(made.services.storage, one.storage_key)).findings
