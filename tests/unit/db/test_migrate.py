"""A database that a newer version migrated, after this one was installed again."""

from pathlib import Path

import pytest
from sqlalchemy import text

from service.db.engine import Database
from service.db.migrate import migrate, require_current
from service.domain.errors import ConfigurationError


def test_a_newer_database_is_refused_with_the_mend(tmp_path: Path) -> None:
    """An older version says that a newer one migrated the database; it neither touches it nor asks for a migration."""
    db = Database(f"sqlite:///{tmp_path / 'dentgate.db'}")
    migrate(db)
    with db.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for ask in (migrate, require_current):
        with pytest.raises(ConfigurationError, match=r"revision 9999.*a newer one.*restore the backup"):
            ask(db)
    with db.session() as session:
        assert session.scalars(text("SELECT version_num FROM alembic_version")).one() == "9999"
    db.close()
