"""Studies and their instances: recording what arrived, and closing a study that has become quiet."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, insert, literal, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from service import clock
from service.db.engine import Database
from service.db.tables import Instance, Job, Outbox, Study, UtcDateTime
from service.domain.job import NEXT, State
from service.domain.study import ReceivedInstance, Recorded


@dataclass(frozen=True, slots=True)
class SilentStudy:
    """An open study whose sender has been silent for its quiet time."""

    id: int
    study_instance_uid: str
    calling_ae: str


_OF_STUDY = (
    "patient_id",
    "patient_id_issuer",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "accession_number",
    "study_date",
    "description",
    "calling_ae",
)
_OF_INSTANCE = (
    "series_instance_uid",
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "modality",
    "storage_key",
    "sha256",
    "size",
    "calling_ae",
)


def _upsert(insert: Callable[..., Any]) -> Any:  # noqa: ANN401 - two dialects, two classes of statement
    """Insert or find the study row; it stays locked until the end, so instances of a study queue up."""
    keys = ("study_instance_uid", *_OF_STUDY, "received_at", "active_at", "open", "revision")
    statement = insert(Study).values({key: bindparam(key) for key in keys})
    unchanged = {"study_instance_uid": statement.excluded.study_instance_uid}
    found = statement.on_conflict_do_update(index_elements=[Study.study_instance_uid], set_=unchanged)
    return found.returning(Study.id, Study.revision)


# Built once: building them for every instance costs more than running them (1.8-2.8 against 0.8-1.4 ms of CPU).
_UPSERT = {"postgresql": _upsert(postgresql_insert), "sqlite": _upsert(sqlite_insert)}
_KNOWN = select(Instance.sha256).where(Instance.sop_instance_uid == bindparam("uid"))
_INSERT = insert(Instance)
#: an image that was removed after its time (storage.keep_days) is here again
_BACK = (
    update(Instance)
    .where(
        Instance.sop_instance_uid == bindparam("uid"),
        Instance.sha256 == bindparam("digest"),
        Instance.storage_key == "",
    )
    .values(storage_key=bindparam("at"))
)
#: an image of a study that is done came again: its sender was told that it is kept, so its time begins anew
_SEEN_AGAIN = update(Study).where(Study.id == bindparam("of"), ~Study.open).values(active_at=bindparam("now"))
_OPEN = (
    update(Study)
    .where(Study.id == bindparam("of"))
    .values(
        open=True, active_at=bindparam("now"), opened_at=case((Study.open, Study.opened_at), else_=bindparam("now"))
    )
)
_REFRESH = _OPEN.values({key: bindparam(f"new_{key}") for key in _OF_STUDY})


def record_instances(db: Database, instances: Sequence[ReceivedInstance]) -> list[Recorded]:
    """Record instances whose bytes are stored; all of them in one transaction.

    A new instance opens its study. The same bytes again change nothing but the time until retention may remove them,
    and are there again if it had. The same UID with other bytes is kept beside the first and flagged, and changes
    nothing of the study, because the first one stays the one that is analyzed. Only a study that would hold nothing
    else is opened by it, so that it is declined with that reason.

    Returns:
        For each instance, in order, what became of it.
    """
    outcomes: dict[int, Recorded] = {}
    with db.begin() as session:
        # Always in the same order, so that two listeners never wait for each other's study rows.
        for index, received in sorted(enumerate(instances), key=lambda pair: pair[1].study_instance_uid):
            outcomes[index] = _record(session.connection(), received, clock.now())
    return [outcomes[index] for index in range(len(instances))]


def touch_studies(db: Database, study_uids: Collection[str]) -> None:
    """Note a sign of life, so that a study is not closed while its sender is still connected."""
    with db.begin() as session:
        for uid in sorted(study_uids):  # in the order in which record_instances locks them
            session.execute(
                update(Study).where(Study.study_instance_uid == uid, Study.open).values(active_at=clock.now())
            )


def close_quiet_studies(
    db: Database,
    quiet_seconds: float,
    *,
    by_sender: Mapping[str, float] = MappingProxyType({}),
    longest_seconds: float = math.inf,
) -> int:
    """Close every study that has been quiet: its new instances become the next revision, a job is born.

    Args:
        db: the record.
        quiet_seconds: of silence after which a study is complete.
        by_sender: the same for some calling AE titles.
        longest_seconds: a study that has been open for so long is closed although it is not quiet.

    Returns:
        The number of studies closed.
    """
    ripe = _ripe(clock.now(), quiet_seconds, by_sender, longest_seconds)
    with db.session() as session:
        waiting = session.scalars(select(Study.id).where(Study.open, ripe)).all()
    return sum(_close(db, study_id, ripe) for study_id in waiting)


def close_study(db: Database, study_id: int) -> bool:
    """Close a study now, because somebody knows that it is complete; False if it was closed already."""
    return _close(db, study_id, true())


def close_studies(db: Database, study_uids: Collection[str]) -> int:
    """Close those of these studies that are open, because somebody knows that they are complete; how many they were."""
    with db.session() as session:
        named = Study.study_instance_uid.in_(sorted(study_uids))
        waiting = session.scalars(select(Study.id).where(Study.open, named)).all()
    return sum(close_study(db, study_id) for study_id in waiting)


def silent_studies(db: Database, quiet_by_sender: Mapping[str, float]) -> list[SilentStudy]:
    """The open studies of these senders (calling AE titles) that were silent for so many seconds, oldest first.

    A study whose sender had more images when it was asked is not silent again before the same time has passed.
    """
    ripe = _ripe(clock.now(), 0.0, quiet_by_sender, math.inf)
    with db.session() as session:
        query = select(Study.id, Study.study_instance_uid, Study.calling_ae).order_by(Study.active_at)
        rows = session.execute(query.where(Study.open, Study.calling_ae.in_(quiet_by_sender), ripe)).all()
    return [SilentStudy(*row) for row in rows]


def close_silent_study(db: Database, study_id: int, quiet_seconds: float) -> bool:
    """Close a study unless something of it came within the quiet time; False if it was not closed."""
    return _close(db, study_id, _ripe(clock.now(), quiet_seconds, {}, math.inf))


def _ripe(
    now: datetime, quiet_seconds: float, by_sender: Mapping[str, float], longest_seconds: float
) -> ColumnElement[bool]:
    """The condition on a study to be closed; ``active_at`` decides again when it is, in the same transaction.

    That its sender said it had more images is a sign of life, too.
    """
    limit: ColumnElement[Any] = literal(now - timedelta(seconds=quiet_seconds), UtcDateTime())
    if by_sender:
        limits = {ae: literal(now - timedelta(seconds=each), UtcDateTime()) for ae, each in by_sender.items()}
        limit = case(limits, value=Study.calling_ae, else_=limit)
    quiet = and_(Study.active_at <= limit, or_(Study.asked_at.is_(None), Study.asked_at <= limit))
    if math.isinf(longest_seconds):
        return quiet
    return or_(quiet, Study.opened_at <= now - timedelta(seconds=longest_seconds))


def _record(connection: Connection, received: ReceivedInstance, now: datetime) -> Recorded:
    study = {key: getattr(received, key) for key in ("study_instance_uid", *_OF_STUDY)}
    fresh = {"received_at": now, "active_at": now, "open": False, "revision": 0}
    study_id, revision = connection.execute(_UPSERT[connection.dialect.name], study | fresh).one()
    known = connection.execute(_KNOWN, {"uid": received.sop_instance_uid}).scalars().all()
    if received.sha256 in known:
        connection.execute(
            _BACK, {"uid": received.sop_instance_uid, "digest": received.sha256, "at": received.storage_key}
        )
        connection.execute(_SEEN_AGAIN, {"of": study_id, "now": now})
        return Recorded.SAME
    instance = {key: getattr(received, key) for key in _OF_INSTANCE}
    place = {"study_id": study_id, "received_at": now, "conflict": bool(known), "revision": None}
    connection.execute(_INSERT, instance | place)
    if known:
        if revision == 0:
            connection.execute(_OPEN, {"of": study_id, "now": now})
        return Recorded.CONFLICT
    refreshed = {f"new_{key}": study[key] for key in _OF_STUDY}
    connection.execute(_REFRESH, {"of": study_id, "now": now} | refreshed)
    return Recorded.NEW


def _close(db: Database, study_id: int, ripe: ColumnElement[bool]) -> bool:
    now = clock.now()
    with db.begin() as session:
        closed = session.execute(
            update(Study)
            .where(Study.id == study_id, Study.open, ripe)
            .values(open=False, revision=Study.revision + 1, asked_at=None, waits=None)
            .returning(Study.revision)
        ).scalar()
        if closed is None:
            return False  # something arrived in between, or another relay was first
        session.execute(
            update(Instance)
            .where(Instance.study_id == study_id, Instance.revision.is_(None), ~Instance.conflict)
            .values(revision=closed)
        )
        job = Job(study_id=study_id, revision=closed, state=State.RECEIVED, created_at=now, updated_at=now)
        job.outbox.append(Outbox(stage=NEXT[State.RECEIVED], not_before=now))
        session.add(job)
        return True
