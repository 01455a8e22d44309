"""How a photograph comes onto the canvas that the network sees, and what was seen there back onto the photograph.

The whole picture fills the canvas; one of an unusual shape is stretched a little and then gets grey borders, so that
neither a strip of teeth nor a phone held upright loses its edges. A closer look leaves the rim out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy.ndimage import map_coordinates

CANVAS_ASPECT = 1.5  # columns to rows; half of the photographs are 1.3 to 1.8
MOST_STRETCHED = 1.5  # times; beyond it there are borders
BORDER = (0.60, 0.43, 0.41)  #: mean colour of the photographs

Colours = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """What of a picture lies on the canvas, as shares of the picture; below 0 and above 1 is border.

    Attributes:
        top, left, high, wide: the edge, and the size.
    """

    top: float
    left: float
    high: float
    wide: float


def window_of(rows: int, columns: int, closer: float = 1.0) -> Window:
    """Around the whole of a picture of that size, or around its middle (``closer`` < 1)."""
    aspect = columns / rows / CANVAS_ASPECT
    high = closer * max(aspect / MOST_STRETCHED, 1.0)
    wide = closer * max(1 / aspect / MOST_STRETCHED, 1.0)
    return Window(0.5 - high / 2, 0.5 - wide / 2, high, wide)


def look_at(colour: Colours, window: Window, canvas: tuple[int, int]) -> Colours:
    """What the network sees.

    Args:
        colour: (rows, columns, 3), 0 to 1.
        window: part of the picture.
        canvas: rows and columns of the result.

    Returns:
        (*canvas, 3), 0 to 1, finer detail averaged away.
    """
    rows, columns = colour.shape[:2]
    seen = np.empty((*canvas, 3), np.float32)
    seen[:] = BORDER
    (top, bottom), (y0, y1) = _placed(window.top, window.high, rows, canvas[0])
    (left, right), (x0, x1) = _placed(window.left, window.wide, columns, canvas[1])
    crop = colour[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
    box = (left - int(left), top - int(top), right - int(left), bottom - int(top))
    for channel in range(3):
        plane = Picture.fromarray(np.ascontiguousarray(crop[..., channel]))
        smaller = plane.resize((x1 - x0, y1 - y0), Picture.Resampling.BILINEAR, box=box)
        seen[y0:y1, x0:x1, channel] = np.asarray(smaller)
    return seen


def _placed(start: float, length: float, pixels: int, cells: int) -> tuple[tuple[float, float], tuple[int, int]]:
    """Along one axis: which pixels of the picture lie in which cells of the canvas."""
    first, last = max(start, 0.0), min(start + length, 1.0)
    cell0, cell1 = (round((share - start) / length * cells) for share in (first, last))
    return (first * pixels, last * pixels), (min(cell0, cells - 1), max(cell1, cell0 + 1))


def on_picture(maps: NDArray[np.float32], window: Window, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Maps (n, rows, columns) of the canvas on a grid over the whole picture, (n, *grid); beyond the window its rim."""
    places = []
    for axis, (start, length) in enumerate(((window.top, window.high), (window.left, window.wide))):
        share = (np.arange(grid[axis]) + 0.5) / grid[axis]
        places.append((share - start) / length * maps.shape[1 + axis] - 0.5)
    at = np.stack(np.meshgrid(*places, indexing="ij"))
    return np.stack([map_coordinates(plane, at, order=1, mode="nearest") for plane in maps]).astype(np.float32)
