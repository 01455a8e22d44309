"""Regions as masks and polygons."""

import numpy as np
import pytest

from service.domain.errors import Permanent
from service.domain.finding import Region
from service.results.regions import closed_box, mask_of
from tests.builders import ellipse, runs_of


@pytest.mark.parametrize("box", [(3, 4, 11, 9), (0, 0, 20, 12), (5, 5, 6, 6)])
def test_run_lengths_give_the_mask(box: tuple[int, int, int, int]) -> None:
    """The mask of a region is what its run lengths say, at the place of its box."""
    mask = mask_of(Region(box, runs_of(ellipse(box))), 12, 20)
    x0, y0, x1, y1 = box
    np.testing.assert_array_equal(mask[y0:y1, x0:x1], ellipse(box))
    assert mask.sum() == ellipse(box).sum()


def test_without_run_lengths_the_box_is_the_mask() -> None:
    """A region without runs is its whole box."""
    assert mask_of(Region((1, 2, 3, 5)), 10, 10).sum() == 6


def test_what_lies_outside_the_image_is_cut_off() -> None:
    """A box may reach beyond the image."""
    box = (-3, -2, 5, 4)
    np.testing.assert_array_equal(mask_of(Region(box, runs_of(ellipse(box))), 3, 4)[:3, :4], ellipse(box)[2:5, 3:7])
    assert not mask_of(Region((50, 50, 60, 60)), 10, 10).any()


def test_run_lengths_must_fill_the_box() -> None:
    """A mask of another size than its box is an error that is not tried again."""
    with pytest.raises(Permanent, match="does not fill its box of 4 x 2"):
        mask_of(Region((0, 0, 4, 2), (3, 3)), 10, 10)


def test_a_box_is_closed_and_inside_the_image() -> None:
    """The polyline of a box has five points, ends where it begins and stays inside the image."""
    box = closed_box(Region((2, 3, 50, 8)), 20, 40)
    assert box.tolist() == [[2, 3], [40, 3], [40, 8], [2, 8], [2, 3]]
