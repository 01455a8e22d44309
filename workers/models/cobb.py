"""From the corners of vertebrae to Cobb angles, curves and the type of curve: geometry alone.

The tilt of a vertebra is that of the line between the middles of its sides. Along the spine the tilts swing; a curve
runs from one turning point to the next, and its Cobb angle is the swing (Cobb 1948). A turn of less than
``LEAST_SWING`` degrees is noise. What a curve is called follows its apex (Scoliosis Research Society, terminology
2000): T2 to T11 thoracic, T12 and L1 thoracolumbar, L2 to L4 lumbar.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

LEVELS = (*(f"T{number}" for number in range(1, 13)), *(f"L{number}" for number in range(1, 6)))
LEAST_SWING = 5.0  # degrees
SCOLIOSIS = 10.0  # degrees; less is no scoliosis (Scoliosis Research Society)
SECOND, SECOND_NEAR, NEAR = 25.0, 20.0, 0.6  # a second curve that makes a double: large, or near the major one
_THORACIC, _THORACOLUMBAR = 11, 13  # first levels that no longer belong to the region

Floats = NDArray[np.float64]


class CurveType(StrEnum):
    """What a spine is called by its two largest curves."""

    NORMAL = "normal"
    SINGLE = "single"
    DOUBLE = "double"


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve between two end vertebrae.

    Attributes:
        first, last: the end vertebrae, counted from the top, 0 = the first that was handed in.
        apex: the vertebra furthest from the straight line between the end vertebrae.
        angle: Cobb angle, degrees, positive.
        rightward: it bulges to the right of the image.
    """

    first: int
    last: int
    apex: int
    angle: float
    rightward: bool


def tilts_of(corners: NDArray[np.floating]) -> Floats:
    """Tilt of each vertebra in degrees, positive = the image's right side is lower.

    Args:
        corners: (vertebrae, 4, 2) as (x, y), top left, top right, bottom left, bottom right, y down.
    """
    points = np.asarray(corners, np.float64)
    across = (points[:, 1] + points[:, 3] - points[:, 0] - points[:, 2]) / 2
    return np.degrees(np.arctan2(across[:, 1], across[:, 0]))


def turning_points(tilts: Sequence[float] | Floats, least: float = LEAST_SWING) -> list[int]:
    """Where tilts turn by at least ``least`` degrees, with the ends of the outermost swings; [] where none swings."""
    low = high = 0
    turns: list[int] = []
    rising: bool | None = None
    for k in range(1, len(tilts)):
        if rising is not False and tilts[k] >= tilts[high]:
            high = k
        if rising is not True and tilts[k] <= tilts[low]:
            low = k
        if rising is not False and tilts[high] - tilts[k] >= least:
            turns.append(high)
            rising, low = False, k
        elif rising is not True and tilts[k] - tilts[low] >= least:
            turns.append(low)
            rising, high = True, k
    if rising is None:
        return sorted({low, high}) if low != high else []
    return [*turns, high if rising else low]


def curves_of(corners: NDArray[np.floating], tilts: Floats | None = None) -> tuple[Curve, ...]:
    """All curves, the largest first.

    Args:
        corners: as for ``tilts_of``.
        tilts: in degrees, where they are known better than the corners tell.
    """
    known = tilts_of(corners) if tilts is None else tilts
    centres = np.asarray(corners, np.float64).mean(1)
    turns = turning_points(known)
    found = [
        Curve(a, b, _apex(centres, a, b), float(abs(known[b] - known[a])), bool(known[b] > known[a]))
        for a, b in itertools.pairwise(turns)
    ]
    return tuple(sorted(found, key=lambda curve: -curve.angle))


def two_largest(curves: Sequence[Curve]) -> tuple[float, float]:
    """Angles of the major and the second curve in degrees, 0 where there is none."""
    angles = [*(curve.angle for curve in curves), 0.0, 0.0]
    return angles[0], angles[1]


def type_of(major: float, second: float, least: float = SCOLIOSIS) -> CurveType:
    """The type by the angles of the two largest curves, degrees; with less than ``least`` it is no scoliosis."""
    if major < least:
        return CurveType.NORMAL
    double = second >= SECOND or (second >= SECOND_NEAR and second >= NEAR * major)
    return CurveType.DOUBLE if double else CurveType.SINGLE


def region_of(apex: int) -> str:
    """Key of ``service.domain.codes.SITES`` for a curve whose apex is ``LEVELS[apex]``."""
    if apex < _THORACIC:
        return "thoracic-spine"
    return "thoracolumbar-spine" if apex < _THORACOLUMBAR else "lumbar-spine"


def _apex(centres: Floats, first: int, last: int) -> int:
    way = centres[last] - centres[first]
    off = centres[first : last + 1] - centres[first]
    return first + int(np.argmax(np.abs(off[:, 0] * way[1] - off[:, 1] * way[0])))
