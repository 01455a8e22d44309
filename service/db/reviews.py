"""Reviews in the record: what is there to be reviewed, and the one transaction that adds an entry.

A signature is a row here, a job that begins at its report stage, and the outbox row of that stage, all or nothing: from
then on it is on its way like any other, and a crash loses neither the signature nor its delivery.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service import clock
from service.db.engine import Database
from service.db.tables import Artifact, Job, Outbox, Review, Study
from service.domain.errors import NotUnderstood, Outdated
from service.domain.job import BY_DESTINATION, NEXT, Stage, State
from service.domain.review import (
    Action,
    Conclusion,
    Deed,
    Entry,
    ReportStatus,
    Reviewer,
    Standing,
    signature_of,
    standing_of,
)

_REPORTED = (State.REPORTED, State.DELIVERED)
_COPIED = ("preview", "choices")
_MADE_BY_PEOPLE = select(Review.job_id).where(Review.job_id.is_not(None))


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to be reviewed: the newest revision that the models have reported.

    Attributes:
        job_id: of that revision; None if nothing was reported yet.
        entries: what people have said so far, the oldest first.
    """

    study_id: int
    job_id: int | None
    revision: int
    entries: tuple[Entry, ...]

    @property
    def version(self) -> str:
        """What a request names that was made in view of this: the revision, and how many entries there are."""
        return f"{self.revision}.{len(self.entries)}"


@dataclass(frozen=True, slots=True)
class ReviewLine:
    """Where the review of a study stands, in one line.

    Attributes:
        status: of the report that is out.
        by, at: of the newest signature or withdrawal; empty and null if there is none.
    """

    standing: Standing = Standing.UNREAD
    status: ReportStatus = ReportStatus.PRELIMINARY
    by: str = ""
    organization: str = ""
    at: datetime | None = None

    @classmethod
    def of(cls, entries: Sequence[Entry], revision: int) -> "ReviewLine":
        """From all entries, and the newest revision that was reported."""
        signature, standing = signature_of(entries), standing_of(entries, revision)
        if signature is None:
            return cls(standing)
        who = signature.reviewer
        return cls(standing, signature.status, who.display, who.organization, signature.at)

    @property
    def words(self) -> str:
        """As in "signed by Dr. Anna Muster on 2026-11-21; newer findings wait for review"."""
        if self.at is None:
            return self.standing.value
        verb = "withdrawn" if self.standing is Standing.WITHDRAWN else "signed"
        more = {Standing.NEWER: "; newer findings wait for review", Standing.OPEN: "; changed since, not signed again"}
        return f"{verb} by {self.by} on {clock.local(self.at):%Y-%m-%d}{more.get(self.standing, '')}"


@dataclass(frozen=True, slots=True)
class Request:
    """An entry that is to be added.

    Attributes:
        key: chosen by the client; the same key again is the same request.
        digest: of everything that it says.
        version: ``Seen.version`` that the person had before them.
        analyses: names of the analyses that they had before them.
    """

    key: str
    digest: str
    version: str
    reviewer: Reviewer
    actions: tuple[Action, ...] = ()
    conclusion: Conclusion = Conclusion.OPEN
    correcting: bool = False
    reason: str = ""
    analyses: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage must know of the reviews of its study.

    Attributes:
        entries: of a job that a signature brought about, all up to that signature; else none.
        signed_revision: the revision whose analyses the newest signature is about; 0 = nobody has signed.
        newest: job of the newest signature, None if nobody has signed.
        withdrawn: it takes everything back.
    """

    entries: tuple[Entry, ...]
    signed_revision: int
    newest: int | None
    withdrawn: bool


def find_seen(session: Session, study_instance_uid: str) -> Seen | None:
    """What is to be reviewed of a study; None if there is no such study."""
    study_id = session.scalars(select(Study.id).where(Study.study_instance_uid == study_instance_uid)).one_or_none()
    return None if study_id is None else _seen(session, study_id)


def find_request(session: Session, study_id: int, key: str) -> str | None:
    """Digest of the request with that key; None if there was none."""
    return session.scalars(
        select(Review.digest).where(Review.study_id == study_id, Review.request_key == key)
    ).one_or_none()


def review_lines(session: Session, study_ids: Sequence[int]) -> dict[int, ReviewLine]:
    """For several studies where their reviews stand, without those that nobody has reviewed yet."""
    entries: dict[int, list[Entry]] = {}
    for row in session.scalars(select(Review).where(Review.study_id.in_(study_ids)).order_by(Review.number)):
        entries.setdefault(row.study_id, []).append(_entry(row))
    newest = (
        select(Job.study_id, func.max(Job.revision))
        .where(Job.study_id.in_(entries), Job.state.in_(_REPORTED), Job.id.not_in(_MADE_BY_PEOPLE))
        .group_by(Job.study_id)
    )
    revisions = {row[0]: row[1] for row in session.execute(newest)} if entries else {}
    return {study_id: ReviewLine.of(given, revisions.get(study_id, 0)) for study_id, given in entries.items()}


def record_request(db: Database, study_instance_uid: str, request: Request) -> bool:
    """Add an entry, and for a signature or withdrawal the job that it brings about.

    Returns:
        False if the same request was recorded before: nothing was done.

    Raises:
        Outdated: another entry or another analysis came first; nothing was done.
        NotUnderstood: the key was used for another request, or there is nothing to be reviewed.
    """
    with db.begin() as session:
        study = session.scalars(
            select(Study).where(Study.study_instance_uid == study_instance_uid).with_for_update()
        ).one()
        known = find_request(session, study.id, request.key)
        if known is not None:
            if known != request.digest:
                raise NotUnderstood("this key was used for another request; choose a new one for each request")
            return False
        seen = _seen(session, study.id)
        if seen.job_id is None:
            raise NotUnderstood("there is no result of this study yet that could be reviewed")
        if seen.version != request.version:
            message = f"the review stands at version {seen.version}, not {request.version}; read it again"
            raise Outdated(message)
        if _is_withdrawn(seen.entries):
            raise Outdated("the reports of this study were withdrawn; they cannot be reviewed any more")
        row = _row(study.id, seen, request)
        if request.conclusion is not Conclusion.OPEN:
            row.job_id = _begin_job(session, study, seen.job_id, request)
        session.add(row)
        return True


def load_context(db: Database, job_id: int) -> Context:
    """What a stage of a job must know of the reviews of its study."""
    with db.session() as session:
        study_id = session.scalars(select(Job.study_id).where(Job.id == job_id)).one()
        rows = _rows(session, study_id)
        own = next((row.number for row in rows if row.job_id == job_id), 0)
        concluded = [row for row in rows if row.job_id is not None]
        newest = concluded[-1] if concluded else None
        return Context(
            entries=tuple(_entry(row) for row in rows if row.number <= own),
            signed_revision=0 if newest is None else newest.revision,
            newest=None if newest is None else newest.job_id,
            withdrawn=newest is not None and newest.conclusion == Conclusion.WITHDRAW,
        )


def earlier_in_hand(db: Database, job_id: int, destination: str) -> bool:
    """Whether somebody is delivering an earlier report of the study there, or may send it again, at this moment."""
    with db.session() as session:
        own = session.get_one(Job, job_id)
        rows = (
            select(func.count(Outbox.id))
            .join(Job)
            .where(
                Job.study_id == own.study_id,
                Job.revision < own.revision,
                Outbox.stage.in_(BY_DESTINATION),
                Outbox.destination == destination,
                Outbox.finished_at.is_(None),
                Outbox.lease != "",
                Outbox.lease_until > clock.now(),
            )
        )
        return session.scalars(rows).one() > 0


def earlier_results(db: Database, job_id: int, kinds: Collection[str]) -> list[tuple[str, str]]:
    """Kind and storage key of what earlier revisions of the study made, of some kinds, each once, in their order."""
    with db.session() as session:
        own = session.get_one(Job, job_id)
        rows = session.execute(
            select(Artifact.kind, Artifact.storage_key)
            .join(Job, Job.id == Artifact.job_id)
            .where(Job.study_id == own.study_id, Job.revision < own.revision, Artifact.kind.in_(kinds))
            .order_by(Artifact.id)
        )
        return list(dict.fromkeys((row.kind, row.storage_key) for row in rows))


def _seen(session: Session, study_id: int) -> Seen:
    base = session.execute(
        select(Job.id, Job.revision)
        .where(Job.study_id == study_id, Job.state.in_(_REPORTED), Job.id.not_in(_MADE_BY_PEOPLE))
        .order_by(Job.revision.desc())
        .limit(1)
    ).one_or_none()
    entries = tuple(_entry(row) for row in _rows(session, study_id))
    return Seen(study_id, None, 0, entries) if base is None else Seen(study_id, base.id, base.revision, entries)


def _rows(session: Session, study_id: int) -> Sequence[Review]:
    return session.scalars(select(Review).where(Review.study_id == study_id).order_by(Review.number)).all()


def _is_withdrawn(entries: Sequence[Entry]) -> bool:
    signature = signature_of(entries)
    return signature is not None and signature.withdrawn


def _row(study_id: int, seen: Seen, request: Request) -> Review:
    return Review(
        study_id=study_id,
        number=len(seen.entries) + 1,
        revision=seen.revision,
        request_key=request.key,
        digest=request.digest,
        reviewer_name=request.reviewer.name,
        reviewer_identifier=request.reviewer.identifier,
        organization=request.reviewer.organization,
        actions=json.dumps([asdict(action) for action in request.actions]),
        conclusion=request.conclusion,
        correcting=request.correcting,
        reason=request.reason,
        created_at=clock.now(),
    )


def _entry(row: Review) -> Entry:
    return Entry(
        number=row.number,
        revision=row.revision,
        reviewer=Reviewer(row.reviewer_name, row.reviewer_identifier, row.organization),
        at=row.created_at,
        actions=tuple(_action(each) for each in json.loads(row.actions)),
        conclusion=Conclusion(row.conclusion),
        correcting=row.correcting,
        reason=row.reason,
    )


def _action(stored: dict[str, object]) -> Action:
    box = stored.pop("box")
    deed = Deed(str(stored.pop("deed")))
    return Action(deed, **stored, box=tuple(box) if isinstance(box, list) else None)  # type: ignore[arg-type]  # as asdict wrote it


def _begin_job(session: Session, study: Study, base: int, request: Request) -> int:
    """The next revision: what the person saw, due for its report; what was held before is looked at anew."""
    now = clock.now()
    study.revision += 1
    job = Job(study_id=study.id, revision=study.revision, state=State.ANALYZED, created_at=now, updated_at=now)
    for row in session.scalars(select(Artifact).where(Artifact.job_id == base).order_by(Artifact.id)):
        if row.kind in _COPIED or (row.kind == "analysis" and row.name in request.analyses):
            columns = {key: getattr(row, key) for key in ("kind", "name", "media_type", "storage_key", "sha256")}
            job.artifacts.append(Artifact(created_at=now, **columns))
    job.outbox.append(Outbox(stage=NEXT[State.ANALYZED], not_before=now))
    session.add(job)
    session.flush()
    earlier = select(Job.id).where(Job.study_id == study.id, Job.id != job.id)
    session.execute(
        update(Outbox)
        .where(Outbox.job_id.in_(earlier), Outbox.stage == Stage.DELIVER, Outbox.finished_at.is_(None), Outbox.held)
        .values(held=False, not_before=now, rung_at=None)
    )
    return job.id
