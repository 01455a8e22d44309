"""From corners to curves: on drawn spines, whose angles are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.models.cobb import LEVELS, CurveType, curves_of, region_of, tilts_of, turning_points, two_largest, type_of


def spine(tilts: list[float]) -> NDArray[np.float64]:
    """Corners (vertebrae, 4, 2) of blocks 40 wide and 20 high, hung below each other along their tilt."""
    x = y = 0.0
    corners = []
    for tilt in tilts:
        c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        turn = np.array([[c, -s], [s, c]])
        block = np.array([(-20, -10), (20, -10), (-20, 10), (20, 10)]) @ turn.T
        corners.append(block + np.array([x, y]))
        x, y = x - 26 * s, y + 26 * c
    return np.array(corners)


def wave(size: float, waves: float) -> list[float]:
    """Tilts of a sine wave, starting at its lowest."""
    return [-size * float(np.cos(2 * np.pi * waves * k / 16)) for k in range(17)]


def test_tilts() -> None:
    """The tilt of a block is the angle by which it was turned, positive where the right side is lower."""
    assert tilts_of(spine([-30.0, 0.0, 12.5])) == pytest.approx([-30.0, 0.0, 12.5])


def test_straight_spine() -> None:
    """A straight spine has no curve of 10 degrees and is normal, however it leans."""
    for lean in (0.0, 8.0, -20.0):
        curves = curves_of(spine([lean] * 17))
        assert two_largest(curves) == pytest.approx((0.0, 0.0))
        assert type_of(*two_largest(curves)) is CurveType.NORMAL


def test_single_curve() -> None:
    """Half a wave is one curve: its angle the whole swing, its ends the ends, its apex the middle, its bulge right."""
    (curve,) = curves_of(spine(wave(20, 0.5)))
    assert curve.angle == pytest.approx(40.0)
    assert (curve.first, curve.last) == (0, 16)
    assert abs(curve.apex - 8) <= 1
    assert curve.rightward
    assert type_of(*two_largest((curve,))) is CurveType.SINGLE


def test_mirrored() -> None:
    """A mirrored spine has the same angles and bulges to the other side."""
    right = curves_of(spine(wave(20, 1.0)))
    left = curves_of(spine([-tilt for tilt in wave(20, 1.0)]))
    assert [c.angle for c in left] == pytest.approx([c.angle for c in right])
    assert [c.rightward for c in left] == [not c.rightward for c in right]


def test_double_curve() -> None:
    """A whole wave is two curves that share a vertebra; both are large, so it is a double."""
    curves = curves_of(spine(wave(18, 1.0)))
    assert [curve.angle for curve in curves] == pytest.approx([36.0, 36.0])
    upper, lower = sorted(curves, key=lambda curve: curve.first)
    assert upper.last == lower.first == 8
    assert upper.apex < 8 < lower.apex
    assert type_of(*two_largest(curves)) is CurveType.DOUBLE


def test_order() -> None:
    """The largest curve comes first."""
    angles = [curve.angle for curve in curves_of(spine([0, 5, 10, 4, -2, -10, -20, -25, -12, 0, 14, 8, 3, 1, 0, 0, 0]))]
    assert angles == pytest.approx([39.0, 35.0, 14.0, 10.0])


@pytest.mark.parametrize(
    ("tilts", "turns"),
    [
        ([0, 3, 1, 4.5, 1, 2], [0, 3]),  # no swing of 5: the widest pair
        ([0, 0, 0], []),
        ([], []),
        ([1.0], []),
        ([0, 10, 6, 12, 0], [0, 3, 4]),  # a dip of 4 is noise
        ([0, 10, 5, 12, 0], [0, 1, 2, 3, 4]),  # a dip of 5 is a turn
        ([4, 0, 8], [1, 2]),  # the first swing is too small to count
    ],
)
def test_turning_points(tilts: list[float], turns: list[int]) -> None:
    """A turn counts from five degrees on; less is noise and moves no end vertebra."""
    assert turning_points(tilts) == turns


@pytest.mark.parametrize(
    ("major", "second", "kind"),
    [
        (9.9, 9.0, "normal"),
        (10.0, 0.0, "single"),
        (60.0, 24.9, "single"),
        (60.0, 25.0, "double"),
        (33.0, 20.0, "double"),
        (34.0, 20.0, "single"),
        (30.0, 19.9, "single"),
    ],
)
def test_type(major: float, second: float, kind: str) -> None:
    """Under 10 degrees is normal; a second curve of 25, or of 20 and six tenths of the major one, makes a double."""
    assert type_of(major, second) == kind


def test_regions() -> None:
    """The apex names the region: to T11 thoracic, T12 and L1 thoracolumbar, below lumbar."""
    named = {level: region_of(index) for index, level in enumerate(LEVELS)}
    assert named["T5"] == named["T11"] == "thoracic-spine"
    assert named["T12"] == named["L1"] == "thoracolumbar-spine"
    assert named["L2"] == named["L4"] == "lumbar-spine"


def test_known_tilts_win() -> None:
    """Where tilts are handed in, the angles are theirs and the corners give the place only."""
    (curve,) = curves_of(spine(wave(20, 0.5)), np.array(wave(30, 0.5)))
    assert curve.angle == pytest.approx(60.0)
