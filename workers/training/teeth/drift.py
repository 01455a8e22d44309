"""A lost tooth whose neighbours moved up: the gap closes, wholly or in part, as it does in a mouth over years.

Without this a network learns to count from the midline; with it, it must look at the teeth.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from workers.models.arch import CLASS_OF, FDI, MEAN_ARCH

_NUMBERS = (1, 2, 4, 5, 6, 6, 6, 6, 6, 6, 7, 7)  # lost more or less often: half of them first molars
_LENGTH = 0.2  # of a tooth from its crown to its apex, as a fraction of the rows
_MOST_TIP = 0.7
_FADE = 0.14  # fraction of the columns over which the bone behind the last tooth takes up the shift
_BITE, _BITE_CURVE = 0.555, 0.45  # height of the biting line at the midline, and its rise towards the sides
_BITE_EDGE = 0.012  # over which the jaws part


@dataclass(frozen=True, slots=True)
class Drift:
    """One gap that closes, in fractions of the sample.

    Attributes:
        lost: class of the lost tooth; its label must be removed as well.
        x, width: its middle and width along the columns.
        side: 1 if teeth move in from the image's right, -1 from its left.
        upper: which jaw.
        bite: height of the biting line at the midline.
        last: distance from the lost tooth to the end of the row.
        share: of the gap that closes.
        tip: how much less the roots move than the crowns, 0 to 1: molars tip into a gap.
    """

    lost: int
    x: float
    width: float
    side: int
    upper: bool
    bite: float
    last: float
    share: float
    tip: float = 0.0

    def source(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Where the pixel at x, y (fractions) comes from along the columns."""
        out = self.side * (x - self.x)
        squeezed = max((1 - self.share) * self.width, 0.15 * self.width)
        ramp = ((out + self.width / 2) / squeezed).clamp(0, 1)
        fade = ((out - self.last) / _FADE).clamp(0, 1)
        line = self.bite - _BITE_CURVE * (x - 0.5) ** 2
        jaw = torch.sigmoid((line - y) / _BITE_EDGE * (1 if self.upper else -1))
        root = 1 - self.tip * ((line - y).abs() / _LENGTH).clamp(0, 1)
        shift = self.share * self.width * ramp * (1 - fade * fade * (3 - 2 * fade)) * jaw * root
        return x + self.side * shift


def draw_drifts(classes: NDArray[np.uint8], rng: np.random.Generator, most: int) -> list[Drift]:
    """One to ``most`` gaps to close, each in another quadrant; fewer where a tooth drawn is not there."""
    drawn = [draw_drift(classes, rng) for _ in range(int(rng.integers(1, most + 1)))]
    return list({(drift.side, drift.upper): drift for drift in drawn if drift is not None}.values())


def draw_drift(classes: NDArray[np.uint8], rng: np.random.Generator) -> Drift | None:
    """A random gap to close in a label map; None if the tooth drawn is not there or ends its row."""
    quadrant, number = int(rng.integers(1, 5)), int(rng.choice(_NUMBERS))
    lost = CLASS_OF[10 * quadrant + number]
    columns = np.nonzero((classes == lost).any(0))[0]
    behind = [CLASS_OF[10 * quadrant + n] for n in range(number + 1, 9)]
    row = np.nonzero(np.isin(classes, behind).any(0))[0]
    if not len(columns) or not len(row):
        return None
    length = classes.shape[1]
    x, width = (columns[0] + columns[-1] + 1) / 2 / length, (columns[-1] + 1 - columns[0]) / length
    side = 1 if quadrant in {2, 3} else -1
    last = max(side * (row[0] / length - x), side * (row[-1] / length - x))
    share, tip = float(rng.uniform(0.35, 1.0)), float(rng.uniform(0, _MOST_TIP))
    return Drift(lost, x, width, side, quadrant in {1, 2}, _bite(classes), last - share * width, share, tip)


def _bite(classes: NDArray[np.uint8]) -> float:
    """Height of the biting line at the midline: that of the mean arch, moved as the teeth here are."""
    rows = [np.nonzero((classes == k).any(1))[0] for k in range(1, 33)]
    off = [(r[0] + r[-1]) / 2 / classes.shape[0] - MEAN_ARCH[FDI[k]][1] for k, r in enumerate(rows) if len(r)]
    return _BITE + float(np.median(off)) if off else _BITE
