"""Settings of a plan by name."""

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
    "settings", [{"batch": "many"}, {"batch": 2.5}, {"size": "16,x"}, {"mixed": "perhaps"}, {"size": 3}]
)
def test_a_misfit_is_named(settings: dict[str, Any]) -> None:
    """The message names the setting and shows what it looks like."""
    with pytest.raises(ConfigurationError, match=f"setting {next(iter(settings))} is .*; it must be like"):
        with_settings(Plan(), settings, "teeth")


def test_an_unknown_name_lists_the_known() -> None:
    """A typing error shows what there is."""
    with pytest.raises(ConfigurationError, match=r"task teeth has no setting 'batches'; it has batch, films, mixed"):
        with_settings(Plan(), {"batches": 1}, "teeth")
