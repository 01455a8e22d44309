"""Things on a panoramic that may be no tooth to the tooth model: proposals for the condition model to judge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from workers.models.arch import Frame
from workers.models.tooth_crops import Jaws, overlap
from workers.models.view import Plane, look_at
from workers.networks.object_net import KINDS

WIDER = 1.12  # than the frame of the teeth: roots of implants and impacted teeth lie outside
MEAN, DEVIATION = 0.45, 0.25  # of what the network sees
_PEAK_WINDOW = (9, 5)  # rows, columns in which a centre is the highest; output pixels
_LARGEST = 4.5  # log of output pixels
_SAME = 0.4  # overlap of two boxes that mean one thing
_INSIDE = 0.6  # share of the smaller of two boxes in the other: one thing too


@dataclass(frozen=True, slots=True)
class Proposal:
    """A box x0, y0, x1, y1 in pixels of the image, the heat at its centre, and the kind that was hottest."""

    box: tuple[float, float, float, float]
    heat: float
    kind: str


def object_frame(jaws: Jaws) -> Frame:
    """What the network looks at."""
    frame = jaws.frame
    return Frame(frame.x, frame.y, WIDER * frame.half_width, WIDER * frame.half_height)


def object_canvas(jaws: Jaws, frame: Frame, size: tuple[int, int]) -> Plane:
    """Grey 0 to 1 (rows, columns) of a frame, as bright as the jaws are."""
    canvas = (look_at(jaws.pixels, frame, size) - np.float32(jaws.low)) / np.float32(max(jaws.high - jaws.low, 1e-3))
    return np.asarray(canvas.clip(0, 1), np.float32)


def find_objects(output: Plane, frame: Frame, shape: Sequence[int], least: float) -> list[Proposal]:
    """Boxes in one output (OUTPUTS, h, w) of ``ObjectNet``, hottest first, none twice.

    Args:
        output: of the canvas of ``frame``.
        frame: in fractions of the image.
        shape: rows and columns of the image.
        least: heat.
    """
    heat = expit(output[: len(KINDS)])
    hottest = heat.max(0)
    smooth = ndimage.uniform_filter(hottest, 3)
    peaks = np.argwhere((smooth == ndimage.maximum_filter(smooth, _PEAK_WINDOW)) & (hottest > least))
    rows, columns = hottest.shape
    step = (2 * frame.half_height * shape[0] / rows, 2 * frame.half_width * shape[1] / columns)
    corner = ((frame.y - frame.half_height) * shape[0], (frame.x - frame.half_width) * shape[1])
    found = []
    for row, column in peaks:
        high, wide = np.exp(output[len(KINDS) :, row, column].clip(0, _LARGEST)) * step
        y, x = corner[0] + (row + 0.5) * step[0], corner[1] + (column + 0.5) * step[1]
        left, top = float(max(x - wide / 2, 0)), float(max(y - high / 2, 0))
        right, bottom = float(min(x + wide / 2, shape[1])), float(min(y + high / 2, shape[0]))
        if right - left > 1 and bottom - top > 1:
            kind = KINDS[int(heat[:, row, column].argmax())]
            found.append(Proposal((left, top, right, bottom), float(hottest[row, column]), kind))
    return _once(sorted(found, key=lambda proposal: -proposal.heat))


def _once(proposals: list[Proposal]) -> list[Proposal]:
    kept: list[Proposal] = []
    for proposal in proposals:
        if not kept or overlap([proposal.box], [p.box for p in kept]).max() < _SAME:
            kept.append(proposal)
    return kept


def unclaimed(proposals: Sequence[Proposal], boxes: NDArray[np.float64]) -> list[Proposal]:
    """The proposals that are none of the boxes (n, 4) of teeth."""
    if not len(boxes):
        return list(proposals)
    return [p for p in proposals if overlap([p.box], list(boxes)).max() < _SAME and _covered(p, boxes) < _INSIDE]


def _covered(proposal: Proposal, boxes: NDArray[np.float64]) -> float:
    """The largest share of the smaller box that lies in the other."""
    a = np.array(proposal.box)
    both = np.clip(np.minimum(a[2:], boxes[:, 2:]) - np.maximum(a[:2], boxes[:, :2]), 0, None).prod(-1)
    smaller = np.minimum((a[2:] - a[:2]).prod(), (boxes[:, 2:] - boxes[:, :2]).prod(-1))
    return float((both / np.maximum(smaller, 1e-9)).max())
