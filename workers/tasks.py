"""The Celery tasks: one line for each stage. All that matters happens in ``workers.pipeline``."""

import importlib
from collections.abc import Collection

from celery import Celery, Task, signals

from service.broker import task_name
from service.db.outbox import holder_name
from service.domain.job import Stage
from service.settings import Settings
from workers.app import build_app, context_once
from workers.pipeline import run
from workers.pool import PoolKeeper


def worker_app(settings: Settings, stages: Collection[str]) -> Celery:
    """The Celery application of a worker, with one task for each stage.

    Args:
        settings: of the installation.
        stages: that it will be asked for; models are imported before the pool forks, so that its processes share them.
    """
    if Stage.ANALYZE in stages:
        importlib.import_module("workers.models.shipped")
    signals.setup_logging.connect(_keep_logging, weak=False)
    app = build_app(settings)
    holder = holder_name()  # named after the parent of the pool: its death ends the leases
    PoolKeeper(settings, holder).watch()
    context = context_once(settings, holder)

    def do_stage(task: Task, outbox_id: int) -> None:
        run(context(), outbox_id, task.request.id)

    for stage in Stage:
        app.task(name=task_name(stage), bind=True)(do_stage)
    return app


def _keep_logging(**_: object) -> None:
    """Being connected is enough: Celery then leaves our logging as it is."""
