"""Outlines against those of scikit-image."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from workers.contours import contours, simplified


def masks(seed: int) -> list[NDArray[np.bool_]]:
    """Blots with holes, noise full of corners that touch, and what is smaller than a square."""
    random = np.random.default_rng(seed)
    shapes = [(random.integers(20, 160), random.integers(20, 120)) for _ in range(6)]
    smooth = [ndimage.gaussian_filter(random.random(shape), random.uniform(1, 9)) for shape in shapes]
    noise = [random.random((random.integers(1, 9), random.integers(1, 9))) < random.random() for _ in range(30)]
    return [*(each > np.median(each) for each in smooth), *noise, np.ones((5, 7), np.bool_), np.ones((1, 1), np.bool_)]


def test_there_is_no_outline_of_nothing() -> None:
    """An empty mask, and one without pixels, have no line."""
    assert contours(np.zeros((4, 5), np.bool_)) == []
    assert contours(np.zeros((0, 5), np.bool_)) == []


@pytest.mark.parametrize("seed", range(4))
def test_lines_are_those_of_scikit_image(seed: int) -> None:
    """The same lines in the same order from the same points, to the last bit: results keep their bytes."""
    for mask in masks(seed):
        expected = measure.find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
        found = contours(mask)
        assert len(found) == len(expected)
        assert all(np.array_equal(line, other) for line, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("slack", [0.3, 0.9, 4.0])
def test_fewer_points_are_those_of_scikit_image(seed: int, slack: float) -> None:
    """Of any line, closed or open, the same points stay, to the last bit."""
    lines = [line for mask in masks(seed) for line in contours(mask)]
    lines += [np.random.default_rng(seed).random((50, 2)) * 9, lines[0][:2]]
    for line in lines:
        assert np.array_equal(simplified(line, slack), measure.approximate_polygon(line, slack))
