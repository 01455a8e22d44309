"""Performed procedure steps: a modality says which images it made, so their study need not wait for silence."""

import json
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service import clock
from service.db.engine import Database
from service.db.studies import close_study
from service.db.tables import Instance, ProcedureStep, Study

IN_PROGRESS, COMPLETED, DISCONTINUED = "IN PROGRESS", "COMPLETED", "DISCONTINUED"
STATUSES = (IN_PROGRESS, COMPLETED, DISCONTINUED)
_KEPT = timedelta(days=1)  # images that are not here by then are not coming
_LOOKED_UP = 500


def create(db: Database, uid: str, calling_ae: str, status: str, studies: Sequence[str]) -> bool:
    """Note a step that has begun; False if it is known already."""
    with db.begin() as session:
        if _find(session, uid) is not None:
            return False
        step = ProcedureStep(sop_instance_uid=uid, calling_ae=calling_ae, updated_at=clock.now(), status=status)
        step.studies, step.instances = json.dumps(studies), "[]"
        session.add(step)
        return True


def change(db: Database, uid: str, status: str, instances: Sequence[str]) -> str | None:
    """Note what became of a step.

    Args:
        db: the record.
        uid: of the step.
        status: empty leaves it as it is.
        instances: SOP Instance UIDs that it made; empty leaves them as they are.

    Returns:
        The status before, None if no such step is known. One that had ended is not changed any more.
    """
    with db.begin() as session:
        step = _find(session, uid)
        if step is None:
            return None
        before = step.status
        if before == IN_PROGRESS:
            step.status, step.updated_at = status or before, clock.now()
            step.instances = json.dumps(instances) if instances else step.instances
        return before


def close_completed_studies(db: Database) -> int:
    """Close the studies of completed steps whose images have all arrived, without waiting for silence.

    Returns:
        The number of studies closed.
    """
    with db.session() as session:
        waiting = (ProcedureStep.status == COMPLETED, ProcedureStep.resolved_at.is_(None))
        steps = session.scalars(select(ProcedureStep).where(*waiting)).all()
        ready = [step for step in steps if _is_here(session, json.loads(step.instances))]
        expired = [step for step in steps if step.updated_at < clock.now() - _KEPT]
    closed = 0
    for step in ready:
        closed += sum(close_study(db, study_id) for study_id in _open_studies(db, step))
    for step in {step.id: step for step in (*ready, *expired)}.values():
        with db.begin() as session:
            mine = ProcedureStep.id == step.id
            session.execute(update(ProcedureStep).where(mine).values(resolved_at=clock.now()))
    return closed


def _find(session: Session, uid: str) -> ProcedureStep | None:
    query = select(ProcedureStep).where(ProcedureStep.sop_instance_uid == uid).with_for_update()
    return session.scalars(query).one_or_none()


def _is_here(session: Session, uids: Sequence[str]) -> bool:
    """Whether all of at least one instance were received; a step that names none says nothing."""
    if not uids:
        return False
    different = sorted(set(uids))
    found = 0
    for start in range(0, len(different), _LOOKED_UP):
        some = Instance.sop_instance_uid.in_(different[start : start + _LOOKED_UP])
        found += session.scalars(select(func.count(func.distinct(Instance.sop_instance_uid))).where(some)).one()
    return found == len(different)


def _open_studies(db: Database, step: ProcedureStep) -> Sequence[int]:
    """The open studies that it names, and those that hold its images (a modality may have made its own UID)."""
    uids = json.loads(step.instances)[:_LOOKED_UP]
    of_images = select(Instance.study_id).where(Instance.sop_instance_uid.in_(uids))
    named = Study.study_instance_uid.in_(json.loads(step.studies))
    with db.session() as session:
        return session.scalars(select(Study.id).where(Study.open, named | Study.id.in_(of_images))).all()
