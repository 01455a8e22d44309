"""Windows of an arch as intra-oral films show them: a few teeth of one jaw, or the crowns of both jaws on one side.

They stand in for periapical and bitewing radiographs, of which there are none to train on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.arch import CLASS_OF, FDI, LOWER, UPPER, Frame

_BITEWING_SHARE = 0.35
_BACK = (3, 4, 5, 6, 7, 8)  # numbers a bitewing may show
_FILL = (0.8, 1.15)  # diagonal of the window, in rows of the canvas


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a sample.

    Attributes:
        box: x0, y0, x1, y1 in fractions of the sample.
        fill: its diagonal in rows of the canvas.
        bitewing: it shows the crowns of both jaws.
    """

    box: tuple[float, float, float, float]
    fill: float = 1.0
    bitewing: bool = False

    def frame(self, aspect: float, size: tuple[int, int]) -> Frame:
        """What a canvas of ``size`` with the window in its middle shows; ``aspect``: columns to rows of the film."""
        x0, y0, x1, y1 = self.box
        half = np.hypot((x1 - x0) * aspect, y1 - y0) / self.fill / 2
        return Frame((x0 + x1) / 2, (y0 + y1) / 2, float(half * size[1] / size[0] / aspect), float(half))

    def extent(self, aspect: float, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the window on that canvas."""
        frame = self.frame(aspect, size)
        x0, y0, x1, y1 = self.box
        rows, columns = (y1 - y0) / (2 * frame.half_height), (x1 - x0) / (2 * frame.half_width)
        return round(float(rows) * size[0]), round(float(columns) * size[1])


def draw_window(classes: NDArray[np.uint8], rng: np.random.Generator) -> Window | None:
    """A random window of a label map; None where it would show fewer than two teeth."""
    bitewing = bool(rng.random() < _BITEWING_SHARE)
    first, count = int(rng.integers(0, 14)), int(rng.integers(3, 6))
    if bitewing:
        side = (1, 4) if rng.random() < 0.5 else (2, 3)  # noqa: PLR2004 - a fair coin
        numbers = _BACK[(start := int(rng.integers(0, 3))) : start + int(rng.integers(3, 5))]
        wanted = [10 * quadrant + n for quadrant in side for n in numbers]
    else:
        jaw = UPPER if rng.random() < 0.5 else LOWER  # noqa: PLR2004 - a fair coin
        wanted = list(jaw[first : first + count])
    boxes = {fdi: box for fdi, box in boxes_of(classes).items() if fdi in wanted}
    if len(boxes) < 2:  # noqa: PLR2004 - one tooth alone has no neighbours to tell it by
        return None
    around = np.array(list(boxes.values()))
    x0, y0, x1, y1 = (float(v) for v in (*around[:, :2].min(0), *around[:, 2:].max(0)))
    if bitewing:
        middles = [(box[1] + box[3]) / 2 for box in boxes.values()]
        y0, y1 = min(middles) + rng.normal(0, 0.02), max(middles) + rng.normal(0, 0.02)
    width, height = x1 - x0, y1 - y0
    grow = rng.uniform(-0.08, 0.12, 2) * width
    lift = rng.uniform(-0.04, 0.25, 2) * height * (0.3 if bitewing else 1)
    box = (x0 - grow[0], y0 - lift[0], x1 + grow[1], y1 + lift[1])
    if box[2] - box[0] < 0.05 or box[3] - box[1] < 0.05:  # noqa: PLR2004 - fractions; nothing to be seen
        return None
    return Window((float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(rng.uniform(*_FILL)), bitewing)


def boxes_of(classes: NDArray[np.uint8]) -> dict[int, tuple[float, float, float, float]]:
    """FDI number to the tight box x0, y0, x1, y1 of its pixels, in fractions."""
    rows, columns = classes.shape
    boxes = {}
    for fdi in FDI:
        there = classes == CLASS_OF[fdi]
        y, x = np.nonzero(there.any(1))[0], np.nonzero(there.any(0))[0]
        if len(y):
            boxes[fdi] = (x[0] / columns, y[0] / rows, (x[-1] + 1) / columns, (y[-1] + 1) / rows)
    return boxes
