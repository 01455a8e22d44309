"""Crops of single teeth, and where things lie in the jaws."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from workers.models.arch import LOWER, MEAN_ARCH, UPPER
from workers.models.tooth_crops import CHANNELS, Jaws, Place, overlap
from workers.regions import Detection

ROWS, COLUMNS = 500, 900
SIZE = 80


def box_of(fdi: int, rows: int = ROWS, columns: int = COLUMNS) -> tuple[int, int, int, int]:
    """A tooth's box on the mean arch."""
    x, y = MEAN_ARCH[fdi]
    half_width, half_height = 0.018 * columns, 0.085 * rows
    x0, y0 = round(x * columns - half_width), round(y * rows - half_height)
    return x0, y0, round(x * columns + half_width), round(y * rows + half_height)


def tooth(fdi: int) -> Detection:
    """A tooth as the tooth model gives it."""
    return Detection("tooth", fdi, 0.9, box_of(fdi))


def arch(*missing: int) -> list[Detection]:
    """All teeth but some."""
    return [tooth(fdi) for fdi in (*UPPER, *LOWER) if fdi not in missing]


def picture(rows: int = ROWS, columns: int = COLUMNS) -> NDArray[np.float32]:
    """A smooth random image."""
    plane = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((50, 90)), 1.5)
    return np.asarray(ndimage.zoom(plane, (rows / 50, columns / 90), order=3), np.float32) + np.float32(0.5)


@pytest.mark.parametrize("fdi", [18, 13, 24, 36, 41])
def test_place_without_number_gets_the_free_slot(fdi: int) -> None:
    """What lies in the only gap of the arch gets its number, and is told to be of the right jaw."""
    jaws = Jaws(picture(), arch(fdi))
    assert jaws.free_number(Place(box_of(fdi))) == fdi
    assert jaws.is_upper(Place(box_of(fdi))) == (fdi in UPPER)


def test_no_number_without_a_gap() -> None:
    """Where every slot has its tooth, nothing more gets a number."""
    assert Jaws(picture(), arch()).free_number(Place(box_of(36))) is None


def test_the_teeth_shift_the_slots() -> None:
    """In an arch that lies elsewhere and is narrower, the gap is where its own neighbours say."""

    def moved(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        return round(box[0] * 0.8 + 150), box[1] + 30, round(box[2] * 0.8 + 150), box[3] + 30

    teeth = [Detection("tooth", d.tooth, 0.9, moved(box_of(d.tooth or 0))) for d in arch(35, 46)]
    jaws = Jaws(picture(), teeth)
    assert jaws.free_number(Place(moved(box_of(46)))) == 46
    assert jaws.free_number(Place(moved(box_of(35)))) == 35


def test_crops_are_turned_alike() -> None:
    """An image turned upside down and mirrored gives the same crop of the opposite tooth."""
    plane = picture()
    x0, y0, x1, y1 = box_of(46)
    turned = Detection("tooth", 26, 0.9, (COLUMNS - x1, ROWS - y1, COLUMNS - x0, ROWS - y0))
    one = Jaws(plane, [tooth(46)])
    other = Jaws(plane[::-1, ::-1].copy(), [turned])
    a = one.crop(Place((x0, y0, x1, y1), tooth=46), SIZE).astype(int)
    assert turned.box is not None
    b = other.crop(Place(turned.box, tooth=26), SIZE).astype(int)
    assert a.shape == (SIZE, SIZE, CHANNELS)
    assert np.abs(a - b)[..., :2].mean() < 4
    assert np.ptp(a[..., 0]) > 100


def test_crops_are_alike_at_any_resolution() -> None:
    """A film of three times the rows and columns, brighter, gives the same crop."""
    small = Jaws(picture(), arch())
    large_teeth = [Detection("tooth", d.tooth, 0.9, box_of(d.tooth or 0, 3 * ROWS, 3 * COLUMNS)) for d in arch()]
    large = Jaws(picture(3 * ROWS, 3 * COLUMNS) * np.float32(0.5) + np.float32(0.3), large_teeth)
    a = small.crop(Place(box_of(36), tooth=36), SIZE).astype(int)
    b = large.crop(Place(box_of(36, 3 * ROWS, 3 * COLUMNS), tooth=36), SIZE).astype(int)
    assert np.abs(a - b).mean() < 5


def test_the_mask_stands_in_the_second_channel() -> None:
    """The mask of the tooth comes with the crop; without a mask it is the box; the third channel tells the place."""
    jaws = Jaws(picture(), arch())
    x0, y0, x1, y1 = box_of(36)
    mask = np.zeros((y1 - y0, x1 - x0), np.bool_)
    mask[: (y1 - y0) // 2] = True
    whole = jaws.crop(Place(box_of(36), tooth=36), SIZE)
    half = jaws.crop(Place(box_of(36), mask, 36), SIZE)
    assert half[..., 1].sum() == pytest.approx(whole[..., 1].sum() / 2, rel=0.1)
    assert len(np.unique(whole[..., 2])) == 1
    assert whole[0, 0, 2] > jaws.crop(Place(box_of(41), tooth=41), SIZE)[0, 0, 2]


@pytest.mark.parametrize("box", [(-20, -20, 5, 10), (895, 490, 930, 520), (2000, 2000, 2010, 2020), (10, 10, 10, 10)])
def test_odd_boxes(box: tuple[float, float, float, float]) -> None:
    """A box over the edge, outside, or without extent gives a crop and no error."""
    assert Jaws(picture(), arch()).crop(Place(box), SIZE).shape == (SIZE, SIZE, CHANNELS)


def test_no_teeth() -> None:
    """Without any tooth the mean arch stands in."""
    jaws = Jaws(picture(), [])
    assert jaws.free_number(Place(box_of(21))) == 21
    assert jaws.high > jaws.low


def test_overlap() -> None:
    """Intersection over union of boxes."""
    shares = overlap([(0, 0, 2, 2)], [(0, 0, 2, 2), (1, 0, 3, 2), (5, 5, 6, 6)])
    np.testing.assert_allclose(shares, [[1, 1 / 3, 0]])
