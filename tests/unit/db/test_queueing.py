"""How long the first in line has waited."""

from datetime import timedelta
from pathlib import Path

from service import clock
from service.db.queueing import longest_waits
from service.domain.job import Stage, State
from tests.unit.web.rows import dead, done, site


def test_the_first_in_line(tmp_path: Path) -> None:
    """A silent open study waits for the relay, a due row for a worker; what runs, is held, dead or early does not."""
    made = site(tmp_path)
    now = clock.now()
    long_ago = now - timedelta(hours=5)
    with made.db.session() as session:
        assert longest_waits(session, now) == {"close": 0, "analyze": 0, "report": 0, "deliver": 0, "commit": 0}
    made.study("2.25.1", open=True, active_at=now - timedelta(seconds=90))
    made.study("2.25.2", open=True, active_at=now - timedelta(seconds=30))
    made.study("2.25.3", active_at=long_ago)
    job = made.job(made.study("2.25.4"), State.REPORTED)
    made.step(job, Stage.ANALYZE, not_before=now - timedelta(seconds=600))
    made.step(job, Stage.REPORT, not_before=long_ago, lease="x", lease_until=now + timedelta(seconds=9))
    made.step(job, Stage.DELIVER, "pacs", not_before=now - timedelta(seconds=40), lease="x", lease_until=long_ago)
    made.step(job, Stage.DELIVER, "ehr", not_before=long_ago, held=True)
    made.step(job, Stage.DELIVER, "folder", not_before=long_ago, **dead("x"))
    made.step(job, Stage.DELIVER, "late", not_before=now + timedelta(seconds=60))
    made.step(job, Stage.COMMIT, "pacs", not_before=long_ago, **done())
    with made.db.session() as session:
        assert longest_waits(session, now) == {"close": 90, "analyze": 600, "report": 0, "deliver": 40, "commit": 0}
    made.db.close()
