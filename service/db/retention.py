"""Which received images may be removed: those of studies whose every result has reached every destination.

What is undelivered, held, dead, open or being worked on keeps its images however old it is. Rows, results and analyses
stay: they are the record. An image that is removed loses its ``storage_key``; sent again, it is there again. Of an
image that was analyzed the header stays, because its report may still be signed, corrected or withdrawn.
"""

import errno
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, exists, select, update
from sqlalchemy.orm import Session

from service import clock
from service.db.engine import Database
from service.db.tables import Artifact, Commitment, Instance, Job, Outbox, Study
from service.domain.errors import Declined, OutOfResources
from service.domain.job import NEXT
from service.storage import Storage
from service.storage.headers import keep_header

_LOG = logging.getLogger(__name__)
_STUDIES = 100


@dataclass(frozen=True, slots=True)
class Expired:
    """A study whose images may go, the keys of those images, and since when nothing has changed."""

    study_id: int
    study_instance_uid: str
    keys: tuple[str, ...]
    before: datetime


def expired(db: Database, before: datetime, most: int = _STUDIES) -> list[Expired]:
    """Studies of which nothing is left to do and nothing has changed since a time, the oldest first."""
    stored = exists().where(Instance.study_id == Study.id, Instance.storage_key != "")
    unanswered = and_(Commitment.answered_at.is_(None), Commitment.given_up_at.is_(None))
    finished = (
        ~Study.open,
        Study.active_at < before,
        exists().where(Job.study_id == Study.id),
        ~exists().where(Job.study_id == Study.id, Job.state.in_([state.value for state in NEXT])),
        ~exists().where(Job.study_id == Study.id, Job.updated_at >= before),
        ~exists().where(Job.study_id == Study.id, Outbox.job_id == Job.id, Outbox.finished_at.is_(None)),
        ~exists().where(Instance.study_id == Study.id, Instance.revision.is_(None), ~Instance.conflict),
        ~exists().where(Commitment.calling_ae == Study.calling_ae, unanswered),
    )
    with db.session() as session:
        studies = session.execute(
            select(Study.id, Study.study_instance_uid).where(stored, *finished).order_by(Study.id).limit(most)
        ).all()
        return [Expired(row.id, row.study_instance_uid, _keys(session, row.id), before) for row in studies]


def expire(db: Database, storage: Storage, keep: timedelta) -> int:
    """Remove images whose time has come, studies one after the other; the number of studies. Raises OSError."""
    before = clock.now() - keep
    count = 0
    while studies := expired(db, before):
        for study in studies:
            _keep_headers(db, storage, study)
            if forget(db, study):
                count += 1
                for key in study.keys:
                    storage.remove(key, before)
                _LOG.info(
                    "study %s: %d images removed, all results were delivered", study.study_instance_uid, len(study.keys)
                )
    return count


def forget(db: Database, study: Expired) -> bool:
    """Note that the images are gone, before their files are removed; False if the study has come to life again."""
    same = (Study.id == study.study_id, ~Study.open, Study.active_at < study.before)
    with db.begin() as session:
        # The study row is locked, as by who records an image: what arrives now is kept, or finds its image gone.
        if session.scalars(select(Study.id).where(*same).with_for_update()).one_or_none() is None:
            return False
        rows = session.scalars(
            update(Instance)
            .where(Instance.study_id == study.study_id, Instance.storage_key.in_(study.keys))
            .values(storage_key="")
            .returning(Instance.id)
        ).all()
        return bool(rows)


def _keep_headers(db: Database, storage: Storage, study: Expired) -> None:
    """Keep what a later signature or withdrawal needs of the images that were analyzed. Raises OSError."""
    names = select(Artifact.name).join(Job).where(Job.study_id == study.study_id, Artifact.kind == "analysis")
    images = select(Instance.sop_instance_uid, Instance.storage_key, Instance.sha256)
    with db.session() as session:
        analyzed = {name.partition("/")[0] for name in session.scalars(names)}
        found = session.execute(images.where(Instance.storage_key.in_(study.keys), ~Instance.conflict)).all()
    for image in found:
        if image.sop_instance_uid not in analyzed:
            continue
        try:
            keep_header(storage, image.storage_key, image.sha256)
        except (FileNotFoundError, Declined) as trouble:  # nothing is left that could be kept
            _LOG.warning("no header of %s can be kept: %s", image.storage_key, type(trouble).__name__)
        except OutOfResources as trouble:
            raise OSError(errno.ENOSPC, str(trouble)) from trouble


def _keys(session: Session, study_id: int) -> tuple[str, ...]:
    keys = select(Instance.storage_key).where(Instance.study_id == study_id, Instance.storage_key != "")
    return tuple(session.scalars(keys))
