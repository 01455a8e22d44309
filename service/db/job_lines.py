"""The record as lines of text, for `dentgate jobs`."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service import clock
from service.db.engine import Database
from service.db.tables import Job, Outbox, Study
from service.db.waiting import why_open
from service.domain.job import WAITS

_LISTED = 200


def job_lines(db: Database, study_uid: str | None) -> list[str]:
    """One line for each job, newest first; for one study also why it is open, and a line for each of its stages."""
    with db.session() as session:
        query = select(Job).join(Study).order_by(Job.id.desc())
        lines = []
        if study_uid is not None:
            query = query.where(Study.study_instance_uid == study_uid)
            lines = _open_lines(session, study_uid)
        for job in session.scalars(query.limit(_LISTED)):
            lines.append(f"{job.study.study_instance_uid}  revision {job.revision}  {job.state}  {job.reason}".rstrip())
            lines += [f"    {_row_line(row)}" for row in job.outbox if study_uid is not None or _in_trouble(row)]
        return lines or ["no jobs"]


def _open_lines(session: Session, study_uid: str) -> list[str]:
    opened = select(Study).where(Study.study_instance_uid == study_uid, Study.open)
    return [f"{study_uid}  receiving {why_open(study, clock.now())}" for study in session.scalars(opened)]


def _in_trouble(row: Outbox) -> bool:
    return row.dead_at is not None or row.held or (row.finished_at is None and bool(row.message))


def _row_line(row: Outbox) -> str:
    state = (
        "dead letter" if row.dead_at else "held" if row.held else "done" if row.finished_at else
        "at work" if row.lease else "waiting" if not row.message or row.message.startswith(WAITS) else "trying again"
    )  # fmt: skip
    where = f" {row.destination}" if row.destination else ""
    seconds = "" if row.seconds is None else f" in {row.seconds:.1f} s"
    return f"{row.stage}{where}: {state}{seconds}, attempts {row.attempts} {row.message}".rstrip()
