"""The tables of the record. Times are UTC; UIDs are at most 64 characters (PS3.5 section 9)."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from service.domain.job import Stage, State

DIGEST = String(64)


class UtcDateTime(TypeDecorator[datetime]):
    """A time with zone; SQLite keeps none, so UTC is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """To UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """With UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text from outside: what a database cannot keep (NUL, half a surrogate pair) must not keep a row from ending."""

    impl: type[String] = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Without it."""
        return None if value is None else value.replace("\0", " ").encode("utf-8", "replace").decode()


class Identifier(Words):
    """The same of limited length."""

    impl = String
    cache_ok = True


UID = Identifier(64)


class Base(DeclarativeBase):
    """Names constraints, so that migrations can address them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, bytes: LargeBinary}  # noqa: RUF012 - SQLAlchemy's own hook


class Study(Base):
    """A study as its images describe it; the newest image wins."""

    __tablename__ = "study"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    patient_id: Mapped[str] = mapped_column(Words, default="")
    patient_id_issuer: Mapped[str] = mapped_column(Words, default="")
    patient_name: Mapped[str] = mapped_column(Words, default="")
    patient_birth_date: Mapped[str] = mapped_column(String(16), default="")
    patient_sex: Mapped[str] = mapped_column(String(16), default="")
    accession_number: Mapped[str] = mapped_column(Words, default="")
    study_date: Mapped[str] = mapped_column(String(32), default="")
    description: Mapped[str] = mapped_column(Words, default="")
    calling_ae: Mapped[str] = mapped_column(String(16), default="")
    received_at: Mapped[datetime]
    #: last sign of life: an instance, or the end of an association that brought one
    active_at: Mapped[datetime] = mapped_column(index=True)
    #: when the first of the instances that it now waits with arrived
    opened_at: Mapped[datetime | None]
    #: while it waits for images that its sender has: when the sender said so last, and why it waits, in words
    asked_at: Mapped[datetime | None]
    waits: Mapped[str | None] = mapped_column(Words)
    #: True while instances wait for the study to be quiet
    open: Mapped[bool] = mapped_column(default=True)
    revision: Mapped[int] = mapped_column(default=0)

    instances: Mapped[list["Instance"]] = relationship(order_by="Instance.id")
    jobs: Mapped[list["Job"]] = relationship(order_by="Job.revision", back_populates="study")


class Instance(Base):
    """One stored SOP instance. The same UID with other bytes is a second row with ``conflict`` set."""

    __tablename__ = "instance"
    __table_args__ = (UniqueConstraint("sop_instance_uid", "sha256"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    sop_instance_uid: Mapped[str] = mapped_column(UID, index=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    modality: Mapped[str] = mapped_column(String(16), default="")
    #: empty when the file was removed after its time; indexed, because recovery asks which files have rows
    storage_key: Mapped[str] = mapped_column(Words, index=True)
    sha256: Mapped[str] = mapped_column(DIGEST)
    size: Mapped[int] = mapped_column(BigInteger)
    calling_ae: Mapped[str] = mapped_column(String(16), default="")
    received_at: Mapped[datetime]
    #: revision of the study that first contains it; None while the study is open
    revision: Mapped[int | None]
    conflict: Mapped[bool] = mapped_column(default=False)


class Job(Base):
    """One revision of a study on its way; ``state`` names what is durably done."""

    __tablename__ = "job"
    __table_args__ = (UniqueConstraint("study_id", "revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    revision: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), default=State.RECEIVED, index=True)
    #: why it was declined, or what the reader must know
    reason: Mapped[str] = mapped_column(Words, default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    study: Mapped[Study] = relationship(back_populates="jobs")
    outbox: Mapped[list["Outbox"]] = relationship(order_by="Outbox.id", back_populates="job")
    artifacts: Mapped[list["Artifact"]] = relationship(order_by="Artifact.id")
    sent_objects: Mapped[list["SentObject"]] = relationship(order_by="SentObject.id")


class Outbox(Base):
    """A stage that is due, one row for each destination: retry, back-off and lease live here, not in the broker."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("job_id", "stage", "destination"),
        Index("ix_outbox_due", "finished_at", "dead_at", "not_before"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    stage: Mapped[Stage] = mapped_column(String(16))
    destination: Mapped[str] = mapped_column(String(64), default="")
    #: those that only had to wait are not counted, except the looks of a commitment
    attempts: Mapped[int] = mapped_column(default=0)
    #: attempts in a row that ended in trouble of our own: no memory, no time, an error that nobody foresaw
    faults: Mapped[int] = mapped_column(default=0)
    #: attempts whose worker vanished (killed, out of memory, power); two make a dead letter
    lost: Mapped[int] = mapped_column(default=0)
    #: attempts that ended with the whole machine or process group; several make a dead letter, too
    orphaned: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime]
    #: it is due but for its destination, which is silent (service/db/breaker.py)
    put_off: Mapped[bool] = mapped_column(default=False)
    rung_at: Mapped[datetime | None]
    lease: Mapped[str] = mapped_column(String(255), default="")
    lease_until: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    dead_at: Mapped[datetime | None]
    held: Mapped[bool] = mapped_column(default=False)
    #: the last error in the peer's own words, or what the destination answered
    message: Mapped[str] = mapped_column(Words, default="")
    seconds: Mapped[float | None]

    job: Mapped[Job] = relationship(back_populates="outbox")


class DestinationState(Base):
    """Whether a destination answers; see ``service.db.breaker``."""

    __tablename__ = "destination_state"

    destination: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: in a row; 0 = it is well
    failures: Mapped[int] = mapped_column(default=0)
    #: nobody asks it before
    not_before: Mapped[datetime | None]
    #: somebody is asking it, at the longest until then
    asked_until: Mapped[datetime | None]
    #: what happened last
    message: Mapped[str] = mapped_column(Words, default="")


class Artifact(Base):
    """Something made from a job: analysis, preview, SR, SEG, report."""

    __tablename__ = "artifact"
    __table_args__ = (UniqueConstraint("job_id", "kind", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    #: analysis, preview, or a result kind (sr, seg, report)
    kind: Mapped[str] = mapped_column(String(32))
    #: tells artifacts of one kind apart: SOP Instance UID of the image or of the result, identifier of the report
    name: Mapped[str] = mapped_column(Words, default="")
    media_type: Mapped[str] = mapped_column(String(64))
    storage_key: Mapped[str] = mapped_column(Words)
    sha256: Mapped[str] = mapped_column(DIGEST)
    created_at: Mapped[datetime]


class Commitment(Base):
    """A storage commitment that a sender asked for (PS3.4 Annex J), until the answer has reached it."""

    __tablename__ = "commitment"
    __table_args__ = (
        UniqueConstraint("calling_ae", "transaction_uid"),
        Index("ix_commitment_due", "answered_at", "given_up_at", "not_before"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(UID)
    calling_ae: Mapped[str] = mapped_column(String(16))
    #: address it asked from
    host: Mapped[str] = mapped_column(String(255))
    #: JSON list of [SOP class UID, SOP instance UID]
    instances: Mapped[str] = mapped_column(Words)
    received_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    #: next attempt; moved before each one, so that two listeners never tell the same thing at the same time
    not_before: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]
    message: Mapped[str] = mapped_column(Words, default="")


class SentObject(Base):
    """What a destination said to an object of a job when it was sent, and whether it committed itself to keep it."""

    __tablename__ = "sent_object"
    __table_args__ = (UniqueConstraint("job_id", "destination", "sop_instance_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    destination: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(32))
    sop_class_uid: Mapped[str] = mapped_column(UID)
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    sha256: Mapped[str] = mapped_column(DIGEST, default="")
    #: of the C-STORE, or the reason or warning of STOW-RS
    status: Mapped[int]
    stored: Mapped[bool]
    comment: Mapped[str] = mapped_column(Words, default="")
    times_sent: Mapped[int] = mapped_column(default=0)
    sent_at: Mapped[datetime]
    #: how far the storage commitment is: asked, committed, failed; empty = not asked
    commitment: Mapped[str] = mapped_column(String(16), default="")
    #: Failure Reason of a failed one
    reason: Mapped[int] = mapped_column(default=0)


class CommitmentRequest(Base):
    """A storage commitment that we asked a destination for (PS3.4 Annex J)."""

    __tablename__ = "commitment_request"

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(UID, unique=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    destination: Mapped[str] = mapped_column(String(64))
    #: JSON list of SOP Instance UIDs
    instances: Mapped[str] = mapped_column(Words)
    asked_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    #: nobody waits for it any more: a dead letter that was tried again began anew
    given_up: Mapped[bool] = mapped_column(default=False)


class Review(Base):
    """What a person said of the findings of a study; rows are only ever added (service/domain/review.py)."""

    __tablename__ = "review"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        UniqueConstraint("study_id", "request_key", name="uq_review_request_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    #: 1 for the first of the study
    number: Mapped[int]
    #: of the study, whose analyses the person saw
    revision: Mapped[int]
    #: chosen by the client, so that a request that is repeated is one; and the digest of what it said
    request_key: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(DIGEST)
    reviewer_name: Mapped[str] = mapped_column(Words)
    reviewer_identifier: Mapped[str] = mapped_column(Words, default="")
    organization: Mapped[str] = mapped_column(Words, default="")
    #: JSON list of actions
    actions: Mapped[str] = mapped_column(Words, default="[]")
    #: open, sign or withdraw
    conclusion: Mapped[str] = mapped_column(String(16))
    correcting: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str] = mapped_column(Words, default="")
    created_at: Mapped[datetime]
    #: the job that brings the signed report on its way, or takes all reports back
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"), unique=True)


class ProcedureStep(Base):
    """A performed procedure step that a modality told us of (PS3.4 Annex F.7)."""

    __tablename__ = "procedure_step"
    __table_args__ = (Index("ix_procedure_step_status", "status", "resolved_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    calling_ae: Mapped[str] = mapped_column(String(16))
    #: IN PROGRESS, COMPLETED or DISCONTINUED
    status: Mapped[str] = mapped_column(String(16))
    #: JSON lists of UIDs: the studies it belongs to, the instances it says it made
    studies: Mapped[str] = mapped_column(Words, default="[]")
    instances: Mapped[str] = mapped_column(Words, default="[]")
    updated_at: Mapped[datetime]
    #: its studies were closed because of it, or nothing was left to close
    resolved_at: Mapped[datetime | None]
