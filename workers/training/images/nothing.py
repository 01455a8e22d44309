"""Drawn pictures that show nothing: even planes, slopes and noise, as counter-examples for every class.

Without them a classifier may be quite sure of what it sees in a plane of noise.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from workers.models.canvas import canvas_of
from workers.training.images.samples import Sample

_ROWS = 320
_KINDS = 3


def drawn_nothing(
    count: int, size: tuple[int, int], percentiles: tuple[float, float] | None, classes: int, rng: np.random.Generator
) -> list[Sample]:
    """``count`` grey samples on canvases of ``size``, of no class, each its own group."""
    samples = []
    for number in range(count):
        canvas = canvas_of(_plane(number % _KINDS, rng), size, percentiles)
        pixels = np.round(canvas * 255).astype(np.uint8).transpose(1, 2, 0)
        samples.append(Sample(pixels, np.zeros(classes, np.float32), f"nothing-{number}", f"nothing-{number}"))
    return samples


def _plane(kind: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Even, sloping or noisy, of any aspect, 0 to 1."""
    columns = int(rng.uniform(0.4, 1.3) * _ROWS)
    plane = np.full((_ROWS, columns), rng.random())
    if kind == 1:
        down, across = np.meshgrid(np.linspace(-1, 1, _ROWS), np.linspace(-1, 1, columns), indexing="ij")
        plane = 0.5 + 0.5 * (down * rng.uniform(-0.5, 0.5) + across * rng.uniform(-0.5, 0.5))
    elif kind == _KINDS - 1:
        noise = gaussian_filter(rng.standard_normal((_ROWS, columns)), np.exp(rng.uniform(-1.5, 2.5)))
        plane = 0.5 + 0.2 * noise / max(float(noise.std()), 1e-6)
    grain = rng.uniform(0, 0.03) * rng.standard_normal((_ROWS, columns))
    return (plane + grain).clip(0, 1).astype(np.float32)
