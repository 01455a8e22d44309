"""Jobs: what a stage needs to know, and the one transaction that ends it and makes the next one due."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service import clock
from service.db import outbox
from service.db.engine import Database
from service.db.outbox import Claim, Due
from service.db.tables import Artifact, Instance, Job, Outbox, Study
from service.domain.errors import Transient
from service.domain.job import BY_DESTINATION, NEXT, Outcome, Stage, State, advance


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance a job has to deal with."""

    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    #: empty: removed, because all results of its study had been delivered (storage.keep_days)
    storage_key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """Something made from a job, whose bytes are durably stored."""

    kind: str
    name: str
    media_type: str
    storage_key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Work:
    """A job as its stages see it: every instance of the study up to this revision, and what was made so far."""

    job_id: int
    study_instance_uid: str
    revision: int
    instances: tuple[StoredInstance, ...]
    artifacts: tuple[StoredArtifact, ...]
    #: analyses of earlier revisions; an image that was analyzed by the same weights is not analyzed again
    earlier: tuple[StoredArtifact, ...] = ()

    def of_kind(self, *kinds: str) -> list[StoredArtifact]:
        """The artifacts of some kinds, in the order in which they were made."""
        return [artifact for artifact in self.artifacts if artifact.kind in kinds]


@dataclass(frozen=True, slots=True)
class StageEnd:
    """How a stage ended well.

    Attributes:
        outcome: done or declined.
        artifacts: what it made.
        reason: for the reader: why it was declined, what could not be analyzed.
        message: what is noted on the outbox row, for example what the peer answered.
        commit: of a delivery: the archive is to be asked whether it keeps what it got.
    """

    outcome: Outcome = Outcome.DONE
    artifacts: Sequence[StoredArtifact] = field(default_factory=tuple)
    reason: str = ""
    message: str = ""
    commit: bool = False


def load_work(db: Database, job_id: int) -> Work:
    """Everything a stage needs to know of a job."""
    with db.session() as session:
        job = session.get_one(Job, job_id)
        study = session.get_one(Study, job.study_id)
        instances = session.scalars(
            select(Instance)
            .where(Instance.study_id == study.id, Instance.revision <= job.revision, ~Instance.conflict)
            .order_by(Instance.id)
        ).all()
        earlier = session.scalars(
            select(Artifact)
            .join(Job, Job.id == Artifact.job_id)
            .where(Job.study_id == study.id, Job.revision < job.revision, Artifact.kind.in_(("analysis", "preview")))
            .order_by(Artifact.id.desc())
        ).all()
        return Work(
            job_id=job.id,
            study_instance_uid=study.study_instance_uid,
            revision=job.revision,
            instances=tuple(
                StoredInstance(row.sop_instance_uid, row.sop_class_uid, row.modality, row.storage_key, row.sha256)
                for row in instances
            ),
            artifacts=tuple(_stored(row) for row in job.artifacts),
            earlier=tuple(_stored(row) for row in earlier),
        )


def complete(db: Database, taken: Claim, end: StageEnd, destinations: Sequence[str]) -> list[Due]:
    """End a stage: artifacts, state and the rows of the next stage, all in one transaction.

    Args:
        db: the record.
        taken: the claim under which the stage was done.
        end: how it ended.
        destinations: names of all destinations; each gets a delivery row once the results are made.

    Returns:
        The rows that are due now; ring for them.

    Raises:
        Transient: the lease was lost to somebody else; nothing was changed.
    """
    with db.begin() as session:
        # The job row is locked first: two deliveries that end at the same time must see each other.
        job = session.scalars(select(Job).where(Job.id == taken.job_id).with_for_update()).one()
        if not outbox.finish(session, taken, end.message):
            message = f"lease on outbox row {taken.outbox_id} was lost"
            raise Transient(message)
        known = {(row.kind, row.name) for row in job.artifacts}
        now = clock.now()
        for artifact in end.artifacts:
            if (artifact.kind, artifact.name) not in known:
                session.add(Artifact(job_id=job.id, created_at=now, **_columns(artifact)))
        job.updated_at = now
        job.reason = end.reason or job.reason
        rows = [_commitment_row(session, taken)] if end.commit else []
        session.flush()
        if taken.stage not in BY_DESTINATION or not _deliveries_left(session, job.id):
            job.state = advance(State(job.state), taken.stage, end.outcome)
            rows += _next_rows(job, destinations)
        session.add_all(rows)
        session.flush()
        return [Due(row.id, Stage(row.stage)) for row in rows]


def _next_rows(job: Job, destinations: Sequence[str]) -> list[Outbox]:
    """The rows that the new state makes due; with nowhere to deliver to, a reported job is delivered."""
    now = clock.now()
    stage = NEXT.get(State(job.state))
    if stage is Stage.DELIVER and not destinations:
        job.state = advance(State(job.state), stage, Outcome.DONE)
        job.reason = job.reason or "no destination is configured"
        return []
    if stage is None:
        return []
    names = destinations if stage is Stage.DELIVER else [""]
    return [
        Outbox(job_id=job.id, stage=stage, destination=name, not_before=now, rung_at=now, lease="") for name in names
    ]


def _commitment_row(session: Session, taken: Claim) -> Outbox:
    """The row of a commitment; that of an earlier delivery of the same job begins anew."""
    now = clock.now()
    key = {"job_id": taken.job_id, "stage": Stage.COMMIT, "destination": taken.destination}
    row = session.scalars(select(Outbox).filter_by(**key).with_for_update()).one_or_none()
    if row is None:
        row = Outbox(**key)
        session.add(row)
    row.attempts = row.faults = row.lost = row.orphaned = 0
    row.put_off = False
    row.not_before = row.rung_at = now
    row.lease, row.lease_until, row.finished_at, row.dead_at, row.held = "", None, None, None, False
    row.message, row.seconds = "", None
    return row


def _deliveries_left(session: Session, job_id: int) -> int:
    left = select(func.count()).where(
        Outbox.job_id == job_id, Outbox.stage.in_(BY_DESTINATION), Outbox.finished_at.is_(None)
    )
    return session.scalars(left).one()


def _stored(row: Artifact) -> StoredArtifact:
    return StoredArtifact(row.kind, row.name, row.media_type, row.storage_key, row.sha256)


def _columns(artifact: StoredArtifact) -> dict[str, str]:
    return {
        "kind": artifact.kind,
        "name": artifact.name,
        "media_type": artifact.media_type,
        "storage_key": artifact.storage_key,
        "sha256": artifact.sha256,
    }
