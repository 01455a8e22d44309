"""From a model's mask to a region of the stored image."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.draw import polygon2mask

from service.domain.finding import Region
from workers.pixels import Image
from workers.regions import Detection, finding_of, mask_of, outline, run_lengths

ROWS, COLUMNS = 40, 60


def blob() -> NDArray[np.bool_]:
    """An L without any symmetry, 12 rows by 9 columns."""
    mask = np.zeros((12, 9), np.bool_)
    mask[:, :3] = mask[9:, :] = True
    return mask


def image(*, flipped_x: bool, flipped_y: bool) -> Image:
    """An oriented image of which only the shape and the flips matter."""
    pixels = np.zeros((ROWS, COLUMNS), np.float32)
    return Image(pixels=pixels, header=Dataset(), flipped_x=flipped_x, flipped_y=flipped_y, notes=())


def painted(region: Region) -> NDArray[np.bool_]:
    """The region in the whole image."""
    plane = np.zeros((ROWS, COLUMNS), np.bool_)
    x0, y0, x1, y1 = region.box
    plane[y0:y1, x0:x1] = mask_of(region)
    return plane


@pytest.mark.parametrize("flipped_x", [False, True])
@pytest.mark.parametrize("flipped_y", [False, True])
def test_region_lies_in_the_stored_image(flipped_x: bool, flipped_y: bool) -> None:  # noqa: FBT001
    """Flipping the found mask back gives the region of the stored image, outline included."""
    detection = Detection("tooth", 36, 0.9, (5, 7, 14, 19), blob(), ("number-uncertain",))
    finding = finding_of(detection, image(flipped_x=flipped_x, flipped_y=flipped_y))
    seen = np.zeros((ROWS, COLUMNS), np.bool_)
    seen[7:19, 5:14] = blob()
    stored = seen[:: -1 if flipped_y else 1, :: -1 if flipped_x else 1]
    assert finding.region is not None
    assert (painted(finding.region) == stored).all()
    inside = polygon2mask((ROWS * 8, COLUMNS * 8), [(8 * y, 8 * x) for x, y in finding.region.outline])
    assert (inside[4::8, 4::8] == stored).mean() > 0.995
    assert (finding.kind, finding.tooth, finding.certainty, finding.flags) == ("tooth", 36, 0.9, ("number-uncertain",))


@pytest.mark.parametrize("seed", range(4))
def test_runs_and_back(seed: int) -> None:
    """Run lengths begin with "off", sum to the size of the box, and give the mask back."""
    mask = np.random.default_rng(seed).random((7, 11)) < 0.5
    runs = run_lengths(mask)
    assert sum(runs) == mask.size
    assert all(run > 0 for run in runs[1:])
    assert (mask_of(Region((0, 0, 11, 7), runs)) == mask).all()


def test_mask_that_begins_on() -> None:
    """A mask whose first pixel is on begins with a run of zero "off" pixels."""
    assert run_lengths(np.ones((2, 3), np.bool_)) == (0, 6)
    assert run_lengths(np.zeros((2, 3), np.bool_)) == (6,)


def test_outline_follows_the_edges() -> None:
    """The outline of a rectangle runs along the outer edges of its pixels, not through their middles."""
    points = np.array(outline(np.ones((10, 20), np.bool_), (100, 50)))
    assert points.min(0).tolist() == pytest.approx([100, 50], abs=0.6)
    assert points.max(0).tolist() == pytest.approx([120, 60], abs=0.6)
    assert not (points[0] == points[-1]).all()


def test_outline_of_one_pixel() -> None:
    """Even one pixel has an outline with an inside."""
    assert len(outline(np.ones((1, 1), np.bool_))) >= 3
