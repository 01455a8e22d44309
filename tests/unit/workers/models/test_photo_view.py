"""Photographs come onto the canvas whole, and what is seen there comes back to its place."""

import numpy as np
import pytest

from tests.mouths import mouth_picture
from workers.models.photo_view import BORDER, look_at, on_picture, window_of

CANVAS = (64, 96)


@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (60, 288), (288, 60), (7, 900), (1000, 3), (64, 96)])
def test_all_of_a_picture_is_seen(shape: tuple[int, int]) -> None:
    """Whatever its shape, the edges of a picture lie on the canvas."""
    window = window_of(*shape)
    assert window.top <= 0
    assert window.left <= 0
    assert window.top + window.high >= 1
    assert window.left + window.wide >= 1
    seen = look_at(np.ones((*shape, 3), np.float32), window, CANVAS)
    assert seen.shape == (*CANVAS, 3)
    assert (seen == 1).any()


def test_a_common_shape_fills_the_canvas_and_a_strip_gets_borders() -> None:
    """3:2 fills the canvas; a strip of teeth is stretched half as much as would fill it, and has borders."""
    assert (look_at(np.ones((200, 300, 3), np.float32), window_of(200, 300), CANVAS) == 1).all()
    strip = look_at(np.ones((60, 288, 3), np.float32), window_of(60, 288), CANVAS)
    np.testing.assert_allclose(strip[0], np.tile(np.array(BORDER), (96, 1)), atol=1e-6)
    assert (strip == 1).all(2).all(1).mean() == pytest.approx(1.5 * 1.5 / 4.8, abs=0.04)


def test_a_mirrored_picture_is_seen_mirrored() -> None:
    """The canvas of a mirrored picture is the mirrored canvas, borders and closer look included."""
    for shape in ((200, 300), (60, 288), (301, 200)):
        picture = mouth_picture(*shape)
        for closer in (1.0, 0.85):
            plain, mirrored = (
                look_at(colour, window_of(*shape, closer), CANVAS) for colour in (picture, picture[:, ::-1])
            )
            np.testing.assert_allclose(mirrored, plain[:, ::-1], atol=0.02)


@pytest.mark.parametrize("shape", [(200, 300), (60, 288), (300, 200)])
@pytest.mark.parametrize("closer", [1.0, 0.85])
def test_what_is_seen_comes_back_to_its_place(shape: tuple[int, int], closer: float) -> None:
    """A bright spot of the picture is bright on the canvas, and from there again where it was."""
    picture = np.zeros((*shape, 3), np.float32)
    y, x = int(0.4 * shape[0]), int(0.7 * shape[1])
    picture[y - 8 : y + 8, x - 8 : x + 8] = 1
    window = window_of(*shape, closer)
    maps = look_at(picture, window, CANVAS)[None, ..., 0] * (look_at(picture, window, CANVAS)[None, ..., 2] > 0.5)
    back = on_picture(maps, window, (50, 50))[0]
    spot = np.argwhere(back > 0.5).mean(0) / 50
    np.testing.assert_allclose(spot, (0.4, 0.7), atol=0.03)
