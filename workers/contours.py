"""Outlines of masks: marching squares on bits, and fewer points for the same shape.

What ``skimage.measure.find_contours`` and ``approximate_polygon`` give, to the last bit and in the same order, at a
sixth of their time: they walk from point to point in Python, and outlines are most of what a film costs.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.intp]
Points = Floats  #: (n, 2): row, column

# The edges of a square of four neighbouring pixels.
_TOP, _LEFT, _RIGHT, _BOTTOM = range(4)
#: From edge, to edge, by which pixels of the square are set: 1 upper left, 2 upper right, 4 lower left, 8 lower right.
#: What is set lies to the left of the way; pixels that touch at a corner only (6, 9) do not hang together.
_WAYS = {
    1: (_TOP, _LEFT), 2: (_RIGHT, _TOP), 3: (_RIGHT, _LEFT), 4: (_LEFT, _BOTTOM), 5: (_TOP, _BOTTOM), 6: (_RIGHT, _TOP),
    7: (_RIGHT, _BOTTOM), 8: (_BOTTOM, _RIGHT), 9: (_TOP, _LEFT), 10: (_BOTTOM, _TOP), 11: (_BOTTOM, _LEFT),
    12: (_LEFT, _RIGHT), 13: (_TOP, _RIGHT), 14: (_LEFT, _TOP),
}  # fmt: skip
_SECOND_WAYS = {6: (_LEFT, _BOTTOM), 9: (_BOTTOM, _RIGHT)}
_SQUARES = 16
_TWICE = np.isin(np.arange(_SQUARES), list(_SECOND_WAYS))


def contours(mask: NDArray[np.bool_]) -> list[Points]:
    """The closed lines around the parts of a mask and around the holes in them, half-way between set and unset pixels.

    Args:
        mask: bool (rows, columns). Beyond it nothing is set.

    Returns:
        Rows and columns of points, (1, 1) the middle of the first pixel; the first point again at the end. In the order
        of their topmost squares.
    """
    width = 2 * (mask.shape[1] + 2)  # a row of half pixels
    begins, ends = _ways(np.pad(mask, 1).view(np.uint8), width)
    order = np.argsort(begins)
    following = order[np.searchsorted(begins[order], ends)].tolist()  # each way goes on where it ends
    found = []
    walked = np.zeros(len(following), np.bool_)
    while not walked.all():
        line = [int(walked.argmin())]
        while (at := following[line[-1]]) != line[0]:
            line.append(at)
        walked[line] = True
        after_last = line.index(max(line)) + 1  # where the line begins: after its lowest square
        points = begins[[*line[after_last:], *line[:after_last], line[after_last % len(line)]]]
        found.append(np.stack([points // width, points % width], 1) / 2)
    return found


def _ways(padded: NDArray[np.uint8], width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the ways across squares begin and end, row by row: numbers of half pixels, ``width`` of them in a row."""
    above, below = padded[:-1], padded[1:]
    squares = (above[:, :-1] + 2 * above[:, 1:] + 4 * below[:, :-1] + 8 * below[:, 1:]).ravel()
    at = np.flatnonzero((squares > 0) & (squares < _SQUARES - 1))
    kind = squares[at]
    columns = padded.shape[1] - 1
    corner = 2 * (at // columns * width + at % columns)
    edges = np.array([1, width, width + 2, 2 * width + 1])  # from that corner, in the order of _TOP ... _BOTTOM
    second = _TWICE[kind]
    row_by_row = np.argsort(np.concatenate([at, at[second]]), kind="stable")
    sides = [
        np.concatenate([corner + table[kind], (corner + others[kind])[second]])[row_by_row]
        for table, others in zip(_tables(_WAYS, edges), _tables(_SECOND_WAYS, edges), strict=True)
    ]
    return sides[0], sides[1]


def _tables(ways: dict[int, tuple[int, int]], edges: NDArray[np.intp]) -> NDArray[np.intp]:
    """(2, 16): where a way begins and ends, by kind of square."""
    return np.asarray(edges[np.array([ways.get(kind, (0, 0)) for kind in range(_SQUARES)]).T])


def simplified(points: Points, slack: float) -> Points:
    """Those points of a line that keep it within ``slack`` of all of them (Douglas and Peucker 1973).

    All stretches of a round are measured at once. The first of several points that lie equally far is kept.
    """
    rows, columns = np.ascontiguousarray(points.T)
    kept = np.zeros(len(points), np.bool_)
    kept[[0, -1]] = True
    starts, ends = np.array([0]), np.array([len(points) - 1])
    while (between := ends - starts - 1).any():
        starts, ends, between = starts[between > 0], ends[between > 0], between[between > 0]
        first = between.cumsum() - between
        at = np.arange(between.sum()) + np.repeat(starts + 1 - first, between)
        away = _away((rows, columns), at, (starts, ends), between)
        most = np.maximum.reduceat(away, first)
        furthest = np.flatnonzero(away == np.repeat(most, between))
        furthest = at[furthest[np.searchsorted(furthest, first)]]
        far = most > slack
        kept[furthest[far]] = True
        starts, ends = np.append(starts[far], furthest[far]), np.append(furthest[far], ends[far])
    return points[kept]


def _away(
    line: tuple[Floats, Floats], at: Whole, stretches: tuple[Whole, Whole], between: Whole
) -> NDArray[np.float64]:
    """Distances of points from their stretches: beside one from its line, elsewhere from the nearer end.

    Args:
        line: rows and columns of all points.
        at: which points (n).
        stretches: first and last point of each stretch (m).
        between: how many of ``at`` lie on each stretch (m).
    """
    (y, x), (y0, x0), (y1, x1) = (tuple(side[which] for side in line) for which in (at, *stretches))
    down, across = y1 - y0, x1 - x0
    angle = -np.arctan2(down, across)
    cosine, sine = np.cos(angle), np.sin(angle)
    of_stretch = np.array([y0, x0, y1, x1, down, across, cosine, sine, x0 * sine + y0 * cosine])
    y0, x0, y1, x1, down, across, cosine, sine, offset = np.repeat(of_stretch, between, 1)
    away: Floats = np.abs(y * cosine + x * sine - offset)
    y0, x0, y1, x1 = y - y0, x - x0, y - y1, x - x1
    beyond = np.flatnonzero((y0 * down + x0 * across <= 0) | (-y1 * down - x1 * across <= 0))
    to_ends = (np.sqrt(x[beyond] ** 2 + y[beyond] ** 2) for y, x in ((y0, x0), (y1, x1)))
    away[beyond] = np.minimum(*to_ends)
    return away
