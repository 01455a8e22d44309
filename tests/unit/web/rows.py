"""Builders of what the pages show: studies, jobs and outbox rows in a real database, artifacts in a real folder."""

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image

from service import clock
from service.db import outbox, studies
from service.db.backlog import Backlog
from service.db.engine import Database
from service.db.reviews import record_request
from service.db.tables import Artifact, Base, Instance, Job, Outbox, Study
from service.domain.finding import Analysis
from service.domain.job import Stage, State
from service.listener.intake import Intake
from service.settings import Settings
from service.storage import put
from service.storage.folder import FolderStorage
from service.web.app import ReadinessItem, WebServices, create_app


@dataclass
class Site:
    """A gateway's record and storage, and the web application on top of them."""

    db: Database
    storage: FolderStorage
    settings: Settings
    checks: list[ReadinessItem] = field(default_factory=lambda: [ReadinessItem("database", ok=True)])

    def app(self) -> FastAPI:
        """The application, wired as the real one: the same intake, the same retry."""
        services = WebServices(
            db=self.db,
            storage=self.storage,
            settings=self.settings,
            retry=lambda job_id: outbox.retry(self.db, job_id),
            review=lambda study_uid, request: record_request(self.db, study_uid, request),
            ready=lambda: self.checks,
        )
        intake = Intake(
            self.storage,
            lambda instances: studies.record_instances(self.db, instances),
            lambda uids: studies.touch_studies(self.db, uids),
            self.settings.listener.max_object_mb << 20,
            Backlog(self.db, self.settings.listener.max_waiting_studies),
        )
        return create_app(services, intake)

    def study(
        self,
        uid: str = "2.25.1",
        *,
        instances: int = 1,
        conflict: bool = False,
        modality: str = "PX",
        **columns: object,
    ) -> int:
        """A study with instances; the row's id."""
        now = clock.now()
        values: dict[str, Any] = {
            "patient_id": "P1",
            "patient_name": "Probe^Dental",
            "calling_ae": "PANO1",
            "study_date": "20250115",
        }
        values |= {"patient_birth_date": "19800101", "description": "Panoramic", "received_at": now, "active_at": now}
        row = Study(**({"study_instance_uid": uid, "open": False, "revision": 1} | values | columns))
        for number in range(instances + conflict):
            row.instances.append(_instance(f"{uid}.{number}", modality, conflict=number >= instances))
        with self.db.begin() as session:
            session.add(row)
            session.flush()
            return row.id

    def job(self, study_id: int, state: State = State.RECEIVED, *, revision: int = 1, reason: str = "") -> int:
        """A job; the row's id."""
        now = clock.now()
        with self.db.begin() as session:
            row = Job(study_id=study_id, revision=revision, state=state, reason=reason, created_at=now, updated_at=now)
            session.add(row)
            session.flush()
            return row.id

    def step(self, job_id: int, stage: Stage, destination: str = "", **columns: object) -> None:
        """An outbox row."""
        values = {"not_before": clock.now(), "lease": ""} | columns
        with self.db.begin() as session:
            session.add(Outbox(job_id=job_id, stage=stage, destination=destination, **values))

    def artifact(self, job_id: int, kind: str, name: str, content: bytes, media_type: str = "application/dicom") -> int:
        """An artifact with its file; the row's id."""
        digest = hashlib.sha256(content).hexdigest()
        stored = put(self.storage, f"results/{digest[:2]}/{digest}", content)
        with self.db.begin() as session:
            row = Artifact(
                job_id=job_id,
                kind=kind,
                name=name,
                media_type=media_type,
                storage_key=stored.key,
                sha256=digest,
                created_at=clock.now(),
            )
            session.add(row)
            session.flush()
            return row.id

    def analysis(self, job_id: int, analysis: Analysis, pixels: NDArray[np.uint8] | None = None) -> None:
        """An analysis and the preview of its image."""
        uid = analysis.sop_instance_uid
        image = np.zeros((analysis.rows, analysis.columns), np.uint8) if pixels is None else pixels
        self.artifact(job_id, "preview", uid, encoded(image), "image/png")
        self.artifact(job_id, "analysis", uid, analysis.to_json(), "application/json")


def _instance(uid: str, modality: str, *, conflict: bool) -> Instance:
    return Instance(
        series_instance_uid="2.25.7",
        sop_instance_uid=uid.rsplit(".", 1)[0] + ".0" if conflict else uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality=modality,
        storage_key=f"instances/{uid}",
        sha256=hashlib.sha256(uid.encode()).hexdigest(),
        size=8_661_234,
        calling_ae="PANO1",
        received_at=clock.now(),
        revision=None if conflict else 1,
        conflict=conflict,
    )


def site(folder: Path, **sections: object) -> Site:
    """An empty gateway in a folder; ``sections`` are sections of its settings."""
    db = Database(f"sqlite:///{folder / 'dentgate.db'}")
    Base.metadata.create_all(db.engine)
    storage = FolderStorage(folder / "storage", 0)
    return Site(db, storage, Settings.model_validate(sections))


def done(seconds: float = 1.0, message: str = "") -> dict[str, Any]:
    """Columns of an outbox row that is done."""
    now = clock.now()
    started = now - timedelta(seconds=seconds)
    return {"attempts": 1, "started_at": started, "finished_at": now, "seconds": seconds, "message": message}


def dead(message: str) -> dict[str, Any]:
    """Columns of an outbox row that was given up."""
    return {"attempts": 12, "started_at": clock.now(), "dead_at": clock.now(), "message": message}


def encoded(pixels: NDArray[np.uint8] | NDArray[np.uint16], form: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - what the writer of that format takes
    """A picture file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """A real server on a free loopback port; its base URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
        assert thread.is_alive(), "the server ended at its start"
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
