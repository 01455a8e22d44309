"""The account of what was received: everything is somewhere, or it is named as missing.

received = still open + analyzing + declined + analyzed; analyzed = reporting + reported; and for every destination of a
reported revision: delivered + held + dead + on its way. What fits no line is adrift; there must be none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, select
from sqlalchemy.orm import Session

from service.db.tables import Instance, Job, Outbox, Study
from service.domain.job import BY_DESTINATION, NEXT, Stage, State

_NAMED = 20  # of what is adrift, at most so many are named


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Of the revisions reported in the time: what became of their results at one destination."""

    delivered: int = 0
    held: int = 0
    dead: int = 0
    waiting: int = 0

    @property
    def all(self) -> int:
        """Every row."""
        return self.delivered + self.held + self.dead + self.waiting


@dataclass(frozen=True, slots=True)
class Account:
    """What was received in a time, and where it is now.

    Attributes:
        images: rows received; ``set_aside``: the same UID with other bytes, kept beside; ``open_images``: in studies
            that still wait for more; ``image_revisions``: those that belong to a revision.
        revisions: jobs born; ``analyzing``, ``declined``, ``analyzed``: where they are.
        reporting, reported: of the analyzed ones.
        stuck: of ``analyzing`` and ``reporting``, how many are dead letters.
        deliveries: by destination.
        commitments: by destination: storage commitments given ("delivered"), dead and awaited.
        adrift: what is nowhere, in words, with Study Instance UIDs; empty = everything is accounted for.
    """

    images: int
    set_aside: int
    open_images: int
    image_revisions: int
    revisions: int
    analyzing: int
    declined: int
    analyzed: int
    reporting: int
    reported: int
    stuck: int
    deliveries: dict[str, Deliveries] = field(default_factory=dict)
    commitments: dict[str, Deliveries] = field(default_factory=dict)
    adrift: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The account as text, one line for each step of the way."""
        stuck = f", {self.stuck} of them dead letters" if self.stuck else ""
        images = f"{self.image_revisions} in revisions, {self.open_images} in studies still open"
        aside = f"{self.set_aside} set aside (their UID was there with other bytes)"
        revisions = f"{self.analyzed} analyzed, {self.declined} declined, {self.analyzing} waiting for analysis"
        text = [
            f"images received   {self.images}: {images}, {aside}",
            f"revisions         {self.revisions}: {revisions}{stuck}",
            f"analyzed          {self.analyzed}: {self.reported} reported, {self.reporting} waiting for the report",
        ]
        text += [
            f"to {name:<14} {each.all}: {each.delivered} delivered, {each.held} held, {each.dead} dead letters, "
            f"{each.waiting} on their way"
            for name, each in self.deliveries.items()
        ]
        text += [
            f"kept by {name:<9} {each.all}: {each.delivered} committed, {each.dead} dead letters, "
            f"{each.waiting} awaited"
            for name, each in self.commitments.items()
        ]
        return [*text, *(f"ADRIFT            {what}" for what in self.adrift)]


def reconcile(session: Session, since: datetime, until: datetime) -> Account:
    """The account of images received and revisions born from ``since`` (inclusive) to ``until`` (exclusive)."""
    images = _images(session, since, until)
    states = _states(session, since, until)
    born = _born(since, until)
    dead = select(func.count(func.distinct(Job.id))).join(Outbox).where(*born, Outbox.dead_at.is_not(None))
    stuck = session.scalars(dead.where(Outbox.stage.not_in(BY_DESTINATION))).one()
    analyzed = states[State.ANALYZED] + states[State.REPORTED] + states[State.DELIVERED]
    return Account(
        images=sum(images.values()),
        set_aside=images["set aside"],
        open_images=images["open"],
        image_revisions=images["in a revision"],
        revisions=sum(states.values()),
        analyzing=states[State.RECEIVED],
        declined=states[State.DECLINED],
        analyzed=analyzed,
        reporting=states[State.ANALYZED],
        reported=states[State.REPORTED] + states[State.DELIVERED],
        stuck=stuck,
        deliveries=_deliveries(session, since, until, Stage.DELIVER),
        commitments=_deliveries(session, since, until, Stage.COMMIT),
        adrift=tuple(_adrift(session, since, until)),
    )


def last_received(session: Session) -> dict[str, datetime]:
    """Calling AE title -> when it last sent an image."""
    newest = func.max(Instance.received_at)
    rows = session.execute(select(Instance.calling_ae, newest).group_by(Instance.calling_ae))
    return {str(calling_ae): received_at for calling_ae, received_at in rows}


def _born(since: datetime, until: datetime) -> Sequence[ColumnElement[bool]]:
    return Job.created_at >= since, Job.created_at < until


def _place() -> ColumnElement[str]:
    of_revision = exists().where(Job.study_id == Instance.study_id, Job.revision == Instance.revision)
    return case(
        (Instance.conflict, "set aside"),
        (of_revision, "in a revision"),
        (and_(Instance.revision.is_(None), Study.open), "open"),
        else_="nowhere",
    )


def _images(session: Session, since: datetime, until: datetime) -> dict[str, int]:
    place = _place().label("place")
    arrived = (Instance.received_at >= since, Instance.received_at < until)
    rows = select(place).select_from(Instance).join(Study, Study.id == Instance.study_id).where(*arrived).subquery()
    counted = session.execute(select(rows.c.place, func.count()).group_by(rows.c.place))
    return dict.fromkeys(("set aside", "in a revision", "open", "nowhere"), 0) | {row[0]: row[1] for row in counted}


def _states(session: Session, since: datetime, until: datetime) -> dict[State, int]:
    counted = session.execute(select(Job.state, func.count()).where(*_born(since, until)).group_by(Job.state))
    return dict.fromkeys(State, 0) | {State(row[0]): row[1] for row in counted}


def _deliveries(session: Session, since: datetime, until: datetime, stage: Stage) -> dict[str, Deliveries]:
    condition = case(
        (Outbox.finished_at.is_not(None), "delivered"),
        (Outbox.dead_at.is_not(None), "dead"),
        (Outbox.held, "held"),
        else_="waiting",
    )
    born = (*_born(since, until), Outbox.stage == stage, Outbox.destination != "")
    rows = select(Outbox.destination, condition.label("condition")).join(Job).where(*born).subquery()
    columns = (rows.c.destination, rows.c.condition)
    counts = dict[str, dict[str, int]]()
    for destination, name, number in session.execute(select(*columns, func.count()).group_by(*columns)):
        counts.setdefault(destination, {})[name] = number
    return {destination: Deliveries(**each) for destination, each in sorted(counts.items())}


def _adrift(session: Session, since: datetime, until: datetime) -> list[str]:
    """Images in no revision of a closed study, unfinished revisions without work, finished ones with work left."""
    live = and_(Outbox.job_id == Job.id, Outbox.finished_at.is_(None))
    found = []
    for state, stage in NEXT.items():
        stages = BY_DESTINATION if stage in BY_DESTINATION else (stage,)
        idle = (Job.state == state, ~exists().where(live, Outbox.stage.in_(stages)))
        found += _named(session, _jobs(since, until).where(*idle), f"{state}, but no {stage} is due")
    for state in set(State) - set(NEXT):
        over = _jobs(since, until).where(Job.state == state, exists().where(live))
        found += _named(session, over, f"{state}, but work is left")
    nowhere = (
        select(Study.study_instance_uid)
        .join(Instance, Instance.study_id == Study.id)
        .where(Instance.received_at >= since, Instance.received_at < until, _place() == "nowhere")
    )
    return found + _named(session, nowhere.distinct(), "an image is in no revision")


def _jobs(since: datetime, until: datetime) -> Select[Any]:
    return select(Study.study_instance_uid).join(Job, Job.study_id == Study.id).where(*_born(since, until))


def _named(session: Session, statement: Select[Any], what: str) -> list[str]:
    return [f"study {uid}: {what}" for uid in session.scalars(statement.limit(_NAMED))]
