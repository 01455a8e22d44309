"""How Alembic reaches the database: by the connection it is given by ``dentgate migrate``, never one of its own."""

from typing import Literal

from alembic import context
from sqlalchemy import Connection, text

from service.db.tables import Base, UtcDateTime

LOCK_ID = 7_364_428  # any constant: two starting processes must not migrate at once


def _render(kind: str, item: object, _context: object) -> str | Literal[False]:
    """A migration must not depend on the classes of today's tables."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def run() -> None:
    """Apply migrations in the transaction that ``service.db.migrate`` began: all of them or none, on SQLite too."""
    connection: Connection = context.config.attributes["connection"]
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_ID})"))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        render_item=_render,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
