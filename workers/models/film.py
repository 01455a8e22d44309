"""Where in an image the film lies: wide even borders around it (scans, collimation, print layouts) are left out."""

import numpy as np

from workers.models.view import Plane

#: Of the grey scale, 2nd to 98th percentile of an even row or column (a few letters are less than that): what a program
#: drew first, for a film may have even parts of its own; then what was scanned.
_EVEN = (0.002, 0.02)
_MOST_KEPT = 0.66  # of a side; narrower borders are on the films that the networks know (152 panoramics keep 0.7)
_LEAST_KEPT = 0.1  # of a side; less is no film with a border
_ROUNDS = 2  # a line across a wide border says little of the film; one within the other two sides more
_LINES = 512  # pixels of a row or column that are looked at
_AT_ONCE = 16  # rows or columns


Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def cut(pixels: Plane, film: Box) -> Plane:
    """The part of an image (rows, columns) or (rows, columns, channels) inside a box, at least one pixel."""
    rows, columns = pixels.shape[:2]
    x0, y0, x1, y1 = round(film[0] * columns), round(film[1] * rows), round(film[2] * columns), round(film[3] * rows)
    return np.ascontiguousarray(pixels[min(y0, rows - 1) : max(y1, y0 + 1), min(x0, columns - 1) : max(x1, x0 + 1)])


def film_box(pixels: Plane) -> Box:
    """The box of the film in an image, x0, y0, x1, y1 in fractions of it; the whole image if there is no wide border.

    Args:
        pixels: (rows, columns) or (rows, columns, channels), 0 to 1.

    A border is even: black, white or grey, with a few letters in it or without. Only a wide one is left out.
    """
    if pixels.ndim > 2:  # noqa: PLR2004 - colour
        pixels = pixels.mean(2)
    rows, columns = pixels.shape
    (x0, x1), (y0, y1) = (0.0, 1.0), (0.0, 1.0)
    for _ in range(_ROUNDS):
        y0, y1 = _span(pixels[:, int(x0 * columns) : max(round(x1 * columns), 1)])
        before = x0, x1
        x0, x1 = _span(pixels[int(y0 * rows) : max(round(y1 * rows), 1)].T)
        if (x0, x1) == before:
            break  # the next round would see the same
    return x0, y0, x1, y1


def _span(lines: Plane) -> tuple[float, float]:
    """First and last line (n, pixels) that is not even, in fractions."""
    lines = lines[:, :: max(lines.shape[1] // _LINES, 1)]
    count = len(lines)
    for even in _EVEN:
        ends = _first_uneven(lines, even), _first_uneven(lines[::-1], even)
        if ends[0] is not None and ends[1] is not None:
            first, last = ends[0] / count, (count - ends[1]) / count
            if _LEAST_KEPT <= last - first <= _MOST_KEPT:
                return first, last
    return 0.0, 1.0


def _first_uneven(lines: Plane, even: float) -> int | None:
    """Looks no further than it must: on most films the first line is uneven."""
    for start in range(0, len(lines), _AT_ONCE):
        low, high = np.percentile(lines[start : start + _AT_ONCE], (2, 98), axis=1)
        uneven = np.flatnonzero(high - low > even)
        if len(uneven):
            return start + int(uneven[0])
    return None
