"""Regions of findings as arrays and polygons."""

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import Permanent
from service.domain.finding import Region


def mask_of(region: Region, rows: int, columns: int) -> NDArray[np.bool_]:
    """The mask (rows, columns) of a region in its image; what lies outside the image is cut off.

    Raises:
        Permanent: the run lengths do not fill the box.
    """
    x0, y0, x1, y1 = region.box
    height, width = max(y1 - y0, 0), max(x1 - x0, 0)
    mask = np.zeros((rows, columns), bool)
    inside = np.ones((height, width), bool)
    if region.runs:
        states = np.arange(len(region.runs)) % 2 == 1
        flat = np.repeat(states, region.runs)
        if flat.size != height * width:
            message = f"a mask of {flat.size} pixels does not fill its box of {width} x {height}"
            raise Permanent(message)
        inside = flat.reshape(height, width)
    top, left = max(y0, 0), max(x0, 0)
    bottom, right = max(min(y1, rows), top), max(min(x1, columns), left)
    mask[top:bottom, left:right] = inside[top - y0 : bottom - y0, left - x0 : right - x0]
    return mask


def closed_box(region: Region, rows: int, columns: int) -> NDArray[np.float64]:
    """The box as a closed polyline of five points x, y (5, 2): SCOORD knows no polygon (PS3.3 C.18.6.1.2)."""
    x0, y0, x1, y1 = region.box
    x0, x1 = np.clip((x0, x1), 0, columns).tolist()
    y0, y1 = np.clip((y0, y1), 0, rows).tolist()
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]], np.float64)
