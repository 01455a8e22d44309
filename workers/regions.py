"""From what a model saw in the oriented image to a region of the image as it is stored."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.finding import Finding, HeatMap, Measurement, Region
from workers.contours import contours, simplified

_SLACK = 0.9  # pixels the outline may stray from the mask's edge
_FEWEST_POINTS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One thing that a model saw, in the geometry of the oriented image.

    Attributes:
        kind: key of ``service.domain.codes.FINDINGS``.
        tooth: FDI number or None.
        certainty: 0 to 1.
        box: x0, y0, x1, y1 in pixels, x1 and y1 exclusive; None for a finding of the whole image.
        mask: bool (y1 - y0, x1 - x0), what inside the box belongs to it; None = all of it.
        flags: remarks for the reader.
        site, measurements: as in ``service.domain.finding.Finding``.
        heat: float32 (rows, columns) of any coarse grid over the whole image, 0 to 1; None = no heat map.
    """

    kind: str
    tooth: int | None
    certainty: float
    box: tuple[int, int, int, int] | None = None
    mask: NDArray[np.bool_] | None = None
    flags: tuple[str, ...] = ()
    site: str = ""
    measurements: tuple[Measurement, ...] = ()
    heat: NDArray[np.float32] | None = None


class Oriented(Protocol):
    """What is needed of ``workers.pixels.Image``."""

    @property
    def pixels(self) -> NDArray[np.float32]:
        """(rows, columns)."""
        ...

    @property
    def flipped_x(self) -> bool:
        """The stored image was mirrored left to right."""
        ...

    @property
    def flipped_y(self) -> bool:
        """The stored image was turned upside down."""
        ...


def finding_of(detection: Detection, image: Oriented) -> Finding:
    """The finding for a detection, its region in the pixel grid of the stored image."""
    return Finding(
        kind=detection.kind,
        tooth=detection.tooth,
        certainty=detection.certainty,
        region=_region(detection, image),
        flags=detection.flags,
        site=detection.site,
        measurements=detection.measurements,
        heat=_heat(detection.heat, image),
    )


def _region(detection: Detection, image: Oriented) -> Region | None:
    if detection.box is None:
        return None
    rows, columns = image.pixels.shape
    x0, y0, x1, y1 = detection.box
    if image.flipped_x:
        x0, x1 = columns - x1, columns - x0
    if image.flipped_y:
        y0, y1 = rows - y1, rows - y0
    if detection.mask is None:
        return Region((x0, y0, x1, y1))  # without runs: a box that nobody segmented
    mask = detection.mask[:: -1 if image.flipped_y else 1, :: -1 if image.flipped_x else 1]
    return Region((x0, y0, x1, y1), run_lengths(mask), outline(mask, (x0, y0)))


def _heat(heat: NDArray[np.float32] | None, image: Oriented) -> HeatMap | None:
    if heat is None:
        return None
    stored = heat[:: -1 if image.flipped_y else 1, :: -1 if image.flipped_x else 1]
    values = np.round(stored.clip(0, 1) * 255).astype(int)
    return HeatMap(stored.shape[0], stored.shape[1], tuple(values.ravel().tolist()))


def run_lengths(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Alternating run lengths, row by row, beginning with "off" (which may be 0 long); they sum to the mask's size."""
    flat = np.concatenate([[False], mask.ravel(), [not mask.ravel()[-1]] if mask.size else [True]])
    edges = np.nonzero(flat[1:] != flat[:-1])[0]
    return tuple(np.diff(np.concatenate([[0], edges])).tolist())


def mask_of(region: Region) -> NDArray[np.bool_]:
    """The mask inside the box of a region, bool (rows, columns); the whole box where there are no runs."""
    x0, y0, x1, y1 = region.box
    if not region.runs:
        return np.ones((y1 - y0, x1 - x0), np.bool_)
    values = np.arange(len(region.runs)) % 2 == 1
    return np.repeat(values, region.runs).reshape(y1 - y0, x1 - x0)


def outline(mask: NDArray[np.bool_], origin: tuple[int, int] = (0, 0)) -> tuple[tuple[float, float], ...]:
    """Polygon (x, y) around the largest part of a mask whose first pixel's corner lies at ``origin`` (x, y).

    Marching squares on the mask with a margin, then Douglas-Peucker; the first point is not repeated.
    """
    lines = contours(mask)
    if not lines:
        return ()
    largest = lines[0] if len(lines) == 1 else max(lines, key=lambda points: abs(_area(points)))
    simple = simplified(largest, _SLACK)[:-1]
    if len(simple) < _FEWEST_POINTS:
        simple = largest[:-1]
    # (1, 1) is the middle of the first pixel, which lies half a pixel from its corner
    return tuple((x - 0.5 + origin[0], y - 0.5 + origin[1]) for y, x in simple.tolist())


def _area(points: NDArray[np.float64]) -> float:
    y, x = points[:, 0], points[:, 1]
    return float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
