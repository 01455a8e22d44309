"""From the output of the vertebra network to a chain of vertebrae, top to bottom.

Two dynamic programmes: the first follows the column from the upper to the lower edge through the heat of centres, the
second places 17 levels along it, all at once, with the spacing that spines have. So a body that is not seen gets its
place between its neighbours, and a disc that looks like a body makes no level more. Every pixel about a centre votes
for the corners and the tilt; the corners then move to the heat near them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from workers.networks.spine_net import CENTRE, CORNER, CORNERS, OFFSET, OFFSET_UNIT, STEP, TILT, TILT_UNIT

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]

COUNT = 17  # T1 to L5
_LEAST_HEAT = 0.08  # of the highest centre; less is no spine
_LEAST_SEEN = 0.04  # of a vertebra at an end of the chain; less is a guess
#: Distances of neighbours, T1 to L5, as shares of the distance from first to last: means of the training films.
SPACING = (
    0.0430, 0.0467, 0.0503, 0.0528, 0.0543, 0.0555, 0.0564, 0.0579, 0.0604, 0.0649, 0.0685, 0.0720, 0.0745, 0.0775,
    0.0790, 0.0800,
)  # fmt: skip
_SPREAD = 0.13  # of the log of such a distance
_SHORTEST, _LONGEST, _LENGTHS = 0.35, 1.7, 33  # spans from T1 to L5 that are tried, in lengths of the column
_FLOOR, _NEUTRAL, _OUTSIDE = 0.01, 0.3, -2.2  # heat that is always there; that speaks for nothing; log beyond the edge
_TOP, _FLANK = 0.8, 9  # part of the highest heat within these output pixels that still counts as the peak
_STEEPEST, _STEEP = 3, 0.01  # columns by which the middle moves in a row, and what each costs
_VOTE_SPREAD = 1.5  # output pixels
_REACH = 4  # output pixels about a voted corner in which its heat counts
_CORNER_SPREAD = 2.0
_CORNER_TRUST = 0.5  # heat of a corner (summed about it) that is trusted as much as the vote


@dataclass(frozen=True, slots=True, eq=False)
class Vertebra:
    """One vertebra on the canvas of the network.

    Attributes:
        corners: (4, 2) as (x, y) in canvas pixels: top left, top right, bottom left, bottom right.
        tilt: radians, positive = the right side is lower; the network's direct opinion.
        seen: heat of its centre, 0 to 1.
        sharp: mean heat about its corners.
    """

    corners: Floats
    tilt: float
    seen: float
    sharp: float

    @property
    def centre(self) -> Floats:
        """(x, y)."""
        middle: Floats = self.corners.mean(0)
        return middle

    @property
    def height(self) -> float:
        """Mean length of its sides in canvas pixels."""
        return float(np.linalg.norm(self.corners[2:] - self.corners[:2], axis=1).mean())

    @property
    def slope(self) -> float:
        """Tilt by the corners, radians."""
        across = self.corners[[1, 3]].mean(0) - self.corners[[0, 2]].mean(0)
        return float(np.arctan2(across[1], across[0]))


def find_vertebrae(output: Plane) -> list[Vertebra]:
    """The vertebrae in an output (OUTPUTS, rows, columns) of the network, top to bottom, at most ``COUNT``.

    Fewer where the column leaves the canvas, none where nothing is seen.
    """
    maps = _Maps.of(output)
    if float(maps.centre.max()) < _LEAST_HEAT:
        return []
    path = _Path.of(maps.centre)
    chain = [maps.read(*path.at(place)) for place in place_levels(path.heat)]
    sighted = [k for k, vertebra in enumerate(chain) if vertebra.seen >= _LEAST_SEEN]
    return chain[sighted[0] : sighted[-1] + 1] if sighted else []


def place_levels(heat: Floats) -> list[float]:
    """Where along a column the levels lie.

    Args:
        heat: of centres at every output pixel along the column, 0 to 1.

    Returns:
        Places in pixels along the column, those beyond its ends left out. The spacing of the levels follows that of
        human spines, whatever its scale, with room for each to differ.
    """
    rim = len(heat) // 2
    # the flank of a peak is no second body
    sharp = np.where(heat >= _TOP * ndimage.maximum_filter1d(heat, _FLANK), heat, _FLOOR)
    reward = np.log((np.pad(sharp, rim) + _FLOOR) / _NEUTRAL)
    reward[:rim] = reward[-rim:] = _OUTSIDE
    lengths = np.geomspace(_SHORTEST, _LONGEST, _LENGTHS) * len(heat)
    _, places = max((_placed(reward, length) for length in lengths), key=lambda found: found[0])
    inside = [place - rim for place in places if 0 <= place - rim < len(heat)]
    return [_peak(heat, place) for place in inside]


def _placed(reward: Floats, length: float) -> tuple[float, list[int]]:
    """Score and places of the levels of a spine whose centres span ``length``."""
    score, backs = reward.copy(), list[NDArray[np.int64]]()
    for share in SPACING:
        expected = share * length
        steps = np.arange(max(int(0.6 * expected), 2), max(int(1.5 * expected), 2) + 2)
        options = np.full((len(steps), len(reward)), -np.inf)
        for row, step in enumerate(steps):
            options[row, step:] = score[:-step] - (np.log(step / expected) / _SPREAD) ** 2 / 2
        best = options.argmax(0)
        backs.append(steps[best])
        score = options[best, np.arange(len(reward))] + reward
    places = [int(score.argmax())]
    for back in reversed(backs):
        places.append(places[-1] - int(back[places[-1]]))
    return float(score.max()), places[::-1]


def _peak(heat: Floats, place: int) -> float:
    """A place moved to the middle of the heat about it."""
    near = np.arange(max(place - 3, 0), min(place + 4, len(heat)))
    weight = heat[near] ** 2 + 1e-4
    return float((weight * near).sum() / weight.sum())


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """The middle of a column: (places, 2) as (x, y) in output pixels, one pixel apart, and the heat there."""

    points: Floats
    heat: Floats

    @classmethod
    def of(cls, centre: Plane) -> "_Path":
        """The path from the upper to the lower edge that gathers the most heat without sharp turns."""
        evidence = ndimage.gaussian_filter(centre, (4.0, 2.0)).astype(np.float64)
        shifts = np.arange(-_STEEPEST, _STEEPEST + 1)
        total, backs = evidence[0], list[NDArray[np.int64]]()
        columns = np.arange(len(total))
        for row in evidence[1:]:
            came = columns[None] - shifts[:, None]
            options = np.where(
                (came >= 0) & (came < len(columns)), total[came.clip(0, len(columns) - 1)], -np.inf
            ) - _STEEP * np.abs(shifts[:, None])
            best = options.argmax(0)
            backs.append(columns - shifts[best])
            total = options[best, columns] + row
        x = [int(total.argmax())]
        for back in reversed(backs):
            x.append(int(back[x[-1]]))
        y = np.arange(len(evidence), dtype=np.float64)
        smooth = ndimage.gaussian_filter1d(np.array(x[::-1], np.float64), 4.0)
        along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(smooth), 1.0))])
        places = np.arange(0, along[-1])
        points = np.stack([np.interp(places, along, smooth), np.interp(places, along, y)], 1)
        wide = ndimage.maximum_filter1d(centre, 9, axis=1)
        heat = ndimage.map_coordinates(wide, points[:, ::-1].T, order=1).astype(np.float64)
        return cls(points, ndimage.gaussian_filter1d(heat, 0.7))

    def at(self, place: float) -> tuple[float, float]:
        """(x, y) of a place along it."""
        index = np.arange(len(self.points))
        return float(np.interp(place, index, self.points[:, 0])), float(np.interp(place, index, self.points[:, 1]))


@dataclass(frozen=True, slots=True, eq=False)
class _Maps:
    centre: Plane  # (rows, columns) heat
    corner: Plane  # (4, rows, columns) heat
    votes: Plane  # (4, 2, rows, columns) corner positions (x, y) in output pixels
    tilt: Plane  # (rows, columns) radians

    @classmethod
    def of(cls, output: Plane) -> "_Maps":
        rows, columns = output.shape[1:]
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        ways = output[OFFSET].reshape(CORNERS, 2, rows, columns) * np.float32(OFFSET_UNIT / STEP)
        heat = expit(output[: CORNER.stop])
        return cls(heat[CENTRE][0], heat[CORNER], ways + np.stack([x, y]), output[TILT][0] * np.float32(TILT_UNIT))

    def read(self, x: float, y: float) -> Vertebra:
        """The vertebra about a place in output pixels."""
        box, near = _about(x, y, 4, self.centre.shape, _VOTE_SPREAD)
        weight = near * (self.centre[box] + 0.02)
        weight /= max(float(weight.sum()), 1e-9)
        voted = (self.votes[(..., *box)] * weight).sum((2, 3)).astype(np.float64)
        moved, sharp = zip(*(self._sharpened(k, voted[k]) for k in range(CORNERS)), strict=True)
        return Vertebra(
            corners=(np.array(moved) + 0.5) * STEP,
            tilt=float((self.tilt[box] * weight).sum()),
            seen=float(self.centre[box].max()),
            sharp=float(np.mean(sharp)),
        )

    def _sharpened(self, corner: int, place: Floats) -> tuple[Floats, float]:
        box, near = _about(place[0], place[1], _REACH, self.centre.shape, _CORNER_SPREAD)
        weight = self.corner[corner][box] * near
        total = float(weight.sum())
        if total < 1e-3:  # noqa: PLR2004 - no heat at all
            return place, 0.0
        y, x = np.mgrid[box]
        peak = np.array([(weight * x).sum(), (weight * y).sum()]) / total
        trust = total / (total + _CORNER_TRUST)
        return place + trust * (peak - place), min(total, 1.0)


def _about(x: float, y: float, reach: int, shape: tuple[int, ...], spread: float) -> tuple[tuple[slice, slice], Plane]:
    """The part of a map about a place, and a Gaussian over it."""
    column, row = (int(np.clip(round(v), 0, n - 1)) for v, n in ((x, shape[1]), (y, shape[0])))
    box = (slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1))
    box = (slice(box[0].start, min(box[0].stop, shape[0])), slice(box[1].start, min(box[1].stop, shape[1])))
    rows, columns = np.mgrid[box]
    return box, np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * spread**2)).astype(np.float32)


def unmirror(plain: Plane, mirrored: Plane) -> Plane:
    """Mean of an output and that of the mirrored canvas, turned back: columns, left and right corners, ways, tilt."""
    swapped = np.array([1, 0, 3, 2])
    ways = OFFSET.start + (2 * swapped[:, None] + np.arange(2)).ravel()
    back = mirrored[[CENTRE.start, *(CORNER.start + swapped), *ways, TILT.start], :, ::-1].copy()
    back[OFFSET.start : OFFSET.stop : 2] *= -1  # along the columns
    back[TILT] *= -1
    return (plain + back) * np.float32(0.5)
