"""Could these pixels be a photograph of a mouth at all? Brightness, sharpness and colours, before any network.

The limits stand well outside what 1173 photographs of mouths have (see the model card). They name the reason; whether
teeth and gums are there is asked of the network.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

LEAST_CHROMA = 0.05  # mean of the largest minus the smallest of red, green and blue
LEAST_WARM = 0.15  # share of the pixels that are red before all
WARM_CHROMA = 0.1
LEAST_BRIGHT = 0.25  # luminance of the 95th percentile
MOST_WHITE = 0.95  # luminance of the median
LEAST_DETAIL = 8e-5  # variance of the Laplacian of the luminance, longer side 256 pixels
_SIDE = 256
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def refuse(colour: NDArray[np.float32]) -> str:
    """Why a picture (rows, columns, 3), 0 to 1, is no usable photograph of a mouth, in words; empty if it may be."""
    small = _reduced(colour)
    grey = small @ _LUMINANCE
    chroma = small.max(2) - small.min(2)
    warm = (chroma > WARM_CHROMA) & (small[..., 0] >= small.max(2))
    checks = (
        (np.percentile(grey, 95) < LEAST_BRIGHT, "the photograph is too dark"),
        (np.median(grey) > MOST_WHITE, "the photograph is over-exposed or blank"),
        (chroma.mean() < LEAST_CHROMA, "the picture has no colours, as an X-ray or a page has none"),
        (warm.mean() < LEAST_WARM, "no mouth is seen: the picture has hardly any colour of gums, lips or skin"),
        (_detail(grey) < LEAST_DETAIL, "the photograph is blurred, or shows nothing"),
    )
    return next((reason for holds, reason in checks if holds), "")


def _reduced(colour: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = colour.shape[:2]
    scale = min(_SIDE / max(rows, columns), 1.0)
    size = (max(round(columns * scale), 3), max(round(rows * scale), 3))
    planes = [
        Picture.fromarray(np.ascontiguousarray(colour[..., c])).resize(size, Picture.Resampling.BOX) for c in range(3)
    ]
    return np.stack([np.asarray(plane, np.float32) for plane in planes], -1)


def _detail(grey: NDArray[np.float32]) -> float:
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(laplacian.var())
