"""What a sender says it has of a study, held against what is here."""

import math
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import func, select, union, update
from sqlalchemy.orm import Session

from service import clock
from service.db.engine import Database
from service.db.studies import SilentStudy, close_silent_study
from service.db.tables import Instance, Job, SentObject, Study


def settle(
    db: Database,
    study: SilentStudy,
    expected: int,
    *,
    quiet_seconds: float,
    longest_seconds: float,
    results_at: Collection[str] = (),
) -> bool:
    """Close a study of which everything is here; else note why it goes on waiting, and since when.

    One of which more arrived while its sender was asked is left open: what the sender said is older than that.

    Args:
        db: the record.
        study: open and silent.
        expected: SOP instances of it that the sender has.
        quiet_seconds: of silence after which a study is complete, and its sender is asked (again).
        longest_seconds: as ``close_quiet_studies`` has it, for the words.
        results_at: destinations that are the sender itself: our results there are among what it counts.

    Returns:
        Whether it is closed now.
    """
    with db.session() as session:
        here = _here(session, study.id, results_at)
        opened_at = session.scalars(select(Study.opened_at).where(Study.id == study.id)).one()
    if here >= expected:
        return close_silent_study(db, study.id, quiet_seconds)
    words = f"{here} of {expected} images that {study.calling_ae} has are here; asked again every {quiet_seconds:g} s"
    if opened_at is not None and not math.isinf(longest_seconds):
        words += f" until {opened_at + timedelta(seconds=longest_seconds):%H:%M:%S} UTC"
    with db.begin() as session:
        mine = (Study.id == study.id, Study.open)
        session.execute(update(Study).where(*mine).values(asked_at=clock.now(), waits=words))
    return False


def _here(session: Session, study_id: int, results_at: Collection[str]) -> int:
    """Different SOP instances of a study: received (also in two versions, or removed since), or made by us and sent."""
    received = select(Instance.sop_instance_uid).where(Instance.study_id == study_id)
    sent = select(SentObject.sop_instance_uid).join(Job, Job.id == SentObject.job_id)
    sent = sent.where(Job.study_id == study_id, SentObject.stored, SentObject.destination.in_(results_at))
    return session.scalars(select(func.count()).select_from(union(received, sent).subquery())).one()
