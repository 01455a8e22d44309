"""How many studies wait to be analyzed, and whose new ones are refused while there are too many.

What a dead destination has not taken yet does not count: nothing here gets quicker by refusing images because of it.
"""

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.engine import Database
from service.db.tables import Job, Outbox, Study
from service.domain.errors import Busy
from service.domain.job import Stage

_REMEMBERED_SECONDS = 1.0  # a limit of studies need not be exact to the last one; a query for each image would cost


def waiting_studies(session: Session) -> int:
    """Studies that still receive images, or whose images wait for analysis or report without anybody's help."""
    open_ones = session.scalars(select(func.count()).where(Study.open)).one()
    queued = (
        select(func.count(Job.study_id.distinct()))
        .join(Outbox, Outbox.job_id == Job.id)
        .join(Study, Study.id == Job.study_id)
        .where(
            ~Study.open,
            Outbox.stage.in_((Stage.ANALYZE, Stage.REPORT)),
            Outbox.finished_at.is_(None),
            Outbox.dead_at.is_(None),
            ~Outbox.held,
        )
    )
    return open_ones + session.scalars(queued).one()


class Backlog:
    """The door for new studies; safe for many threads. Those that are open may always be finished."""

    def __init__(self, db: Database, most: int) -> None:
        """``most``: studies that may wait; 0: any number, and the database is never asked."""
        self._db, self._most = db, most
        self._known = (float("-inf"), False)

    def full(self) -> bool:
        """Whether as many studies wait as may."""
        if not self._most:
            return False
        asked_at, full = self._known
        if time.monotonic() - asked_at >= _REMEMBERED_SECONDS:
            with self._db.session() as session:
                full = waiting_studies(session) >= self._most
            self._known = time.monotonic(), full
        return full

    def welcome(self, calling_ae: str) -> bool:
        """Whether anything of this sender can be taken: there is room, or it is in the middle of a study."""
        if not self.full():
            return True
        with self._db.session() as session:
            theirs = select(Study.id).where(Study.open, Study.calling_ae == calling_ae).limit(1)
            return session.scalars(theirs).first() is not None

    def admit(self, study_instance_uid: str) -> None:
        """Let an image of this study in. Raises Busy if it would be one study more than may wait."""
        if not self.full():
            return
        with self._db.session() as session:
            known = select(Study.id).where(Study.open, Study.study_instance_uid == study_instance_uid)
            if session.scalars(known).first() is None:
                message = f"{self._most} studies wait (listener.max_waiting_studies); send again later"
                raise Busy(message)
