"""Alembic migrations of the record; they travel with the package."""
