"""Settings of a plan by name."""

import math
from dataclasses import dataclass
from typing import Any

import pytest

from service.domain.errors import ConfigurationError
from workers.training.settings import with_settings


@dataclass(frozen=True, slots=True)
class Plan:
    """Of a made-up task."""

    batch: int = 4
    rate: float = 0.1
    size: tuple[int, int] = (8, 8)
    mixed: bool = True
    films: str = ""
    patience: int = 0
    learning_rate: float = 0.1
    dropout: float = 0.0
    small_share: float = 0.5
    weights: tuple[float, ...] = ()


@pytest.mark.parametrize(
    ("key", "value", "becomes"),
    [
        ("batch", "8", 8),
        ("batch", 8.0, 8),
        ("rate", 1, 1.0),
        ("size", "16,24", (16, 24)),
        ("size", [16, 24], (16, 24)),
        ("mixed", "false", False),
        ("mixed", "Yes", True),
        ("mixed", 0, False),
        ("films", "clinic", "clinic"),
    ],
)
def test_values_take_the_type_of_the_field(key: str, value: object, becomes: object) -> None:
    """Text of a command line, numbers of a search and lists of a file are all understood."""
    got = getattr(with_settings(Plan(), {key: value}, "teeth"), key)
    assert got == becomes
    assert type(got) is type(becomes)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"batch": "many"}, "like 4"),
        ({"batch": 2.5}, "like 4"),
        ({"batch": True}, "like 4"),
        ({"size": "16,x"}, "like 8,8"),
        ({"size": 3}, "like 8,8"),
        ({"size": "64,64,3"}, "like 8,8"),
        ({"mixed": "perhaps"}, "true or false"),
        ({"weights": 1}, "numbers with commas between them"),
    ],
)
def test_a_misfit_is_named(settings: dict[str, Any], wanted: str) -> None:
    """The message names the setting and shows what it looks like, as it is written behind --set."""
    with pytest.raises(ConfigurationError, match=f"setting {next(iter(settings))} is .*; it must be {wanted}"):
        with_settings(Plan(), settings, "teeth")


@pytest.mark.parametrize(
    "settings",
    [
        {"batch": 0},
        {"patience": -1},
        {"learning_rate": -0.1},
        {"learning_rate": 0},
        {"learning_rate": math.nan},
        {"size": "0,64"},
        {"dropout": 1},
        {"small_share": 1.5},
        {"weights": "1,0"},
    ],
)
def test_a_value_out_of_range_is_refused(settings: dict[str, Any]) -> None:
    """It would end in a traceback after the first steps, never end, or train nothing."""
    with pytest.raises(ConfigurationError, match=f"setting {next(iter(settings))} is .*; it must be .*[0-9]"):
        with_settings(Plan(), settings, "teeth")


def test_an_unknown_name_lists_the_known() -> None:
    """A typing error shows what there is."""
    with pytest.raises(ConfigurationError, match=r"task teeth has no setting 'batches'; it has batch, dropout, films"):
        with_settings(Plan(), {"batches": 1}, "teeth")
