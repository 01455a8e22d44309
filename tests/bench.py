"""A worker's bench: the stages on a real record and a real storage, without a broker that anybody serves."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select

from service.bootstrap import Services
from service.broker import Broker
from service.db.studies import close_quiet_studies, record_instances, touch_studies
from service.db.tables import Artifact, Job, Outbox
from service.domain.errors import Transient
from service.domain.finding import Algorithm
from service.domain.job import Stage
from service.listener.intake import Intake
from service.settings import Settings, load_settings
from tests.builders import ellipse
from tests.gateway import free_port
from workers.app import Context
from workers.models import Verdict
from workers.pipeline import run
from workers.pixels import Image
from workers.regions import Detection
from workers.training.phantom import panoramic_phantom

PANORAMIC = panoramic_phantom(31, rows=376, columns=720, missing=(18, 46)).pixels


class Unserved(Broker):
    """A broker that nobody serves, and that says so at once: Celery would try for two seconds at every bell."""

    def ring(self, stage: Stage, outbox_id: int) -> None:
        """No."""
        message = f"nobody rings for {stage} {outbox_id}"
        raise Transient(message)


class OneTooth:
    """A model that sees the same tooth, with a mask, in every image of its size; it needs no weights."""

    name, looks_for = "one_tooth", ("tooth",)
    algorithm = Algorithm("one_tooth", "1", "cd" * 32, "Test", research=False)

    def judge(self, _header: Dataset) -> Verdict:
        """Everything."""
        return Verdict(accepted=True, reason="a test")

    def load(self, _device: str) -> "OneTooth":
        """Itself."""
        return self

    def analyze(self, _image: Image, _before: object = ()) -> tuple[Detection, ...]:
        """An ellipse."""
        return (Detection("tooth", 36, 0.9, (10, 10, 60, 80), ellipse((10, 10, 60, 80))),)


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

    def jobs(self) -> list[Job]:
        """All jobs."""
        with self.services.db.session() as session:
            return list(session.scalars(select(Job).order_by(Job.id)))

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


def allowing(out: Path, allow: str = "true") -> str:
    """Settings with one folder as destination."""
    return f'[analysis]\nallow_research_models = {allow}\n[[destination]]\nname = "out"\nurl = "{out.as_uri()}"\n'
