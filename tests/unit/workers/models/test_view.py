"""Looking at a part of an image, and bringing masks back."""

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.models.arch import WHOLE, Frame
from workers.models.view import look_at, standardize, to_image

FRAMES = [WHOLE, Frame(0.5, 0.5, 0.4, 0.35), Frame(0.45, 0.6, 0.6, 0.5)]


def disc(rows: int, columns: int, x: float, y: float) -> NDArray[np.float32]:
    """A disc about a point given in fractions."""
    v, u = np.mgrid[:rows, :columns]
    across, down = ((u + 0.5) / columns - x) * columns / rows, (v + 0.5) / rows - y
    return np.where(across**2 + down**2 < 0.1**2, 1, 0).astype(np.float32)


@pytest.mark.parametrize("frame", FRAMES)
def test_there_and_back(frame: Frame) -> None:
    """What is cut out of an image and brought back lies where it was, whatever the frame."""
    image = disc(400, 720, 0.42, 0.55)
    canvas = look_at(image, frame, (144, 288))
    rows, columns = np.nonzero(canvas > 0.2)
    top, left = rows.min(), columns.min()
    soft = canvas[top : rows.max() + 1, left : columns.max() + 1]
    placed = to_image(soft, (int(top), int(left)), (144, 288), frame, image.shape)
    assert placed is not None
    (x0, y0, x1, y1), mask = placed
    again = np.zeros_like(image, bool)
    again[y0:y1, x0:x1] = mask
    truth = image > 0.5
    assert 2 * (again & truth).sum() / (again.sum() + truth.sum()) > 0.97


def test_beyond_the_image_is_black() -> None:
    """A frame that reaches beyond the image shows black there."""
    canvas = look_at(np.ones((100, 200), np.float32), Frame(0.5, 0.5, 1.0, 0.5), (50, 100))
    assert canvas[:, :20].max() == 0
    assert canvas[:, 45:55].min() == pytest.approx(1)


def test_mask_outside_the_image_is_nothing() -> None:
    """A tooth in the black border is no tooth of the image."""
    assert to_image(np.ones((5, 5), np.float32), (2, 2), (50, 100), Frame(2.0, 0.5, 0.5, 0.5), (100, 200)) is None


def test_grain_does_not_alias() -> None:
    """A large image's grain is averaged, not sampled."""
    grain = np.random.default_rng(0).standard_normal((1504, 2880), np.float32)
    assert look_at(grain, WHOLE, (192, 384)).std() < 0.25


def test_standardize_flat() -> None:
    """A uniform image becomes uniform, not noise."""
    assert np.ptp(standardize(np.full((50, 100), 0.3, np.float32))) == 0
