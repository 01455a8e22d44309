"""Spines from the front or the back: vertebrae T1 to L5, Cobb angles, normal or scoliosis, single or double curve.

Two looks by one network: the first at the whole film finds the column, the second sees the column in the frame in which
the network knows spines best; where both mean the same vertebrae, their mean counts. Each look is taken twice, once
mirrored. Angles follow from the vertebrae by rule
(``workers.models.cobb``), so every one of them can be seen and checked on the film.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.special import expit, logit
from skimage import draw

from service.domain.errors import Declined
from service.domain.finding import Algorithm, Measurement
from workers.inference import Runner
from workers.models import Verdict
from workers.models.arch import WHOLE, Frame
from workers.models.bundle import BUNDLES, broken, load_bundle
from workers.models.cobb import (
    LEVELS,
    SCOLIOSIS,
    Curve,
    CurveType,
    curves_of,
    region_of,
    tilts_of,
    two_largest,
    type_of,
)
from workers.models.fit_for_spines import judge_spine, pixel_shape
from workers.models.gate import UPSIDE_DOWN
from workers.models.opened import open_once
from workers.models.vertebrae import COUNT, Vertebra, find_vertebrae, unmirror
from workers.models.view import Plane, look_at, standardize
from workers.pixels import NOTE_ORIENTATION, Image
from workers.regions import Detection

Floats = NDArray[np.float64]

_FEWEST = 8  # vertebrae; fewer are no spine whose curves could be told
_LEAST_SEEN = 0.27  # mean heat of the centres; films of other parts reach it seldom, spines nearly always
_MOST_CROWDED = 1.75  # times as wide as far apart; 108 spines have at most 1.67, lateral films that look like one more
_LEAST_LEAD = 0.03  # of the heat upside down over that upright; 18 spines had 0.1 and more the right way up
_MARGIN = 0.07  # of the column's height, about it in the second look
_CUT = 1.2  # steps between vertebrae from the upper edge within which higher ones may be cut off
_SQUARE = 0.01  # by which the sides of a pixel may differ before it matters to an angle
_MARGIN_CEILING = 10.0  # degrees; further from the border of a type is no more certain


class Spine:
    """Vertebrae and scoliosis on spine films."""

    name = "spine_landmarks"
    looks_for = ("vertebra", "scoliosis")

    def __init__(self, bundle: Path | None = None) -> None:
        """``bundle``: another folder than the one that ships."""
        self._path = bundle or BUNDLES / self.name

    def judge(self, header: Dataset) -> Verdict:
        """Accept films of the whole spine from the front or the back."""
        return Verdict(*judge_spine(header))

    def load(self, device: str) -> "LoadedSpine":
        """Read the bundle and open the network. Raises ConfigurationError."""
        bundle = load_bundle(self._path)
        settings = Settings.of(self._path, bundle.settings)
        runner = open_once(bundle, (1, *settings.canvas), device)
        return LoadedSpine(bundle.algorithm, runner, settings)


@dataclass(frozen=True, slots=True)
class Settings:
    """configs/inference.json.

    Attributes:
        canvas: rows and columns the network sees.
        mean, deviation: of the standardized canvas.
        direct_share: weight of the tilt that the network gives against that of the corners, 0 to 1.
        angle_gain: what Cobb angles are multiplied with, because an estimate shrinks extremes.
        vertebra_certainty: bias, weights of heat and sharpness in the logistic curve of a vertebra's certainty.
        curve_certainty: bias, weights of heat and of the margin (degrees) in that of the type of curve.
        uncertain_below: less certainty is flagged.
        scoliosis_from: degrees measured from which a spine is called scoliotic. The largest of many swings is measured
            too large on a straight spine, the more the less sharp the film is.
    """

    canvas: tuple[int, int]
    mean: float
    deviation: float
    direct_share: float
    angle_gain: float
    vertebra_certainty: tuple[float, float, float]
    curve_certainty: tuple[float, float, float]
    uncertain_below: float
    scoliosis_from: float = SCOLIOSIS

    @classmethod
    def of(cls, bundle: Path, settings: dict[str, Any]) -> "Settings":
        """From the JSON object. Raises ConfigurationError naming the bundle where something is missing or odd."""
        try:
            rows, columns = (int(value) for value in settings["canvas"])
            mean, deviation, share = (float(settings[key]) for key in ("mean", "deviation", "direct_share"))
            gain, below = (float(settings[key]) for key in ("angle_gain", "uncertain_below"))
            least = float(settings.get("scoliosis_from", SCOLIOSIS))
            bias, heat, sharp = (float(value) for value in settings["vertebra_certainty"])
            curve_bias, curve_heat, margin = (float(value) for value in settings["curve_certainty"])
        except (KeyError, TypeError, ValueError) as error:
            raise broken(bundle, f"configs/inference.json is not that of {Spine.name} ({error})") from error
        certainties = (bias, heat, sharp), (curve_bias, curve_heat, margin)
        return cls((rows, columns), mean, deviation, share, gain, *certainties, below, least)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """What was seen of a spine.

    Attributes:
        vertebrae: top to bottom, on the canvas of the look.
        corners: (vertebrae, 4, 2) as (x, y) in pixels of the oriented image.
        tilts: degrees.
        first: index in ``LEVELS`` of the uppermost.
        curves: all, the largest first, angles calibrated.
        least: see ``Settings.scoliosis_from``.
    """

    vertebrae: tuple[Vertebra, ...]
    corners: Floats
    tilts: Floats
    first: int
    curves: tuple[Curve, ...]
    least: float = SCOLIOSIS

    @property
    def cobb(self) -> tuple[float, float]:
        """Angles of the major and the second curve, degrees."""
        return two_largest(self.curves)

    @property
    def type(self) -> CurveType:
        """By the rule of ``cobb.type_of``."""
        return type_of(*self.cobb, self.least)

    @property
    def seen(self) -> float:
        """Mean heat of the centres."""
        return _seen(self.vertebrae)

    def features(self) -> tuple[float, float, float]:
        """What the certainty of the type depends on: 1, heat, degrees by which the angles miss another type."""
        major, second = self.cobb
        to_normal = abs(major - self.least)
        to_double = abs(second - min(25.0, max(20.0, 0.6 * major)))
        margin = to_normal if self.type is CurveType.NORMAL else min(to_normal, to_double)
        return 1.0, heat_feature(self.seen), min(margin, _MARGIN_CEILING)


class LoadedSpine:
    """The model with its weights."""

    def __init__(self, algorithm: Algorithm, runner: Runner, settings: Settings) -> None:
        """``runner``: the network; see ``Spine.load``."""
        self.algorithm = algorithm
        self._runner, self._settings = runner, settings

    def analyze(self, image: Image, _before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """Vertebrae by level and the curves of at least 10 degrees.

        Raises:
            Declined: no spine is seen, or one that lies upside down, in a film that does not say where up is.
        """
        pixels = _square(image)
        column = self.see(pixels)
        if reason := self.refusal(column):
            raise Declined(reason)
        if NOTE_ORIENTATION in image.notes and self.see(pixels[::-1]).seen > column.seen + _LEAST_LEAD:
            raise Declined(UPSIDE_DOWN)
        column = replace(column, corners=column.corners * [1, image.pixels.shape[0] / pixels.shape[0]])
        vertebrae = [self._vertebra(column, k, image.pixels.shape) for k in range(len(column.vertebrae))]
        return (*self._scoliosis(column, image), *(v for v in vertebrae if v is not None))

    @staticmethod
    def refusal(column: Column) -> str:
        """Why a film is not read; empty if it is."""
        if len(column.vertebrae) < _FEWEST:
            return f"no whole spine is seen in it ({len(column.vertebrae)} vertebrae found, {COUNT} expected)"
        if _crowded(column.corners) > _MOST_CROWDED:
            return "no whole spine is seen in it from the front or the back (what looks like vertebrae is too crowded)"
        if column.seen >= _LEAST_SEEN:
            return ""
        return "no whole spine is seen in it from the front or the back (what looks like vertebrae is too faint)"

    def certainty(self, column: Column) -> float:
        """How certain the type of curve is, 0 to 1."""
        return float(expit(np.dot(self._settings.curve_certainty, column.features())))

    def see(self, pixels: Plane) -> Column:
        """Both looks at an oriented image (rows, columns); few or no vertebrae where there is no spine."""
        first, corners = self._look(pixels, whole(pixels.shape, self._settings.canvas))
        if len(first) < _FEWEST:
            return self._column(first, corners)
        (left, top), (right, bottom) = corners.min((0, 1)), corners.max((0, 1))
        rim = _MARGIN * (bottom - top)
        box = (left - rim, top - rim, right + rim, bottom + rim)
        second, closer = self._look(pixels, _frame(box, pixels.shape, self._settings.canvas))
        if len(first) == len(second) and _agree(corners, closer):
            return self._column([_mean(a, b) for a, b in zip(first, second, strict=True)], (corners + closer) / 2)
        better = len(second) * _seen(second) > len(first) * _seen(first)
        return self._column(second, closer) if better else self._column(first, corners)

    def _look(self, pixels: Plane, frame: Frame) -> tuple[list[Vertebra], Floats]:
        rows, columns = self._settings.canvas
        canvas = standardize(look_at(pixels, frame, (rows, columns)))
        canvas = (canvas - self._settings.mean) / self._settings.deviation
        both = self._runner(np.stack([canvas, canvas[:, ::-1]])[:, None].astype(np.float32))
        found = find_vertebrae(unmirror(both[0], both[1]))
        size = np.array([2 * frame.half_width * pixels.shape[1], 2 * frame.half_height * pixels.shape[0]])
        middle = np.array([frame.x * pixels.shape[1], frame.y * pixels.shape[0]])
        corners = np.array([v.corners for v in found]).reshape(-1, 4, 2)
        return found, (corners / [columns, rows] - 0.5) * size + middle

    def _column(self, vertebrae: list[Vertebra], corners: Floats) -> Column:
        bare = Column(
            tuple(vertebrae), corners, np.zeros(len(vertebrae)), _uppermost(corners), (), self._settings.scoliosis_from
        )
        return self.measure(bare, self._settings.direct_share, self._settings.angle_gain)

    @staticmethod
    def measure(column: Column, direct_share: float, angle_gain: float) -> Column:
        """The column with its tilts and curves; see ``Settings``."""
        direct = np.degrees([v.tilt for v in column.vertebrae])
        tilts = angle_gain * ((1 - direct_share) * tilts_of(column.corners) + direct_share * direct)
        return replace(column, tilts=tilts, curves=curves_of(column.corners, tilts))

    def _vertebra(self, column: Column, k: int, shape: tuple[int, ...]) -> Detection | None:
        placed = _placed([column.corners[k]], shape)
        if placed is None:
            return None
        vertebra = column.vertebrae[k]
        features = 1.0, heat_feature(vertebra.seen), vertebra.sharp
        certainty = float(expit(np.dot(self._settings.vertebra_certainty, features)))
        flags = () if len(column.vertebrae) == COUNT else ("level-uncertain",)
        return Detection("vertebra", None, round(certainty, 3), *placed, flags, site=LEVELS[column.first + k])

    def _scoliosis(self, column: Column, image: Image) -> list[Detection]:
        """A finding for each curve of at least 10 degrees, the largest first; none where the spine is normal."""
        if column.type is CurveType.NORMAL:
            return []
        certainty = self.certainty(column)
        flags: tuple[str, ...] = ("single-curve",) if column.type is CurveType.SINGLE else ("double-curve",)
        if certainty < self._settings.uncertain_below:
            flags += ("curve-type-uncertain",)
        if len(column.vertebrae) != COUNT:
            flags += ("level-uncertain",)
        return [self._curve(column, curve, image, round(certainty, 3), flags) for curve in _shown(column)]

    @staticmethod
    def _curve(column: Column, curve: Curve, image: Image, certainty: float, flags: tuple[str, ...]) -> Detection:
        box, mask = _placed(list(column.corners[curve.first : curve.last + 1]), image.pixels.shape) or (None, None)
        first, last, apex = (LEVELS[column.first + k] for k in (curve.first, curve.last, curve.apex))
        side = "right" if curve.rightward != image.flipped_x else "left"  # of the image as it is stored and shown
        return Detection(
            "scoliosis",
            None,
            certainty,
            box,
            mask,
            (*flags, f"from-{first}-to-{last}", f"apex-{apex}", f"convex-to-{side}-of-image"),
            site=region_of(column.first + curve.apex),
            measurements=(Measurement("cobb-angle", round(curve.angle, 1)),),
        )


def _shown(column: Column) -> list[Curve]:
    """The curves that are findings: at least 10 degrees; of one kind of site the largest."""
    return [curve for curve in column.curves if curve.angle >= SCOLIOSIS]


def _square(image: Image) -> Plane:
    """The pixels of a film, sampled anew where they are not square: angles are true only there."""
    rows, columns = image.pixels.shape
    taller = pixel_shape(image.header)
    if abs(taller - 1) < _SQUARE:
        return image.pixels
    return look_at(image.pixels, WHOLE, (max(round(rows * taller), 1), columns))


def _crowded(corners: Floats) -> float:
    """Width of a vertebra in steps from one to the next, medians."""
    steps = np.linalg.norm(np.diff(corners.mean(1), axis=0), axis=1)
    return float(np.median(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)) / max(float(np.median(steps)), 1e-6))


def _seen(vertebrae: Sequence[Vertebra]) -> float:
    return float(np.mean([v.seen for v in vertebrae])) if vertebrae else 0.0


def _agree(one: Floats, other: Floats) -> bool:
    """Whether two looks mean the same vertebrae: most centres lie within half a step of each other."""
    centres = one.mean(1)
    step = float(np.median(np.linalg.norm(np.diff(centres, axis=0), axis=1)))
    return float(np.median(np.linalg.norm(centres - other.mean(1), axis=1))) < step / 2


def _mean(one: Vertebra, other: Vertebra) -> Vertebra:
    """One vertebra in two looks; its corners are those of the second."""
    tilt, seen, sharp = (
        (a + b) / 2 for a, b in ((one.tilt, other.tilt), (one.seen, other.seen), (one.sharp, other.sharp))
    )
    return replace(other, tilt=tilt, seen=seen, sharp=sharp)


def heat_feature(seen: float) -> float:
    """Heat on the logistic scale, within what a network can say."""
    return float(logit(np.clip(seen, 0.01, 0.99)))


def whole(shape: tuple[int, ...], canvas: tuple[int, int]) -> Frame:
    """The frame of the canvas' shape around a whole image (rows, columns)."""
    return _frame((0.0, 0.0, float(shape[1]), float(shape[0])), shape, canvas)


def _frame(box: tuple[float, float, float, float], shape: tuple[int, ...], canvas: tuple[int, int]) -> Frame:
    """The frame of the canvas' shape around a box x0, y0, x1, y1 in pixels of an image (rows, columns)."""
    x0, y0, x1, y1 = box
    scale = max((y1 - y0) / canvas[0], (x1 - x0) / canvas[1]) / 2
    return Frame(
        x=(x0 + x1) / 2 / shape[1],
        y=(y0 + y1) / 2 / shape[0],
        half_height=scale * canvas[0] / shape[0],
        half_width=scale * canvas[1] / shape[1],
    )


def _uppermost(corners: Floats) -> int:
    """Index of the level of the uppermost vertebra of a chain that may be short: T1 unless the film cuts it off."""
    if len(corners) in {0, 1, COUNT}:
        return 0
    centres = corners.mean(1)
    step = float(np.linalg.norm(centres[1] - centres[0]))
    return 0 if centres[0, 1] > _CUT * step else COUNT - len(corners)


def _placed(
    quadrilaterals: Sequence[Floats], shape: tuple[int, ...]
) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]] | None:
    """Box x0, y0, x1, y1 and mask of quadrilaterals (4, 2), in pixels; None where nothing of them lies in the image."""
    inside = [
        draw.polygon(ring[:, 1], ring[:, 0], shape[:2])
        for ring in (points[[0, 1, 3, 2]] - 0.5 for points in quadrilaterals)  # draw means the middles of pixels
    ]
    rows, columns = (np.concatenate(indices) for indices in zip(*inside, strict=True))
    if not len(rows):
        return None
    top, left = int(rows.min()), int(columns.min())
    box = left, top, int(columns.max()) + 1, int(rows.max()) + 1
    mask = np.zeros((box[3] - top, box[2] - left), np.bool_)
    mask[rows - top, columns - left] = True
    return box, mask
