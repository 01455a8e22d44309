"""Which figure of a task's report matters most: for the search, and for folds side by side."""

import json
import math
from typing import Any

from service.domain.errors import ConfigurationError

#: Which figure of a report is searched for, the first that it has; False: less is better.
AIMS: tuple[tuple[str, bool], ...] = (
    ("boxes.macro.auc.value", True),
    ("macro.auc.value", True),
    ("all.f1", True),
    ("f1.value", True),
    ("smape_two.value", False),
    ("type_agreement.value", True),
)


def aim_of(report: dict[str, Any]) -> tuple[str, float]:
    """Name and height of the figure, negative where less is better. Raises ConfigurationError where there is none."""
    numbers = numbers_of(report)
    for name, more in AIMS:
        if name in numbers and math.isfinite(numbers[name]):
            return name, numbers[name] if more else -numbers[name]
    message = f"the report has none of the figures to search for: {', '.join(name for name, _ in AIMS)}"
    raise ConfigurationError(message)


def numbers_of(report: dict[str, Any], inside: str = "") -> dict[str, float]:
    """The finite numbers of a report by their dotted place, counts as int; lists are left out."""
    found: dict[str, float] = {}
    for key, value in json.loads(json.dumps(report, default=str)).items():
        place = f"{inside}{key}"
        if isinstance(value, dict):
            found |= numbers_of(value, f"{place}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[place] = value
    return found
