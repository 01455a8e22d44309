"""The door to the database: one engine, read sessions and write transactions, on SQLite (WAL) and PostgreSQL.

SQLite lets one writer in at a time. A write transaction therefore begins with BEGIN IMMEDIATE: it waits for its turn at
the start instead of failing in the middle, and ``synchronous=FULL`` makes a commit survive a power cut.
Errors hide their parameters, which may be patient data.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session

from service.domain.errors import ConfigurationError, Transient

BUSY_SECONDS = 30.0
_LOCK_MS, _IDLE_MS = 20_000, 60_000
#: A peer that vanished without a word is noticed within a minute, not after TCP's own quarter of an hour.
_PSYCOPG = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


class Database:
    """One engine for a process. Create it after forking, never before."""

    def __init__(self, url: str) -> None:
        """Open lazily. Raises ConfigurationError for a URL that SQLAlchemy does not understand."""
        self.url = url
        self.engine = _engine(url)
        self._writing = self.engine.execution_options(dentgate_write=True)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session for reading; nothing is committed."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A write transaction: committed at the end, rolled back on any exception."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in a write transaction, for Alembic."""
        with self._writing.begin() as connection:
            yield connection

    def check(self) -> None:
        """Raises Transient when the database does not answer."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError as error:
            raise Transient(unreachable(error)) from None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def unreachable(error: OperationalError) -> str:
    """One line on why the database cannot be reached, in its own words (psycopg's and SQLite's name no password)."""
    words = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    return f"database does not answer: {words[0]}; is it running, is database.url right?"


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(url, parsed.database)
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=5,
            max_overflow=20,
            connect_args=_PSYCOPG,
        )
        event.listen(engine, "connect", _prepare_postgresql)
    except (ArgumentError, ImportError) as error:
        message = f"database.url: {error}; use sqlite:///FILE or postgresql+psycopg://user:password@host/name"
        raise ConfigurationError(message) from None
    return engine


def _sqlite(url: str, database: str | None) -> Engine:
    if not database or database == ":memory:":
        message = "database.url: SQLite in memory is not durable and not shared; name a file: sqlite:///FILE"
        raise ConfigurationError(message)
    try:
        Path(database).absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"database folder of {database}: {error.strerror}; create it or change database.url (or --data)"
        raise ConfigurationError(message) from None
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_postgresql(connection: Any, _record: object) -> None:  # noqa: ANN401 - psycopg's, which SQLAlchemy wraps
    """Nobody waits for a lock for ever, and a machine that vanished within a transaction loses its locks."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {_LOCK_MS}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_MS}")
    connection.commit()


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see _begin_sqlite
    cursor: Any = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={int(BUSY_SECONDS * 1000)}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("dentgate_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
