"""The read side: studies, jobs and deliveries as the pages and the API show them. Nothing here writes.

What a study's state is called in words is decided in ``status``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, case, func, select
from sqlalchemy.orm import Session, selectinload

from service.db.reviews import ReviewLine, review_lines
from service.db.status import Condition, Status, StepView, Tone, job_status
from service.db.tables import Artifact, Instance, Job, Outbox, SentObject, Study
from service.db.waiting import why_open, why_row
from service.domain.job import BY_DESTINATION, WAITS, Stage, State


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """Something made from a job: analysis, preview, sr, seg or report."""

    id: int
    kind: str
    name: str
    media_type: str
    storage_key: str
    sha256: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ObjectView:
    """What a destination said to one object.

    Attributes:
        status: of the C-STORE (or the reason of STOW-RS), four hexadecimal digits.
        stored: it has the object, perhaps with a warning.
        commitment: of its storage: asked, committed or failed; empty = not asked.
        reason: of a commitment that failed, four hexadecimal digits; else empty.
    """

    destination: str
    kind: str
    sop_instance_uid: str
    status: str
    stored: bool
    comment: str
    times_sent: int
    sent_at: datetime
    commitment: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobView:
    """One revision of a study on its way."""

    id: int
    revision: int
    state: str
    reason: str
    created_at: datetime
    updated_at: datetime
    stages: tuple[StepView, ...]
    deliveries: tuple[StepView, ...]
    commitments: tuple[StepView, ...]
    artifacts: tuple[ArtifactView, ...]
    objects: tuple[ObjectView, ...]
    status: Status

    def of_kind(self, kind: str) -> tuple[ArtifactView, ...]:
        """The artifacts of one kind, in the order in which they were made."""
        return tuple(artifact for artifact in self.artifacts if artifact.kind == kind)

    @property
    def retryable(self) -> bool:
        """True when a person can have something done again."""
        steps = (*self.stages, *self.deliveries, *self.commitments)
        return any(step.condition in {Condition.DEAD, Condition.HELD} for step in steps)


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One received instance; ``conflict`` marks a second object under a UID that was taken."""

    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    size: int
    calling_ae: str
    received_at: datetime
    revision: int | None
    conflict: bool


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study with all its jobs, the newest revision first. Patient values are as DICOM writes them."""

    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    accession_number: str
    study_date: str
    description: str
    calling_ae: str
    received_at: datetime
    open: bool
    images: int
    conflicts: int
    status: Status
    review: ReviewLine
    jobs: tuple[JobView, ...]

    @property
    def analyzed_job(self) -> JobView | None:
        """The newest job that has something to show; an older one while a late image is being analyzed."""
        return next((job for job in self.jobs if job.artifacts), None)


@dataclass(frozen=True, slots=True)
class Counts:
    """Figures for the metrics: jobs by state, open studies, and outbox rows by condition.

    Attributes:
        due: unfinished rows that need no person, those of ``retrying`` among them.
        deliveries: number of undelivered rows by destination and condition.
    """

    jobs: dict[str, int]
    open_studies: int
    due: int
    retrying: int
    dead: int
    held: int
    deliveries: dict[tuple[str, Condition], int]


def list_studies(session: Session, limit: int, offset: int, now: datetime) -> tuple[tuple[StudyView, ...], int]:
    """A page of studies, the newest first, and the number of all studies."""
    rows = session.scalars(_with_jobs().order_by(Study.received_at.desc(), Study.id.desc()).limit(limit).offset(offset))
    studies = rows.unique().all()
    counts = _instance_counts(session, [study.id for study in studies])
    reviews = review_lines(session, [study.id for study in studies])
    total = session.scalars(select(func.count(Study.id))).one()
    return tuple(_study_view(study, *counts.get(study.id, (0, 0)), reviews, now) for study in studies), total


def find_study(session: Session, study_instance_uid: str, now: datetime) -> StudyView | None:
    """One study, None if there is none of that UID."""
    study = session.scalars(_with_jobs().where(Study.study_instance_uid == study_instance_uid)).unique().one_or_none()
    if study is None:
        return None
    counts = _instance_counts(session, [study.id])
    return _study_view(study, *counts.get(study.id, (0, 0)), review_lines(session, [study.id]), now)


def list_instances(session: Session, study_instance_uid: str) -> tuple[InstanceView, ...]:
    """The received instances of a study, in the order in which they came."""
    statement = (
        select(Instance)
        .join(Study, Study.id == Instance.study_id)
        .where(Study.study_instance_uid == study_instance_uid)
        .order_by(Instance.id)
    )
    return tuple(_instance_view(row) for row in session.scalars(statement))


def find_artifact(session: Session, study_instance_uid: str, artifact_id: int) -> ArtifactView | None:
    """An artifact, but only if it belongs to that study."""
    statement = (
        select(Artifact)
        .join(Job, Job.id == Artifact.job_id)
        .join(Study, Study.id == Job.study_id)
        .where(Study.study_instance_uid == study_instance_uid, Artifact.id == artifact_id)
    )
    row = session.scalars(statement).one_or_none()
    return None if row is None else _artifact_view(row)


def find_job(session: Session, job_id: int) -> str | None:
    """The Study Instance UID of a job, None if there is no such job."""
    statement = select(Study.study_instance_uid).join(Job, Job.study_id == Study.id).where(Job.id == job_id)
    return session.scalars(statement).one_or_none()


def count_work(session: Session, now: datetime) -> Counts:
    """Figures for the metrics."""
    by_state = dict.fromkeys((state.value for state in State), 0)
    by_state |= {row[0]: row[1] for row in session.execute(select(Job.state, func.count()).group_by(Job.state))}
    rows = _count_rows(session, now)
    by_condition = dict.fromkeys(Condition, 0)
    for (_, condition), number in rows.items():
        by_condition[condition] += number
    dead, held = by_condition[Condition.DEAD], by_condition[Condition.HELD]
    return Counts(
        jobs=by_state,
        open_studies=session.scalars(select(func.count()).where(Study.open)).one(),
        due=sum(by_condition.values()) - dead - held,
        retrying=by_condition[Condition.RETRYING],
        dead=dead,
        held=held,
        deliveries={key: number for key, number in rows.items() if key[0]},
    )


def _count_rows(session: Session, now: datetime) -> dict[tuple[str, Condition], int]:
    """Unfinished rows by destination (empty: a stage) and condition; the same rules as in ``_condition``."""
    condition = case(
        (Outbox.dead_at.is_not(None), Condition.DEAD.value),
        (Outbox.held, Condition.HELD.value),
        (and_(Outbox.lease != "", Outbox.lease_until > now), Condition.RUNNING.value),
        (and_(Outbox.attempts > 0, Outbox.message != "", ~Outbox.message.startswith(WAITS)), Condition.RETRYING.value),
        else_=Condition.WAITING.value,
    )
    live = select(Outbox.destination, condition.label("condition")).where(Outbox.finished_at.is_(None)).subquery()
    columns = (live.c.destination, live.c.condition)
    statement = select(*columns, func.count()).group_by(*columns)
    return {(row[0], Condition(row[1])): row[2] for row in session.execute(statement)}


def _with_jobs() -> Select[Study]:
    jobs = selectinload(Study.jobs)
    parts = (Job.outbox, Job.artifacts, Job.sent_objects)
    return select(Study).options(*(jobs.selectinload(part) for part in parts))


def _instance_counts(session: Session, study_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Study row id -> (instances without the conflicting ones, conflicting instances)."""
    statement = (
        select(Instance.study_id, Instance.conflict, func.count())
        .where(Instance.study_id.in_(study_ids))
        .group_by(Instance.study_id, Instance.conflict)
    )
    counts: dict[int, tuple[int, int]] = {}
    for study_id, conflict, number in session.execute(statement):
        images, conflicts = counts.get(study_id, (0, 0))
        counts[study_id] = (images, number) if conflict else (number, conflicts)
    return counts


def _study_view(
    study: Study, images: int, conflicts: int, reviews: Mapping[int, ReviewLine], now: datetime
) -> StudyView:
    jobs = tuple(_job_view(job, now) for job in reversed(study.jobs))
    return StudyView(
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        patient_name=study.patient_name,
        patient_birth_date=study.patient_birth_date,
        patient_sex=study.patient_sex,
        accession_number=study.accession_number,
        study_date=study.study_date,
        description=study.description,
        calling_ae=study.calling_ae,
        received_at=study.received_at,
        open=study.open,
        images=images,
        conflicts=conflicts,
        status=_study_status(study, jobs, now),
        review=reviews.get(study.id, ReviewLine()),
        jobs=jobs,
    )


def _study_status(study: Study, jobs: Sequence[JobView], now: datetime) -> Status:
    """The newest job's status; trouble in an older revision is not hidden by a newer one."""
    for tone in (Tone.ATTENTION, Tone.HELD):
        trouble = next((job.status for job in jobs if job.status.tone is tone), None)
        if trouble is not None:
            return trouble
    if study.open or not jobs:
        short = "receiving more images" if jobs else "receiving"
        return Status(Tone.RECEIVING, f"{short} {why_open(study, now)}", short)
    return jobs[0].status


def _job_view(job: Job, now: datetime) -> JobView:
    steps = tuple(_step_view(row, now) for row in job.outbox)
    return JobView(
        id=job.id,
        revision=job.revision,
        state=job.state,
        reason=job.reason,
        created_at=job.created_at,
        updated_at=job.updated_at,
        stages=tuple(step for step in steps if step.stage not in BY_DESTINATION),
        deliveries=tuple(step for step in steps if step.stage == Stage.DELIVER),
        commitments=tuple(step for step in steps if step.stage == Stage.COMMIT),
        artifacts=tuple(_artifact_view(row) for row in job.artifacts),
        objects=tuple(_object_view(row) for row in job.sent_objects),
        status=job_status(State(job.state), job.reason, steps),
    )


def _condition(row: Outbox, now: datetime) -> Condition:
    if row.finished_at is not None:
        return Condition.DONE
    if row.dead_at is not None:
        return Condition.DEAD
    if row.held:
        return Condition.HELD
    if row.lease and row.lease_until is not None and row.lease_until > now:
        return Condition.RUNNING
    failed = row.attempts and row.message and not row.message.startswith(WAITS)
    return Condition.RETRYING if failed else Condition.WAITING


def _step_view(row: Outbox, now: datetime) -> StepView:
    return StepView(
        stage=str(row.stage),
        destination=row.destination,
        condition=_condition(row, now),
        attempts=row.attempts,
        message=row.message or why_row(row, now),
        not_before=row.not_before,
        started_at=row.started_at,
        finished_at=row.finished_at,
        dead_at=row.dead_at,
        seconds=row.seconds,
    )


def _object_view(row: SentObject) -> ObjectView:
    return ObjectView(
        destination=row.destination,
        kind=row.kind,
        sop_instance_uid=row.sop_instance_uid,
        status=f"{row.status:04X}",
        stored=row.stored,
        comment=row.comment,
        times_sent=row.times_sent,
        sent_at=row.sent_at,
        commitment=row.commitment,
        reason=f"{row.reason:04X}" if row.reason else "",
    )


def _artifact_view(row: Artifact) -> ArtifactView:
    return ArtifactView(
        id=row.id,
        kind=row.kind,
        name=row.name,
        media_type=row.media_type,
        storage_key=row.storage_key,
        sha256=row.sha256,
        created_at=row.created_at,
    )


def _instance_view(row: Instance) -> InstanceView:
    return InstanceView(
        sop_instance_uid=row.sop_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        modality=row.modality,
        size=row.size,
        calling_ae=row.calling_ae,
        received_at=row.received_at,
        revision=row.revision,
        conflict=row.conflict,
    )
