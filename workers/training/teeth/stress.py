"""The same film as another device might have made it: other field of view, other proportions, other tones.

It stands in for films of other scanners where there are none; figures on it are not figures on real other scanners.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.float32]


def other_scanner(
    pixels: Plane, labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Plane, NDArray[np.uint8]]:
    """Re-framed, stretched and re-toned copies of an image (rows, columns; 0..1) and its label map."""
    pixels, labels = _frame(pixels, labels, rng)
    rows, columns = pixels.shape
    wide = rng.uniform(0.8, 1.25)
    size = (rows, round(columns * wide))
    pixels = ndimage.zoom(pixels, (1, size[1] / columns), order=1, grid_mode=True, mode="nearest")
    labels = labels[:, np.arange(size[1]) * columns // size[1]]
    return _tone(pixels, rng), labels


def _frame(pixels: Plane, labels: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Plane, NDArray[np.uint8]]:
    """Cut off up to all that lies beyond the teeth, or add black borders, on each side for itself."""
    rows, columns = labels.shape
    y, x = (
        np.nonzero(labels)
        if labels.any()
        else (np.array([rows // 3, 2 * rows // 3]), np.array([columns // 3, 2 * columns // 3]))
    )
    room = ((y.min(), rows - 1 - y.max()), (x.min(), columns - 1 - x.max()))
    change = [
        [round(_cut(rng, side, length)) for side in sides] for sides, length in zip(room, (rows, columns), strict=True)
    ]
    cut = [[max(c, 0) for c in pair] for pair in change]
    add = [(max(-pair[0], 0), max(-pair[1], 0)) for pair in change]
    window = tuple(slice(pair[0], n - pair[1]) for pair, n in zip(cut, (rows, columns), strict=True))
    return np.pad(pixels[window], add), np.pad(labels[window], add)


def _cut(rng: np.random.Generator, room: float, length: int) -> float:
    """Pixels to cut off one side (negative: to add)."""
    if rng.random() < 0.3:  # noqa: PLR2004 - some sides get a border
        return -rng.uniform(0, 0.1) * length
    return min(rng.uniform(0, 0.8) * room, 0.16 * length)


def _tone(pixels: Plane, rng: np.random.Generator) -> Plane:
    """Local contrast or flatness, tone curve, window, grain."""
    if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
        sigma = pixels.shape[0] / rng.uniform(8, 25)
        mean = ndimage.gaussian_filter(pixels, sigma)
        spread = np.sqrt(np.maximum(ndimage.gaussian_filter((pixels - mean) ** 2, sigma), 0)) + 0.03
        pixels = pixels + rng.uniform(0.3, 1.0) * (0.5 + 0.2 * (pixels - mean) / spread - pixels)
    pixels = np.clip(pixels, 0, 1) ** np.exp(rng.uniform(-0.6, 0.6))
    pixels = 0.5 + (pixels - 0.5) * np.exp(rng.uniform(-0.5, 0.3)) + rng.uniform(-0.1, 0.1)
    pixels = ndimage.gaussian_filter(pixels, rng.uniform(0, 1.0))
    grain = rng.standard_normal(pixels.shape, np.float32) * rng.uniform(0, 0.04)
    return np.clip(pixels + grain, 0, 1).astype(np.float32)
