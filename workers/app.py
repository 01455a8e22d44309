"""The Celery application of a worker process, and what it holds for its whole life: services and warm models."""

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from celery import Celery

from service import bootstrap
from service.bootstrap import Services
from service.broker import celery_app
from service.settings import Settings
from workers.models import LoadedModel, Model

HARD_LIMIT_MARGIN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage works with.

    Attributes:
        services: database, storage, broker, settings.
        load: gives a model's loaded form; loaded once for each process, kept warm.
        holder: who holds the leases of this process.
        models: gives the models in the order in which they run; those that ship and those that the site dropped into
            its folder. Only the analysis asks for them.
        at_once: how many studies this process reads at once. Only the analysis asks.
    """

    services: Services
    load: Callable[[Model], LoadedModel]
    holder: str
    models: Callable[[], Sequence[Model]]
    at_once: Callable[[], int] = lambda: 1


def hard_limit_seconds(settings: Settings) -> int:
    """When a stage's process is killed; its lease is not renewed beyond that."""
    return settings.analysis.soft_limit_seconds + HARD_LIMIT_MARGIN_SECONDS


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
    loading = threading.Lock()  # several threads may ask; a model is loaded once all the same

    @functools.cache
    def models() -> Sequence[Model]:
        from workers.models.shipped import models_of  # noqa: PLC0415 - brings torch; who only delivers never pays for it

        return models_of(settings)

    @functools.cache
    def at_once() -> int:
        from workers.inference import studies_at_once  # noqa: PLC0415 - the same

        return studies_at_once(settings.analysis)

    @functools.cache
    def context() -> Context:
        warm: dict[str, LoadedModel] = {}

        def load(model: Model) -> LoadedModel:
            with loading:
                if model.name not in warm:
                    warm[model.name] = model.load(settings.analysis.device)
                return warm[model.name]

        return Context(bootstrap.build(settings), load, holder, models, at_once)

    return context
