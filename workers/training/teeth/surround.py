"""Films that somebody cropped to an ellipse on white: cut to the film, the white filled with what lies beside it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_WHITE = 245
_LEAST = 0.05  # of the pixels; less white at the corners is no surround
_RIM = 3  # pixels at the edge of the surround that compression blurred
_REACH = 6.0  # pixels over which the fill is smoothed


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """pixels uint8 (rows, columns), and where its first pixel lay in the file."""

    pixels: NDArray[np.uint8]
    top: int
    left: int


def cut_surround(pixels: NDArray[np.uint8]) -> Cut:
    """The film without the white around it; unchanged where there is none."""
    parts, count = ndimage.label(pixels >= _WHITE)
    corners = {int(parts[y, x]) for y in (0, -1) for x in (0, -1)} - {0}
    outside = np.isin(parts, list(corners))
    if not count or outside.mean() < _LEAST:
        return Cut(pixels, 0, 0)
    outside = ndimage.binary_dilation(outside, iterations=_RIM)
    inside = ndimage.binary_opening(~outside, iterations=2)
    rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return Cut(_fill(pixels[window], inside[window]), int(rows[0]), int(columns[0]))


def _fill(pixels: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Beyond the edge the nearest pixel of a blurred film."""
    weight = ndimage.gaussian_filter(inside.astype(np.float32), _REACH)
    smooth = ndimage.gaussian_filter(np.where(inside, pixels, 0).astype(np.float32), _REACH) / np.maximum(weight, 1e-3)
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    filled = np.where(inside, pixels, smooth[tuple(nearest)])
    return np.asarray(filled.clip(0, 255), np.uint8)
