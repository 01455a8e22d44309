"""Changes to a task's plan by name, as ``--set KEY=VALUE`` and the search give them."""

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from service.domain.errors import ConfigurationError

_Plan = TypeVar("_Plan")
_SWITCH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def with_settings(plan: _Plan, settings: Mapping[str, Any], task: str) -> _Plan:
    """A plan (a dataclass) with some of its fields changed; text becomes what the field holds.

    Raises:
        ConfigurationError: the task has no such setting, or the value is of another kind.
    """
    known = {field.name for field in dataclasses.fields(plan)}  # type: ignore[arg-type]  # any dataclass
    unknown = sorted(set(settings) - known)
    if unknown:
        message = f"task {task} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}"
        raise ConfigurationError(message)
    changes = {key: fitting(key, value, getattr(plan, key)) for key, value in settings.items()}
    if not 0 <= changes.get("dropout", 0.0) < 1:
        message = f"setting dropout is {changes['dropout']}; it must be at least 0 and less than 1"
        raise ConfigurationError(message)
    return dataclasses.replace(plan, **changes)  # type: ignore[type-var]  # any dataclass


def fitting(key: str, value: Any, like: Any) -> Any:  # noqa: ANN401 - settings come from anywhere
    """A value in the type of another one; several numbers may come as text with commas. Raises ConfigurationError."""
    try:
        if isinstance(like, bool):
            return _SWITCH[str(value).lower()]
        if isinstance(like, tuple):
            kind = type(like[0]) if like else float
            return tuple(kind(part) for part in (value.split(",") if isinstance(value, str) else value))
        if isinstance(value, type(like)):
            return value
        if isinstance(like, int) and isinstance(value, float) and not value.is_integer():
            raise ValueError  # noqa: TRY301 - told below, like every other misfit
        return type(like)(value)
    except (KeyError, TypeError, ValueError) as error:
        wanted = f"one of {', '.join(type(like))}" if isinstance(like, StrEnum) else f"like {like!r}"
        message = f"setting {key} is {value!r}; it must be {wanted}"
        raise ConfigurationError(message) from error
