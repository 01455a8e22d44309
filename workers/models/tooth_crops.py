"""Single teeth cut out of a panoramic, alike whatever the device: as training sees them and as the model sees them.

A crop is a square around the tooth's box, turned so that the roots point down and the midline of the jaw lies to the
right: four quadrants teach one view. Its size follows the tooth, so films of any resolution come out equally sharp.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.arch import LOWER, MEAN_ARCH, UPPER, Frame, arch_frame
from workers.models.view import Plane, looks_at
from workers.regions import Detection

CHANNELS, MASKS = 3, 2  # grey; tooth mask (or box), distance from the midline
_WIDTH = 1.3  # a side of the crop is _SIDE times the tooth's height, or its width times _WIDTH
_SIDE = 1.6
_GREY = (1.0, 99.7)  # percentiles of the jaws; metal stays brighter than enamel
_MARGIN = 0.1  # of the rectangle around all teeth, to each side
_MIDLINE, _HALF_ARCH, _FRAME_Y, _HALF_FRAME = 0.503, 0.40, 0.51, 0.36  # of the mean arch, see ``arch.arch_frame``
_UPPER_SLOTS = np.array([MEAN_ARCH[fdi] for fdi in UPPER])
_LOWER_SLOTS = np.array([MEAN_ARCH[fdi] for fdi in LOWER])
_FAR = 0.7  # of the width of a slot; what lies further from every free slot has no number


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Something to look at: box x0, y0, x1, y1 in pixels, the mask inside it or None, and the FDI number if known."""

    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_] | None = None
    tooth: int | None = None


class Jaws:
    """Where the jaws lie on an image, and how bright they are, told by the teeth that were found."""

    def __init__(self, pixels: Plane, teeth: Sequence[Detection]) -> None:
        """``pixels``: (rows, columns) 0 to 1; ``teeth``: those with a number and a box count."""
        self.pixels = pixels
        self.rows, self.columns = pixels.shape
        self.teeth = {d.tooth: d.box for d in teeth if d.tooth in MEAN_ARCH and d.box is not None}
        self.frame: Frame = arch_frame({fdi: self._centre(box) for fdi, box in self.teeth.items()})
        self.low, self.high = self._grey()

    def _centre(self, box: tuple[float, float, float, float]) -> tuple[float, float]:
        return (box[0] + box[2]) / 2 / self.columns, (box[1] + box[3]) / 2 / self.rows

    def _grey(self) -> tuple[float, float]:
        part = self.pixels
        if self.teeth:
            boxes = np.array(list(self.teeth.values()))
            (x0, y0), (x1, y1) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
            across, down = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
            rows = slice(max(int(y0 - down), 0), int(y1 + down) + 1)
            part = part[rows, max(int(x0 - across), 0) : int(x1 + across) + 1]
        step = max(round((part.size / 1e5) ** 0.5), 1)  # enough of a large film
        low, high = np.percentile(part[::step, ::step], _GREY)
        return float(low), float(high)

    def standard(self, place: Place) -> tuple[float, float]:
        """The centre of a place on the mean arch (fractions of the mean panoramic)."""
        x, y = self._centre(place.box)
        across, down = (x - self.frame.x) / self.frame.half_width, (y - self.frame.y) / self.frame.half_height
        return _MIDLINE + across * _HALF_ARCH, _FRAME_Y + down * _HALF_FRAME

    def is_upper(self, place: Place) -> bool:
        """By the number, else by the jaw whose teeth lie nearer on the mean arch."""
        if place.tooth is not None:
            return place.tooth // 10 in (1, 2)
        x, y = self.standard(place)
        upper = np.interp(x, _UPPER_SLOTS[:, 0], _UPPER_SLOTS[:, 1])
        lower = np.interp(x, _LOWER_SLOTS[:, 0], _LOWER_SLOTS[:, 1])
        return bool(abs(y - upper) < abs(y - lower))

    def crop(self, place: Place, size: int) -> NDArray[np.uint8]:
        """(size, size, CHANNELS): grey; mask of the tooth, its box where there is none; distance from the midline.

        The last is one value: 0 = midline, 255 = the end of the arch or beyond.
        """
        x0, y0, x1, y1 = place.box
        half = _SIDE / 2 * max(y1 - y0, _WIDTH * (x1 - x0), 2.0)
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        # cut first: sampling weights of a part of a large film are far cheaper than those of all of it
        top, left = max(int(y - half) - 2, 0), max(int(x - half) - 2, 0)
        part = self.pixels[top : int(y + half) + 3, left : int(x + half) + 3]
        if not part.size:
            return np.zeros((size, size, CHANNELS), np.uint8)
        rows, columns = part.shape
        frame = Frame((x - left) / columns, (y - top) / rows, half / columns, half / rows)
        grey, mask = looks_at((part, _painted(place, part.shape, (top, left))), frame, (size, size))
        grey = (grey - self.low) / max(self.high - self.low, 1e-3)
        middle, _ = self.standard(place)
        planes = np.stack([grey, mask, np.full_like(mask, abs(middle - _MIDLINE) / _HALF_ARCH)], -1)
        if self.is_upper(place):
            planes = planes[::-1]
        if middle > _MIDLINE:
            planes = planes[:, ::-1]
        return np.asarray((planes.clip(0, 1) * 255).round(), np.uint8)

    def free_number(self, place: Place) -> int | None:
        """The number of the slot without a tooth that lies nearest, None where none is near."""
        slots, means = (UPPER, _UPPER_SLOTS) if self.is_upper(place) else (LOWER, _LOWER_SLOTS)
        x, _ = self.standard(place)
        taken = [k for k, fdi in enumerate(slots) if fdi in self.teeth]
        if taken:  # this jaw is shifted and stretched as its own teeth say
            seen = [self.standard(Place(self.teeth[slots[k]]))[0] for k in taken]
            means = means + np.interp(range(len(slots)), taken, np.array(seen) - means[taken, 0])[:, None]
        widths = np.gradient(means[:, 0]).clip(min=0.02)
        away = np.abs(means[:, 0] - x) / widths
        away[taken] = np.inf
        nearest = int(away.argmin())
        return slots[nearest] if away[nearest] < _FAR else None


def _painted(place: Place, shape: tuple[int, ...], corner: tuple[int, int]) -> Plane:
    """1 where the tooth is, on a part of the image whose first pixel is ``corner`` (row, column)."""
    plane = np.zeros(shape, np.float32)
    x0, y0 = round(place.box[0]) - corner[1], round(place.box[1]) - corner[0]
    mask = place.mask
    if mask is None:
        size = (round(place.box[3]) - round(place.box[1]), round(place.box[2]) - round(place.box[0]))
        mask = np.ones((max(size[0], 1), max(size[1], 1)), np.bool_)
    mask = mask[max(-y0, 0) :, max(-x0, 0) :]
    y0, x0 = max(y0, 0), max(x0, 0)
    target = plane[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]]
    target[:] = mask[: target.shape[0], : target.shape[1]]
    return plane


def overlap(a: Sequence[tuple[float, ...]], b: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    """(len(a), len(b)) intersection over union of boxes x0, y0, x1, y1."""
    p, q = np.array(a, float).reshape(-1, 1, 4), np.array(b, float).reshape(1, -1, 4)
    both = np.clip(np.minimum(p[..., 2:], q[..., 2:]) - np.maximum(p[..., :2], q[..., :2]), 0, None).prod(-1)
    union = (p[..., 2:] - p[..., :2]).prod(-1) + (q[..., 2:] - q[..., :2]).prod(-1) - both
    return np.asarray(both / np.maximum(union, 1e-9))
