"""A pool process that reads several studies at once is killed: all of them come back at once, and nobody is blamed."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_processes import pool_of, send, settings
from tests.gateway import Gateway, command_line, descendants, gateway, kill
from tests.patience import until

LEASE_SECONDS = 100  # so that it is not the end of the lease that frees a row


def analyses(running: Gateway) -> list[tuple[Any, ...]]:
    """Lease, times orphaned, times lost and attempts of each analysis, the oldest first."""
    query = "SELECT lease, orphaned, lost, attempts FROM outbox WHERE stage = 'analyze' ORDER BY id"
    with closing(sqlite3.connect(running.folder / "data" / "dentgate.db", timeout=30)) as record:
        return record.execute(query).fetchall()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_killed_process_gives_back_all_its_studies(tmp_path: Path) -> None:
    """Three of four are read at once by the process that dies; they are freed at once, run alone, and are delivered."""
    text = settings(tmp_path).replace("lease_seconds = 5", f"lease_seconds = {LEASE_SECONDS}\nstudies_at_once = 3")
    with gateway(tmp_path, text) as running:
        until(lambda: bool(pool_of(running, "analyze")), "the worker should have forked", 60)
        assert running.process is not None
        worker = [pid for pid in descendants(running.process.pid) if "--queues analyze " in command_line(pid)]
        for pid in worker:
            os.kill(pid, signal.SIGSTOP)
        for number in range(4):
            send(running, tmp_path, f"company-{number}")
        until(lambda: len(analyses(running)) == 4, "all should be due", 60)
        for pid in worker:
            os.kill(pid, signal.SIGCONT)
        until(lambda: sum(bool(row[0]) for row in analyses(running)) == 3, "three should be at work", 120)
        assert len({row[0].rsplit("/", 1)[0] for row in analyses(running) if row[0]}) == 1, "for one task"
        (process,) = pool_of(running, "analyze")
        kill(process)
        until(lambda: [row[1:3] for row in analyses(running)] == [(1, 0)] * 3 + [(0, 0)], "free, nobody blamed", 40)
        running.wait_for(4, ("delivered",), seconds=240)
        assert [row[1:] for row in analyses(running)] == [(1, 0, 2)] * 3 + [(0, 0, 1)]
