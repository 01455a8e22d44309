"""From an image of any shape to the canvas that an image classifier sees; training and service take the same way."""

import numpy as np
from numpy.typing import NDArray

from workers.models.arch import Frame
from workers.models.film import WHOLE, Box, cut, film_box
from workers.models.view import Plane, look_at

_STEP_PIXELS = 200_000  # enough of an image to take percentiles of


def canvas_of(pixels: Plane, size: tuple[int, int], percentiles: tuple[float, float] | None) -> Plane:
    """A film in the middle of a canvas, its aspect kept, black around it; a wide even border of its own is left out.

    Args:
        pixels: float32 (rows, columns) or (rows, columns, channels), 0 to 1.
        size: rows and columns of the canvas.
        percentiles: of the grey values, brought to 0 and 1; None = grey values stay. Colours keep their balance.

    Returns:
        float32 (channels, *size), 0 to 1.
    """
    pixels = cut(pixels, film_box(pixels))
    if percentiles is not None:
        step = max(int(np.sqrt(pixels.shape[0] * pixels.shape[1] / _STEP_PIXELS)), 1)
        low, high = np.percentile(pixels[::step, ::step], percentiles)
        pixels = np.clip((pixels - np.float32(low)) / np.float32(max(high - low, 1e-3)), 0, 1)
    tall, wide = _margins((pixels.shape[0], pixels.shape[1]), size)
    frame = Frame(x=0.5, y=0.5, half_width=0.5 * wide, half_height=0.5 * tall)
    planes = [pixels] if pixels.ndim == 2 else list(np.moveaxis(pixels, -1, 0))  # noqa: PLR2004 - grey
    return np.stack([look_at(np.ascontiguousarray(plane), frame, size) for plane in planes]).clip(0, 1)


def off_canvas(
    heat: NDArray[np.float32], shape: tuple[int, int], size: tuple[int, int], film: Box = WHOLE
) -> NDArray[np.float32]:
    """The part of a coarse grid over a canvas that lies over the image, as a grid over the image alone.

    Args:
        heat: (h, w) over the canvas.
        shape: rows and columns of the image.
        size: rows and columns of the canvas.
        film: what of the image lies on the canvas (``film_box``); beside it stands the mean, which is no heat.
    """
    x0, y0, x1, y1 = film
    high, across = y1 - y0, x1 - x0
    tall, wide = _margins((shape[0] * high, shape[1] * across), size)
    middle = ((0.5 - x0) / across - 0.5) / wide, ((0.5 - y0) / high - 0.5) / tall  # of the image, from that of the film
    frame = Frame(0.5 + middle[0], 0.5 + middle[1], 0.5 / wide / across, 0.5 / tall / high)
    if film == WHOLE:
        return look_at(heat, frame, _cells(heat, tall, wide))
    mean = look_at(heat, Frame(0.5, 0.5, 0.5 / wide, 0.5 / tall), _cells(heat, tall, wide)).mean()
    on_image: Plane = look_at(heat - mean, frame, _cells(heat, tall * high, wide * across)) + mean
    return on_image


def _cells(heat: NDArray[np.float32], tall: float, wide: float) -> tuple[int, int]:
    """Rows and columns of a part of a grid, as fine as the whole."""
    return max(round(heat.shape[0] / tall), 1), max(round(heat.shape[1] / wide), 1)


def _margins(shape: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
    """How many times as tall and as wide as the image the canvas is."""
    ratio = (size[1] / size[0]) / (shape[1] / shape[0])
    return max(1 / ratio, 1.0), max(ratio, 1.0)
