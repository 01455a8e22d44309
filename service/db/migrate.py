"""Bring the database to the newest migration, or tell that it is not there yet."""

import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from service.db.engine import Database, unreachable
from service.domain.errors import ConfigurationError

FOLDER = Path(__file__).resolve().parents[2] / "migrations"


def migrate(db: Database) -> str:
    """Apply what is missing; the revision reached.

    Raises:
        ConfigurationError: the database cannot be reached, refuses, or was migrated by a newer version; one line with
            cause and mend.
    """
    try:
        with db.connection() as connection:
            _require_known(MigrationContext.configure(connection).get_current_revision())
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise ConfigurationError(unreachable(error)) from None
    except SQLAlchemyError as error:
        message = f"migration failed: {type(error).__name__}; restore the backup or ask for help with this version"
        raise ConfigurationError(message) from error
    return head()


def head() -> str:
    """The newest revision this version of Dentgate knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def current(db: Database) -> str:
    """The revision the database is at, empty if it was never migrated. Raises ConfigurationError when it is away."""
    try:
        with db.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() or ""
    except OperationalError as error:
        raise ConfigurationError(unreachable(error)) from None


def require_current(db: Database) -> None:
    """Raises ConfigurationError when the database is not at the newest revision."""
    found = current(db)
    _require_known(found)
    if found != head():
        message = "the database is not up to date; run `dentgate migrate` first"
        raise ConfigurationError(message)


def _require_known(revision: str | None) -> None:
    """Raises ConfigurationError for a revision of a newer version: this one went back, the database did not."""
    if revision and revision not in {
        script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()
    }:
        message = (
            f"the database is at revision {revision}, which this version of Dentgate does not know: a newer one "
            "migrated it; install that again, or restore the backup that was made before (docs/operations.md)"
        )
        raise ConfigurationError(message)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", os.fspath(FOLDER).replace("%", "%%"))
    return config
