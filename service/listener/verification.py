"""Stored instances against the record: is every file there, and are its bytes those that were received?"""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import func, select

from service.db.engine import Database
from service.db.tables import Instance, Study
from service.storage import Storage
from service.storage.integrity import is_intact

_ROWS = 500


def verify(db: Database, storage: Storage, since: datetime, until: datetime) -> Iterator[str]:
    """Read every instance received in a time again, but for those that retention removed.

    Yields:
        For each file that vanished, cannot be read or was altered a line that names study, instance and file.
    """
    query = (
        select(Instance.id, Instance.storage_key, Instance.sha256, Instance.sop_instance_uid, Study.study_instance_uid)
        .join(Study, Study.id == Instance.study_id)
        .where(Instance.received_at >= since, Instance.received_at < until, Instance.storage_key != "")
        .order_by(Instance.id)
        .limit(_ROWS)
    )
    last = 0
    while True:
        with db.session() as session:  # page by page: reading takes long, and a transaction must not stay open
            rows = session.execute(query.where(Instance.id > last)).all()
        if not rows:
            return
        for row in rows:
            if problem := _problem(storage, row.storage_key, row.sha256):
                instance = f"study {row.study_instance_uid}: instance {row.sop_instance_uid}"
                yield f"DAMAGED           {instance} {problem}: {row.storage_key}"
        last = rows[-1].id


def removed(db: Database, since: datetime, until: datetime) -> int:
    """How many instances received in a time retention has removed (storage.keep_days)."""
    theirs = (Instance.received_at >= since, Instance.received_at < until, Instance.storage_key == "")
    with db.session() as session:
        return session.scalars(select(func.count(Instance.id)).where(*theirs)).one()


def _problem(storage: Storage, key: str, sha256: str) -> str:
    """What is wrong with a file, empty if nothing is."""
    try:
        with storage.open(key) as file:
            return "" if is_intact(file, sha256) else "was altered in storage"
    except FileNotFoundError:
        return "has vanished from storage"
    except OSError as error:
        return f"cannot be read ({type(error).__name__})"
