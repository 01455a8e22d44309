"""Recovery from each storage: a stored image without a row is found, read and taken up, wherever it lies."""

import io
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from service import clock
from service.db.engine import Database
from service.db.migrate import migrate
from service.db.tables import Instance
from service.domain.errors import OutOfResources
from service.domain.study import ReceivedInstance, Recorded
from service.listener.intake import Intake
from service.listener.recovery import EVER, Found, Recovery
from service.storage import Storage
from tests.contract.test_storage import storage
from tests.unit.listener.raw_scu import image, part10

__all__ = ["storage"]  # a fixture that stands for itself


class NoRecordError(Exception):
    """The database is away."""


def test_a_file_without_a_row_is_taken_up(storage: Storage, tmp_path: Path) -> None:
    """Once, under its key, with its size; if it vanishes then, its study is named."""
    keys = []

    def fail(group: Sequence[ReceivedInstance]) -> Sequence[Recorded]:
        keys.append((group[0].storage_key, group[0].size))
        raise NoRecordError

    with pytest.raises(OutOfResources):
        Intake(storage, fail, lambda _: None, 1 << 26).accept_file(io.BytesIO(part10(image(1))), "PANO1")
    db = Database(f"sqlite:///{tmp_path / 'record.db'}")
    migrate(db)
    recovery = Recovery(db, storage, 1 << 26, timedelta(0), timedelta(seconds=1))
    assert list(recovery.take_up(EVER))[-1] == {Found.TAKEN_UP: 1}
    assert not list(recovery.take_up(EVER))[-1]
    with db.session() as session:
        assert session.execute(select(Instance.storage_key, Instance.size)).all() == keys
    assert not list(recovery.missing())
    storage.remove(keys[0][0], clock.now() + timedelta(seconds=2))
    assert len(list(recovery.missing())) == 1
    db.close()
