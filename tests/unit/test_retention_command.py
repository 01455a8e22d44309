"""``dentgate retention``: names what may go, and removes it only when told to."""

from pathlib import Path

import pytest
from sqlalchemy import update

from service import clock
from service.db.engine import Database
from service.db.studies import close_quiet_studies, record_instances
from service.db.tables import Job, Outbox
from service.domain.job import State
from service.storage import open_storage, put
from tests.contract.images import IMAGE
from tests.unit.test_commands import own_logging, run

__all__ = ["own_logging"]  # a fixture that stands for itself
KEY = IMAGE.storage_key


def test_retention(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Off by default; named first; removed with ``--remove``; what is undelivered is not even named."""
    assert run(tmp_path, "migrate") == 0
    put(open_storage((tmp_path / "data").as_uri(), 0), KEY, b"image")
    db = Database(f"sqlite:///{tmp_path / 'data' / 'dentgate.db'}")
    record_instances(db, [IMAGE])
    close_quiet_studies(db, 0.0)
    capsys.readouterr()
    assert run(tmp_path, "retention") == 2
    assert "keep_days is 0" in capsys.readouterr().err
    assert run(tmp_path, "retention", "--days", "-1") == 0
    assert "1.2.3" not in capsys.readouterr().out, "not delivered"
    with db.begin() as session:
        session.execute(update(Outbox).values(finished_at=clock.now()))
        session.execute(update(Job).values(state=State.DELIVERED))
    db.close()
    assert run(tmp_path, "retention", "--days", "30") == 0
    assert "1.2.3" not in capsys.readouterr().out, "too early"
    assert run(tmp_path, "retention", "--days", "-1") == 0
    assert "1.2.3  1 images" in capsys.readouterr().out
    assert (tmp_path / "data" / KEY).exists()
    assert run(tmp_path, "retention", "--days", "-1", "--remove") == 0
    assert "1 studies" in capsys.readouterr().out
    assert not (tmp_path / "data" / KEY).exists()
    assert run(tmp_path, "reconcile", "--files") == 0, "what retention removed is no damage"
    printed = capsys.readouterr().out
    assert "removed           1 images after storage.keep_days" in printed
    assert "DAMAGED" not in printed
