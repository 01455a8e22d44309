"""A worker's bench for the tests of the stages; models stay warm."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.bootstrap import build
from service.db import outbox
from service.db.migrate import migrate
from tests.bench import Bench, Unserved, allowing, settings
from workers.app import Context
from workers.models import LoadedModel, Model
from workers.models.shipped import MODELS


@pytest.fixture(scope="session")
def shipped() -> dict[str, LoadedModel]:
    """The models that ship, once they were asked for: they are the same for every test."""
    return {}


@pytest.fixture(scope="module")
def load(shipped: dict[str, LoadedModel]) -> Callable[[Model], LoadedModel]:
    """Loads a model once, as a worker does for all its jobs; one that a test made is kept for its module."""
    own: dict[str, LoadedModel] = {}

    def load_once(model: Model) -> LoadedModel:
        warm = shipped if any(model is each for each in MODELS) else own
        if model.name not in warm:
            warm[model.name] = model.load("cpu")
        return warm[model.name]

    return load_once


@pytest.fixture
def bench(tmp_path: Path, load: Callable[[Model], LoadedModel]) -> Iterator[Callable[[str], Bench]]:
    """Makes a bench from settings."""
    made: list[Bench] = []

    def make(text: str = "") -> Bench:
        chosen = settings(tmp_path, text or allowing(tmp_path / "out"))
        services = replace(build(chosen), broker=Unserved(chosen.broker.url))
        migrate(services.db)
        made.append(Bench(Context(services, load, outbox.holder_name(), lambda: MODELS), tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.services.db.close()
