"""What one look at a panoramic shows, and how the second look profits from the first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.arch import Frame
from workers.models.instances import Instance
from workers.models.numbering import Evidence
from workers.models.spacing import number_arch

_MARGIN_CEILING = 15.0  # a larger margin is no more certain
_SAME = 0.04  # fraction of the rows (half of it along the columns) within which two looks mean one tooth


@dataclass(frozen=True, slots=True, eq=False)
class NumberedTooth:
    """A tooth of one look.

    Attributes:
        instance: where, on the grid of the look.
        x, y: its centre in fractions of the image.
        log_p: (32,) log probability of each number, of this look and those before.
        fdi: None = no number fits.
        margin: see ``numbering.Number``.
    """

    instance: Instance
    x: float
    y: float
    log_p: NDArray[np.float64]
    fdi: int | None
    margin: float

    def features(self) -> tuple[float, float, float]:
        """What its certainty depends on: 1, margin up to a ceiling, how well it is seen."""
        return 1.0, min(self.margin, _MARGIN_CEILING), self.instance.seen


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Teeth with numbers on the grid (rows, columns) of the network's output over a frame."""

    frame: Frame
    grid: tuple[int, int]
    teeth: list[NumberedTooth]

    def centres(self) -> dict[int, tuple[float, float]]:
        """FDI number to the centre in fractions of the image."""
        return {tooth.fdi: (tooth.x, tooth.y) for tooth in self.teeth if tooth.fdi is not None}


def number_look(frame: Frame, grid: tuple[int, int], instances: Sequence[Instance], before: Look | None) -> Look:
    """Number the teeth of a look; what an earlier look thought of the same teeth counts half."""
    places = [placed(frame, grid, instance) for instance in instances]
    same = [_same(place, before) for place in places]
    opinions = [
        instance.log_p if twin is None else _mean(instance.log_p, twin.log_p)
        for instance, twin in zip(instances, same, strict=True)
    ]
    numbers = number_arch(
        [Evidence(t.x, *t.span, opinion) for t, opinion in zip(instances, opinions, strict=True)],
    )
    teeth = [
        NumberedTooth(instance, *place, opinion, number.fdi, number.margin)
        for instance, place, opinion, number in zip(instances, places, opinions, numbers, strict=True)
    ]
    return Look(frame, grid, teeth)


def placed(frame: Frame, grid: tuple[int, int], instance: Instance) -> tuple[float, float]:
    """Centre of an instance in fractions of the image."""
    return (
        frame.x + frame.half_width * (2 * (instance.x + 0.5) / grid[1] - 1),
        frame.y + frame.half_height * (2 * (instance.y + 0.5) / grid[0] - 1),
    )


def _same(place: tuple[float, float], before: Look | None) -> NumberedTooth | None:
    """The tooth of an earlier look at this place."""
    if before is None or not before.teeth:
        return None
    away = [np.hypot(2 * (tooth.x - place[0]), tooth.y - place[1]) for tooth in before.teeth]
    nearest = int(np.argmin(away))
    return before.teeth[nearest] if away[nearest] < _SAME else None


def _mean(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = (a + b) / 2
    normalized: NDArray[np.float64] = mean - np.logaddexp.reduce(mean)
    return normalized
