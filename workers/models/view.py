"""From an image to the canvas a network sees, and from the canvas back to the pixels of the image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from workers.models.arch import Frame

Plane = NDArray[np.float32]


def look_at(pixels: Plane, frame: Frame, size: tuple[int, int]) -> Plane:
    """The part of an image inside a frame, as a canvas of ``size`` (rows, columns); 0 outside the image.

    Averages over the pixels under each canvas pixel (triangle filter), so that fine grain does not alias.
    """
    return looks_at((pixels,), frame, size)[0]


def looks_at(planes: Sequence[Plane], frame: Frame, size: tuple[int, int]) -> list[Plane]:
    """The same part of several images of one shape, at least one; see ``look_at``."""
    rows, columns = planes[0].shape
    down = _weights(rows, (frame.y - frame.half_height, frame.y + frame.half_height), size[0])
    across = _weights(columns, (frame.x - frame.half_width, frame.x + frame.half_width), size[1])
    return [np.ascontiguousarray((across @ np.ascontiguousarray((down @ plane).T)).T, np.float32) for plane in planes]


def _weights(length: int, span: tuple[float, float], count: int) -> sparse.csr_array:
    """(count, length) weights that sample ``count`` points evenly over a span given in fractions of the length."""
    step = (span[1] - span[0]) * length / count
    middle = span[0] * length + (np.arange(count) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    taps = int(np.ceil(reach)) * 2 + 1
    index = np.floor(middle)[:, None].astype(int) + np.arange(-(taps // 2), taps // 2 + 2)[None]
    weight = np.clip(1 - np.abs(index - middle[:, None]) / reach, 0, None)
    inside = ((middle > -0.5) & (middle < length - 0.5))[:, None]  # noqa: PLR2004 - pixels reach half beyond their middle
    weight = weight * ((index >= 0) & (index < length) & inside)
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-6)
    ends = np.arange(count + 1, dtype=np.int32) * index.shape[1]
    entries = (weight.ravel().astype(np.float32), index.clip(0, length - 1).ravel().astype(np.int32), ends)
    return sparse.csr_array(entries, shape=(count, length))


def inside(frame: Frame, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels of a canvas of ``size`` over a frame show the image."""
    down = frame.y + frame.half_height * (2 * (np.arange(size[0]) + 0.5) / size[0] - 1)
    across = frame.x + frame.half_width * (2 * (np.arange(size[1]) + 0.5) / size[1] - 1)
    shown: NDArray[np.bool_] = ((down > 0) & (down < 1))[:, None] & ((across > 0) & (across < 1))[None]
    return shown


def standardize(canvas: Plane, film: NDArray[np.bool_] | None = None) -> Plane:
    """First to 99th percentile onto 0..1, clipped; ``film``: which pixels count, None = all."""
    some = canvas[::2, ::2]
    counted = some if film is None else some[film[::2, ::2]]
    low, high = np.percentile(counted, (1, 99)) if counted.size else (0.0, 1.0)
    clipped: Plane = np.clip((canvas - np.float32(low)) / np.float32(max(high - low, 1e-3)), 0, 1)
    return clipped


def to_image(
    soft: Plane, corner: tuple[int, int], grid: tuple[int, int], frame: Frame, shape: tuple[int, int]
) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]] | None:
    """A soft mask on a grid over a frame to a mask of the image.

    Args:
        soft: probabilities; their edge is where they pass 0.5.
        corner: row and column of its first element in the grid.
        grid: rows and columns of the grid that covers the frame.
        frame: in fractions of the image.
        shape: rows and columns of the image.

    Returns:
        The tight box x0, y0, x1, y1 and the mask inside it; None where nothing of it lies in the image.
    """
    top = (frame.y - frame.half_height) * shape[0]
    left = (frame.x - frame.half_width) * shape[1]
    scale = (2 * frame.half_height * shape[0] / grid[0], 2 * frame.half_width * shape[1] / grid[1])
    y0, down = _enlarge(soft.shape[0], corner[0], top, scale[0], shape[0])
    x0, across = _enlarge(soft.shape[1], corner[1], left, scale[1], shape[1])
    mask = down @ np.pad(soft, 1) @ across.T > 0.5  # noqa: PLR2004 - the edge
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if not len(rows):
        return None
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = (x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1)
    return (int(box[0]), int(box[1]), int(box[2]), int(box[3])), crop


def _enlarge(count: int, first: int, offset: float, scale: float, length: int) -> tuple[int, Plane]:
    """First image pixel and linear weights (pixels, count + 2) along one axis; the grid is padded by one."""
    start = max(int(np.floor(offset + (first - 0.5) * scale)), 0)
    stop = min(int(np.ceil(offset + (first + count + 0.5) * scale)), length)
    place = (np.arange(start, max(stop, start)) + 0.5 - offset) / scale - 0.5 - first + 1  # in the padded soft mask
    weights = np.clip(1 - np.abs(place[:, None] - np.arange(count + 2)[None]), 0, None)
    return start, weights.astype(np.float32)
