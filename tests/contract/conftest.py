"""What several contract suites need: the record on each database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from service.db.engine import Database
from service.db.migrate import migrate


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'record.db'}")
    else:
        database = Database(request.getfixturevalue("postgres_url"))
        with database.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    migrate(database)
    yield database
    database.close()
