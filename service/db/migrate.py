"""Bring the database to the newest migration, or tell that it is not there yet."""

import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from service.db.engine import Database
from service.domain.errors import ConfigurationError

FOLDER = Path(__file__).resolve().parents[2] / "migrations"


def migrate(db: Database) -> str:
    """Apply what is missing; the revision reached.

    Raises:
        ConfigurationError: the database cannot be reached or refuses; one line with cause and mend.
    """
    try:
        with db.engine.connect():
            pass  # creates the SQLite file in WAL mode before Alembic opens it
        command.upgrade(_config(db), "head")
    except OperationalError as error:
        message = f"database: {type(error.orig).__name__}; is it running, is database.url right?"
        raise ConfigurationError(message) from None
    except SQLAlchemyError as error:
        message = f"migration failed: {type(error).__name__}; restore the backup or ask for help with this version"
        raise ConfigurationError(message) from error
    return head(db)


def head(db: Database) -> str:
    """The newest revision this version of Dentgate knows."""
    return ScriptDirectory.from_config(_config(db)).get_current_head() or ""


def current(db: Database) -> str:
    """The revision the database is at, empty if it was never migrated."""
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def require_current(db: Database) -> None:
    """Raises ConfigurationError when the database is not at the newest revision."""
    if current(db) != head(db):
        message = "the database is not up to date; run `dentgate migrate` first"
        raise ConfigurationError(message)


def _config(db: Database) -> Config:
    config = Config()
    config.set_main_option("script_location", os.fspath(FOLDER).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", db.url.replace("%", "%%"))
    return config
