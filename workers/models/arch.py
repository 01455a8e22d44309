"""The dental arch on a panoramic: class order, slots from image left to right, a mean arch and the frame around it.

Coordinates here are fractions of the image (x of the columns, y of the rows), patient's right at the image's left.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FDI: tuple[int, ...] = tuple(10 * quadrant + number for quadrant in (1, 2, 3, 4) for number in range(1, 9))
"""FDI number of class 1..32; class 0 is background."""
UPPER: tuple[int, ...] = (18, 17, 16, 15, 14, 13, 12, 11, 21, 22, 23, 24, 25, 26, 27, 28)
LOWER: tuple[int, ...] = (48, 47, 46, 45, 44, 43, 42, 41, 31, 32, 33, 34, 35, 36, 37, 38)
CLASS_OF: dict[int, int] = {fdi: index + 1 for index, fdi in enumerate(FDI)}
MIRRORED: tuple[int, ...] = (0, *(CLASS_OF[fdi + (10 if fdi // 10 in {1, 3} else -10)] for fdi in FDI))
"""Class of each class in the mirrored image: quadrants 1 and 2, 3 and 4 change places."""

# Mean centres of the teeth of a right half (x mirrored about 0.503) on full dentitions of 16:9 panoramics.
_RIGHT_UPPER = ((11, 0.482, 0.445), (12, 0.446, 0.440), (13, 0.409, 0.411), (14, 0.374, 0.431))
_RIGHT_UPPER_BACK = ((15, 0.336, 0.423), (16, 0.290, 0.426), (17, 0.238, 0.399), (18, 0.205, 0.333))
_RIGHT_LOWER = ((41, 0.490, 0.664), (42, 0.462, 0.667), (43, 0.426, 0.688), (44, 0.392, 0.672))
_RIGHT_LOWER_BACK = ((45, 0.350, 0.667), (46, 0.295, 0.648), (47, 0.232, 0.612), (48, 0.173, 0.575))
_MIDLINE = 0.503
_CENTRE = (_MIDLINE, 0.54)

# Spread of a tooth about its place, and of the arch among scanners (standard deviations, fractions of the image).
_TOOTH_SPREAD = 0.025
_PLACE_SPREAD = 0.08
_SCALE_SPREAD = 0.2
_HUBER = 1.5


def _mean_arch() -> dict[int, tuple[float, float]]:
    arch = {}
    for fdi, x, y in _RIGHT_UPPER + _RIGHT_UPPER_BACK + _RIGHT_LOWER + _RIGHT_LOWER_BACK:
        arch[fdi] = (x, y)
        mirrored = fdi + (10 if fdi < 30 else -10)  # noqa: PLR2004 - 1x <-> 2x, 4x <-> 3x
        arch[mirrored] = (2 * _MIDLINE - x, y)
    return arch


MEAN_ARCH: dict[int, tuple[float, float]] = _mean_arch()


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle around an arch: centre and half extents in fractions of the image; it may reach beyond the image."""

    x: float
    y: float
    half_width: float
    half_height: float


WHOLE = Frame(0.5, 0.5, 0.5, 0.5)
_HALF_EXTENT = (0.40, 0.36)  # of the frame around the mean arch: all teeth, impacted third molars and some bone
_FRAME_Y = 0.51  # middle of the frame around the mean arch


def arch_frame(centres: Mapping[int, tuple[float, float]]) -> Frame:
    """The frame in which a full arch lies as on the mean panoramic, from the centres of the teeth that are there.

    Each axis is shifted and scaled by ridge regression onto the mean arch, re-weighted against outliers (Huber), so
    that a few remaining teeth, some of them with a wrong number, still place the arch of all 32.
    """
    numbers = [fdi for fdi in centres if fdi in MEAN_ARCH]
    seen = np.array([centres[fdi] for fdi in numbers], float).reshape(-1, 2)
    mean = np.array([MEAN_ARCH[fdi] for fdi in numbers], float).reshape(-1, 2)
    place_x, scale_x = _fit_axis(seen[:, 0], mean[:, 0] - _CENTRE[0], _CENTRE[0])
    place_y, scale_y = _fit_axis(seen[:, 1], mean[:, 1] - _CENTRE[1], _CENTRE[1])
    return Frame(
        x=place_x,
        y=place_y + scale_y * (_FRAME_Y - _CENTRE[1]),
        half_width=scale_x * _HALF_EXTENT[0],
        half_height=scale_y * _HALF_EXTENT[1],
    )


def _fit_axis(seen: NDArray[np.float64], mean: NDArray[np.float64], centre: float) -> tuple[float, float]:
    """Place and scale that minimise the weighted squares of ``place + scale * mean - seen`` under the prior."""
    weight = np.ones(len(seen))
    place, scale = centre, 1.0
    for _ in range(4):
        a = weight / _TOOTH_SPREAD**2
        m00, m01, m11 = a.sum() + _PLACE_SPREAD**-2, (a * mean).sum(), (a * mean**2).sum() + _SCALE_SPREAD**-2
        b0, b1 = (a * seen).sum() + centre * _PLACE_SPREAD**-2, (a * mean * seen).sum() + _SCALE_SPREAD**-2
        determinant = m00 * m11 - m01 * m01
        place, scale = (m11 * b0 - m01 * b1) / determinant, (m00 * b1 - m01 * b0) / determinant
        off = np.abs(place + scale * mean - seen) / _TOOTH_SPREAD
        weight = np.minimum(1.0, _HUBER / np.maximum(off, 1e-9))
    return float(place), float(np.clip(scale, 0.5, 1.8))
