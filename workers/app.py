"""The Celery application of a worker process, and what it holds for its whole life: services and warm models."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from service import bootstrap
from service.bootstrap import Services
from service.broker import celery_app
from service.settings import Settings
from workers.models import KNOWN, MODELS, LoadedModel, Model
from workers.models.dropped_in import with_dropped_in

HARD_LIMIT_MARGIN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage works with.

    Attributes:
        services: database, storage, broker, settings.
        load: gives a model's loaded form; loaded once for each process, kept warm.
        holder: who holds the leases of this process.
        models: in the order in which they run; those that ship and those that the site dropped into its folder.
    """

    services: Services
    load: Callable[[Model], LoadedModel]
    holder: str
    models: Sequence[Model] = MODELS


def hard_limit_seconds(settings: Settings) -> int:
    """When a stage's process is killed; its lease is not renewed beyond that."""
    return settings.analysis.soft_limit_seconds + HARD_LIMIT_MARGIN_SECONDS


def models_of(settings: Settings) -> Sequence[Model]:
    """The models that ship, and those of the folder of bundles that the settings name, if it is there."""
    return with_dropped_in(MODELS, Path(settings.analysis.bundles), KNOWN)


def build_app(settings: Settings) -> Celery:
    """The Celery application for these settings; its limits are those of the settings."""
    hard = hard_limit_seconds(settings)
    app = celery_app(settings.broker.url, hard)
    analysis = settings.analysis
    app.conf.update(
        task_soft_time_limit=analysis.soft_limit_seconds,
        task_time_limit=hard,
        worker_max_tasks_per_child=analysis.recycle_after_tasks or None,
        worker_max_memory_per_child=(analysis.recycle_above_mb << 10) or None,
    )
    return app


def context_once(settings: Settings, holder: str) -> Callable[[], Context]:
    """A function that makes the context at its first call, which must be after the pool has forked."""

    @functools.cache
    def context() -> Context:
        warm: dict[str, LoadedModel] = {}

        def load(model: Model) -> LoadedModel:
            if model.name not in warm:
                warm[model.name] = model.load(settings.analysis.device)
            return warm[model.name]

        return Context(bootstrap.build(settings), load, holder, models_of(settings))

    return context
