"""Masks as pixel data."""

import numpy as np
import pytest

from service.domain.errors import Permanent
from service.domain.finding import Region
from service.results.frames import labelled, packed
from service.results.regions import mask_of
from tests.builders import ellipse, runs_of


def regions_in(rows: int, columns: int, number: int = 5) -> list[Region]:
    """Ellipses anywhere, some of them partly outside the image."""
    generator = np.random.default_rng(rows * columns)
    regions = []
    for _ in range(number):
        x0, y0 = (int(generator.integers(-3, edge)) for edge in (columns, rows))
        box = (x0, y0, x0 + int(generator.integers(1, columns + 1)), y0 + int(generator.integers(1, rows + 1)))
        regions.append(Region(box, runs_of(ellipse(box))))
    return regions


@pytest.mark.parametrize(("rows", "columns"), [(8, 16), (7, 13), (31, 9), (1, 1), (40, 64)])
def test_bits_are_those_of_the_masks(rows: int, columns: int) -> None:
    """All frames are packed one after the other, least significant bit first, without a gap, to an even length."""
    regions = regions_in(rows, columns)
    stack = np.stack([mask_of(region, rows, columns) for region in regions])
    expected = np.packbits(stack.ravel(), bitorder="little")
    bits = packed(regions, rows, columns)
    assert bits.size % 2 == 0
    np.testing.assert_array_equal(bits[: expected.size], expected)
    assert not bits[expected.size :].any()


def test_the_smaller_of_two_regions_stays_on_top() -> None:
    """In a label map a small region is not hidden by a large one, whichever comes first."""
    large, small = Region((0, 0, 8, 8)), Region((2, 2, 4, 4))
    for regions in ([large, small], [small, large]):
        labels = labelled(regions, 8, 8)
        assert (labels == regions.index(small) + 1).sum() == 4
        assert (labels == regions.index(large) + 1).sum() == 60


def test_a_label_map_numbers_at_most_255_regions() -> None:
    """More regions than 8 bits can number are an error, not a wrong map."""
    with pytest.raises(ValueError, match="256 regions"):
        labelled([Region((0, 0, 1, 1))] * 256, 4, 4)


def test_run_lengths_must_fill_the_box() -> None:
    """Run lengths of another size than the box are an error that is not tried again."""
    with pytest.raises(Permanent, match="does not fill its box"):
        packed([Region((0, 0, 4, 2), (3, 3))], 10, 10)
