"""What a worker process brings into memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway import ROOT

_LOADED = """
import sys
from pathlib import Path
from service.settings import load_settings
from workers.tasks import worker_app
worker_app(load_settings(None, Path(sys.argv[1])), sys.argv[2:])
print(*sorted({"torch", "monai"} & set(sys.modules)))
"""


@pytest.mark.parametrize(("stages", "loaded"), [(["report", "deliver", "commit"], ""), (["analyze"], "monai torch")])
def test_only_who_analyzes_loads_torch(tmp_path: Path, stages: list[str], loaded: str) -> None:
    """A worker that reports and delivers starts without torch; one that analyzes has it before its pool forks."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, str(tmp_path), *stages], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == loaded


_NAMED = """
import sys
from pathlib import Path
from billiard.exceptions import WorkerLostError
from celery import signals
from sqlalchemy import select, update
from service.broker import task_name
from service.db import outbox
from service.db.engine import Database
from service.db.migrate import migrate
from service.db.tables import Outbox
from service.domain.job import Stage
from service.settings import load_settings
from tests.contract.test_company import studies
from workers import pipeline
from workers.tasks import worker_app

settings = load_settings(None, Path(sys.argv[1]), {"DENTGATE_BROKER__URL": "redis://127.0.0.1:1/0"})
app = worker_app(settings, ["report"])
db = Database(settings.database.url)
migrate(db)
rows = studies(db, 2)
with db.begin() as session:
    session.execute(update(Outbox).values(stage=Stage.REPORT))

def leases():
    with db.session() as session:
        return [lease.rsplit("/", 1)[0] for lease in session.scalars(select(Outbox.lease).order_by(Outbox.id))]

class Killed(BaseException):
    pass

def vanish(*_):
    print(leases()[0] == f"{outbox.holder_name()}/the-task")
    raise Killed

pipeline.STAGES[Stage.REPORT] = vanish
neighbour = outbox.claim(db, rows[1], 60, f"{outbox.holder_name()}/another")
try:
    app.tasks[task_name(Stage.REPORT)].apply(args=[rows[0]], task_id="the-task", throw=True)
except Killed:
    pass
for exception in (ValueError(), WorkerLostError()):
    signals.task_failure.send(sender=None, task_id="the-task", exception=exception, args=[rows[0]])
    print(*(bool(lease) for lease in leases()))
"""


def test_the_leases_of_a_task_end_with_its_process(tmp_path: Path) -> None:
    """They name the task; when the pool reports that its process is lost they are given back, and nobody else's."""
    done = subprocess.run(
        [sys.executable, "-c", _NAMED, str(tmp_path)], capture_output=True, text=True, timeout=200, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == ["True", "True True", "False True"], done.stderr
