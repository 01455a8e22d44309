"""The same film as another device might have made it: other borders, another tone, less sharp, some grain.

It stands in for films of other devices where there are none; figures on it are not figures on real other devices. The
spine stays whole and keeps its form, so that its angles stay what they are.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.training.spine.films import Corners

_EDGE, _ROOM = 0.08, 0.8  # most that goes or comes, as a share of the film, and of what lies beyond the spine

Plane = NDArray[np.float32]


def other_device(pixels: Plane, corners: Corners | None, rng: np.random.Generator) -> tuple[Plane, Corners | None]:
    """Pixels (rows, columns), 0 to 1, and corners in them: each side is cut or gets a black border, tones change."""
    rows, columns = pixels.shape
    x0, y0, x1, y1 = (0, 0, columns, rows) if corners is None else _about(corners, (rows, columns))
    room = ((y0, rows - y1), (x0, columns - x1))
    change = [[_change(rng, side, n) for side in sides] for sides, n in zip(room, (rows, columns), strict=True)]
    cut = tuple(slice(max(a, 0), n - max(b, 0)) for (a, b), n in zip(change, (rows, columns), strict=True))
    framed = np.pad(pixels[cut], [(max(-a, 0), max(-b, 0)) for a, b in change])
    moved = None if corners is None else corners - np.array([change[1][0], change[0][0]], np.float32)
    return _toned(framed, rng), moved


def _about(corners: Corners, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    low, high = np.floor(corners.min((0, 1))), np.ceil(corners.max((0, 1)))
    return max(int(low[0]), 0), max(int(low[1]), 0), min(int(high[0]), shape[1]), min(int(high[1]), shape[0])


def _change(rng: np.random.Generator, room: int, length: int) -> int:
    """Pixels to cut off one side; negative: to add."""
    if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
        return -round(rng.uniform(0, _EDGE) * length)
    return round(min(rng.uniform(0, _ROOM) * room, rng.uniform(0, _EDGE) * length))


def _toned(pixels: Plane, rng: np.random.Generator) -> Plane:
    bent = pixels ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    window = 0.5 + (bent - 0.5) * np.exp(rng.uniform(-0.5, 0.2)) + rng.uniform(-0.1, 0.1)
    soft = ndimage.gaussian_filter(window, rng.uniform(0, pixels.shape[0] / 640))
    grain = rng.standard_normal(pixels.shape, np.float32) * rng.uniform(0, 0.04)
    shown: Plane = np.clip(soft + grain, 0, 1).astype(np.float32)
    return shown
