"""Pictures as PNG files, read by another program."""

import io

import numpy as np
import pytest
from PIL import Image as Picture

from workers.png import png


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (40, 300), (1, 1, 3), (31, 17, 3)])
@pytest.mark.parametrize("most", [2, 256])
def test_every_sample_comes_back(shape: tuple[int, ...], most: int) -> None:
    """Grey and colour, noise and even grounds: Pillow reads every sample as it was."""
    picture = np.random.default_rng(len(shape)).integers(0, most, shape, np.uint8) * np.uint8(255 // (most - 1))
    with Picture.open(io.BytesIO(png(picture))) as opened:
        assert opened.format == "PNG"
        assert opened.mode == ("L" if len(shape) == 2 else "RGB")
        assert np.array_equal(np.asarray(opened), picture)


def test_an_even_ground_costs_next_to_nothing() -> None:
    """A picture of one grey becomes a file of a few hundred bytes, as with Pillow."""
    assert len(png(np.full((400, 600), 77, np.uint8))) < 2000
