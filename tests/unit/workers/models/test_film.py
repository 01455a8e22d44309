"""Where the film lies in an image, whatever surrounds it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.models.canvas import canvas_of, off_canvas
from workers.models.film import WHOLE, film_box
from workers.models.grad_cam import hot_box, to_heat
from workers.models.panoramic_teeth import whole
from workers.training.phantom import panoramic_phantom


@pytest.fixture(scope="module")
def film() -> NDArray[np.float32]:
    """A drawn panoramic, 376 x 720 pixels."""
    return panoramic_phantom(300, rows=376, columns=720).pixels.astype(np.float32) / np.float32(4095)


def in_border(film: NDArray[np.float32], grey: float, rows: int, columns: int) -> NDArray[np.float32]:
    """The film with a border on all sides."""
    return np.pad(film, ((rows, rows), (columns, columns)), constant_values=grey)


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_a_wide_border_is_left_out(film: NDArray[np.float32], grey: float) -> None:
    """Black, grey or white: the box is that of the film, and so is the frame that the network sees first."""
    image = in_border(film, grey, 188, 360)
    np.testing.assert_allclose(film_box(image), (0.25, 0.25, 0.75, 0.75), atol=0.02)
    frame, alone = whole(image), whole(film)
    assert (frame.x, frame.y) == pytest.approx((0.5, 0.5), abs=0.02)
    assert 2 * frame.half_width == pytest.approx(alone.half_width, abs=0.02)
    assert 2 * frame.half_height == pytest.approx(alone.half_height, abs=0.02)


def test_letters_in_a_border_are_border(film: NDArray[np.float32]) -> None:
    """A line of small letters in the border does not make it part of the film."""
    image = in_border(film, 0.0, 188, 360)
    image[20:32, 40:52:3] = 1.0
    np.testing.assert_allclose(film_box(image), (0.25, 0.25, 0.75, 0.75), atol=0.02)


def test_a_narrow_border_stays(film: NDArray[np.float32]) -> None:
    """What the network has seen in training is seen as before."""
    assert film_box(film) == WHOLE
    assert film_box(in_border(film, 0.0, 20, 40)) == WHOLE


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (700, 2)])
def test_nothing_to_tell_a_film_by(shape: tuple[int, int]) -> None:
    """An even image is its own film, whatever its shape."""
    assert film_box(np.full(shape, 0.3, np.float32)) == WHOLE


@pytest.mark.parametrize("around", [((100, 300), (50, 400)), ((0, 0), (500, 20)), ((900, 900), (900, 900))])
def test_a_classifier_sees_the_film(around: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """The canvas is that of the film alone, and what is hot there lies on the film in the image."""
    film = np.random.default_rng(0).random((320, 240), np.float32) * np.float32(0.1)
    film[240:, :60] += np.float32(0.9)
    image: NDArray[np.float32] = np.pad(film, around)
    canvas = canvas_of(image, (64, 64), (1, 99))
    np.testing.assert_allclose(canvas, canvas_of(film, (64, 64), (1, 99)), atol=0.05)
    grid = canvas[0].reshape(16, 4, 16, 4).mean((1, 3))
    heat = off_canvas(grid - 1, image.shape, (64, 64), film_box(image))  # negative: nothing beside the film is hotter
    box = hot_box(to_heat(heat), image.shape)
    (top, _), (left, _) = around
    assert box == pytest.approx((left, top + 240, left + 60, top + 320), abs=20)
