"""The record: studies, instances, jobs, outbox, artifacts. SQLAlchemy 2 on SQLite (WAL) and PostgreSQL."""
