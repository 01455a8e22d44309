"""Why something waits, in words: every study that is not finished says it."""

from datetime import datetime, timedelta

from service.db.tables import Outbox, Study

_NEWS = timedelta(seconds=10)  # what waits for less is as it should be
_WORKERS = {"analyze": "`dentgate worker --queues analyze`"}
_OTHER_WORKERS = "a `dentgate worker` for this stage"


def why_row(row: Outbox, now: datetime) -> str:
    """Why nobody works on a row that is due; empty if it is held, at work, or waits for no longer than it should."""
    if row.finished_at or row.dead_at or row.held or (row.lease and row.lease_until and row.lease_until > now):
        return ""
    if row.lease:
        return "the worker that had it is gone; it is taken up again now"
    if row.not_before > now + _NEWS:
        return f"not before {row.not_before:%H:%M:%S} UTC"
    if row.rung_at is None:
        late = now - row.not_before > _NEWS
        return f"not rung for since {_ago(now - row.not_before)}; does `dentgate relay` run?" if late else ""
    if now - row.not_before <= _NEWS:
        return ""
    who = _WORKERS.get(row.stage, _OTHER_WORKERS)
    return f"no worker was free for {_ago(now - row.not_before)}; others are before it, or {who} does not run"


def why_open(study: Study, now: datetime) -> str:
    """What an open study waits for."""
    if study.waits and study.asked_at and study.asked_at >= study.active_at:
        return f"although it is silent: {study.waits}"
    sender = study.calling_ae or "its sender"
    return f"until {sender} is silent or says that it is complete; last sign of life {_ago(now - study.active_at)} ago"


def _ago(time: timedelta) -> str:
    seconds = max(int(time.total_seconds()), 0)
    minutes, hours = seconds // 60, seconds // 3600
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min" if minutes > 1 else f"{seconds} s"
