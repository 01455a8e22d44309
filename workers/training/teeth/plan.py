"""How to train; what a bundle must remember of it."""

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

from service.domain.errors import ConfigurationError
from workers.training.task import Training

MEAN, DEVIATION = 0.45, 0.25  # of standardized panoramics


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train; what is not the minutes seldom needs changing."""

    minutes: float
    seed: int = 0
    batch: int = 4
    learning_rate: float = 2.5e-3
    small: tuple[int, int] = (224, 448)
    large: tuple[int, int] = (256, 512)
    small_share: float = 0.4  # of the minutes at the small size
    phantom_share: float = 0.12
    films: str = ""  # folder of films without tooth numbers, for the shipped model to number first; empty = none
    numbered: str = ""  # folder of films that a model numbered before (``self_training``); empty = none
    numbered_share: float = 0.27
    few_share: float = 0.45  # of the labelled films drawn are ones with teeth missing, where there are any
    channels: tuple[int, ...] = (32, 64, 128, 192, 256)
    features: int = 32
    res_units: int = 2
    threads: int = 1


def plan_of(order: Training) -> Plan:
    """The plan of an order. Raises ConfigurationError for a setting that it does not have."""
    known = {field.name for field in dataclasses.fields(Plan)}
    unknown = sorted(set(order.settings) - known)
    if unknown:
        message = f"task teeth has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}"
        raise ConfigurationError(message)
    plan = Plan(minutes=order.minutes, seed=order.seed, threads=order.threads)
    values = {key: _like(getattr(plan, key), value, key) for key, value in order.settings.items()}
    return dataclasses.replace(plan, **cast("dict[str, Any]", values))


def _like(default: Any, value: Any, key: str) -> object:  # noqa: ANN401 - settings come from anywhere
    """A setting in the type of its default; text comes from a command line."""
    try:
        if isinstance(default, tuple):
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(int(part) for part in parts)
        return type(default)(value)
    except (TypeError, ValueError) as error:
        message = f"setting {key} is {value!r}; it must be like {default!r}"
        raise ConfigurationError(message) from error
