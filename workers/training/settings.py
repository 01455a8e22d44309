"""Changes to a task's plan by name, as ``--set KEY=VALUE`` and the search give them."""

import dataclasses
import math
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from service.domain.errors import ConfigurationError

_Plan = TypeVar("_Plan")
_SWITCH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
#: What the data decide, or an option of its own: nothing for --set.
FIXED = frozenset({"classes", "network", "augmentation", "masks", "minutes", "seed", "threads", "device"})
_SIDES = 2  # rows and columns
_MUCH, _ABOVE_0, _BELOW_1 = math.inf, sys.float_info.min, math.nextafter(1, 0)
_SHARE = (0, 1, "from 0 to 1")
_FACTOR = (0, 10, "from 0 to 10")
#: Settings by name, of whatever task: least and most of each of its numbers, and the same in words.
_RANGES: dict[str, tuple[float, float, str]] = {
    "batch": (1, _MUCH, "at least 1"),
    "patience": (0, _MUCH, "0 (off) or more"),
    "learning_rate": (_ABOVE_0, 1, "more than 0 and at most 1"),
    "weight_decay": _FACTOR,
    "weights": (_ABOVE_0, _MUCH, "more than 0"),
    "deviation": (_ABOVE_0, _MUCH, "more than 0"),
    "growing": (_ABOVE_0, 1, "more than 0 and at most 1"),
    "rotation": (0, 180, "from 0 to 180 degrees"),
    **dict.fromkeys(("dropout", "averaging", "smoothing"), (0, _BELOW_1, "at least 0 and less than 1")),
    **dict.fromkeys(("size", "canvas", "small", "large"), (16, 8192, "from 16 to 8192 pixels")),
    **dict.fromkeys(("mixup", "cutmix", "balance", "shift", "invert", "blur", "erasing", "erased", "noise"), _SHARE),
    **dict.fromkeys(("strength", "contest", "zoom", "stretch", "contrast", "gamma", "colour"), _FACTOR),
}


def with_settings(plan: _Plan, settings: Mapping[str, Any], task: str) -> _Plan:
    """A plan (a dataclass) with some of its fields changed; text becomes what the field holds.

    Raises:
        ConfigurationError: the task has no such setting, or the value is of another kind.
    """
    known = {field.name for field in dataclasses.fields(plan)} - FIXED  # type: ignore[arg-type]  # any dataclass
    # a network can be given by code only
    written = {key for key, value in settings.items() if key != "network" or isinstance(value, str)}
    unknown = sorted(written - known)
    if unknown:
        message = f"task {task} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}"
        raise ConfigurationError(message)
    changes = {key: fitting(key, value, getattr(plan, key)) for key, value in settings.items()}
    return dataclasses.replace(plan, **changes)  # type: ignore[type-var]  # any dataclass


def fitting(key: str, value: Any, like: Any) -> Any:  # noqa: ANN401 - settings come from anywhere
    """A value in the type of another one; several numbers may come as text with commas.

    Raises:
        ConfigurationError: it is of another kind, too few or too many numbers, or out of the setting's range.
    """
    try:
        fitted = _typed(value, like)
    except (KeyError, TypeError, ValueError) as error:
        message = f"setting {key} is {_written(value)!r}; it must be {_wanted(like)}"
        raise ConfigurationError(message) from error
    low, high, words = _RANGES.get(key, _SHARE if key.endswith("_share") else (-math.inf, math.inf, ""))
    numbers = fitted if isinstance(fitted, tuple) else (fitted,)
    if words and not all(low <= number <= high for number in numbers):  # not a number is in no range
        message = f"setting {key} is {_written(value)}; it must be {words}"
        raise ConfigurationError(message)
    return fitted


def _typed(value: Any, like: Any) -> Any:  # noqa: ANN401 - settings come from anywhere
    if isinstance(like, bool):
        return _SWITCH[str(value).lower()]
    if isinstance(like, tuple):
        kind = type(like[0]) if like else float
        parts = tuple(kind(part) for part in (value.split(",") if isinstance(value, str) else value))
        if len(like) == _SIDES != len(parts):
            raise ValueError
        return parts
    if isinstance(value, bool) and isinstance(like, int | float):
        raise TypeError
    if isinstance(value, type(like)):
        return value
    if isinstance(like, int) and isinstance(value, float) and not value.is_integer():
        raise ValueError
    return type(like)(value)


def _wanted(like: object) -> str:
    if isinstance(like, StrEnum):
        return f"one of {', '.join(type(like))}"
    if isinstance(like, bool):
        return "true or false"
    return f"like {_written(like)}" if like != () else "numbers with commas between them, like 1,2.5"


def _written(value: object) -> object:
    """As a person writes it behind ``--set``."""
    return ",".join(str(part) for part in value) if isinstance(value, tuple | list) else value
