"""Dense output of the tooth network to single teeth: centres are peaks, pixels vote by their offset.

Teeth are told apart without their numbers, so two neighbours that look like one number stay two.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit, log_softmax

from workers.networks.tooth_net import CLASSES, NUMBERS, OFFSET_UNIT

Plane = NDArray[np.float32]

_PEAK = 0.25  # least heat of a centre
_PEAK_WINDOW = (9, 5)  # rows, columns in which a centre is the highest; output pixels
_REACH = (26.0, 11.0)  # a vote counts within this distance of a centre, rows and columns
_MAYBE, _SURELY = 0.2, 0.5  # foreground: pixels that may belong to a tooth (its soft edge), and that do
_SMALLEST = 40  # output pixels


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One tooth-like thing in the grid of the network's output.

    Attributes:
        x, y: centre of its pixels, output pixels.
        top, left: first row and column of ``soft``.
        soft: probability that a pixel belongs to it; its edge is where this is 0.5.
        seen: how surely it is a tooth, 0 to 1.
        log_p: natural log of the probability of each of the 32 numbers, in the order of ``arch.FDI``.
    """

    x: float
    y: float
    top: int
    left: int
    soft: Plane
    seen: float
    log_p: NDArray[np.float64]

    @property
    def span(self) -> tuple[float, float]:
        """First and last column that surely belong to it (the last exclusive)."""
        columns = np.nonzero((self.soft > _SURELY).any(0))[0]
        return float(self.left + columns[0]), float(self.left + columns[-1] + 1)


def find_instances(output: Plane) -> list[Instance]:
    """Teeth in one output (OUTPUTS, h, w) of ``ToothNet``, without numbers; from left to right."""
    log_p = log_softmax(output[:CLASSES], axis=0)
    tooth = 1 - np.exp(log_p[0])
    heat = expit(output[CLASSES])
    peaks = _peaks(heat)
    if not len(peaks):
        return []
    rows, columns, owner = _vote(tooth, output[CLASSES + 1 :] * OFFSET_UNIT, peaks)
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(len(peaks) + 1))
    found = []
    for k, (peak_row, peak_column) in enumerate(peaks):
        mine = order[starts[k] : starts[k + 1]]
        near = heat[max(peak_row - 1, 0) : peak_row + 2, max(peak_column - 1, 0) : peak_column + 2].max()
        instance = _instance(rows[mine], columns[mine], tooth, log_p, float(near))
        if instance is not None:
            found.append(instance)
    return sorted(found, key=lambda instance: instance.x)


def _peaks(heat: Plane) -> NDArray[np.intp]:
    """(n, 2) rows and columns of the centres."""
    smooth = ndimage.uniform_filter(heat, 3)
    highest = ndimage.maximum_filter(smooth, _PEAK_WINDOW)
    return np.argwhere((smooth == highest) & (ndimage.maximum_filter(heat, 3) > _PEAK))


def _vote(
    tooth: Plane, offsets: Plane, peaks: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels that found a centre, and the index of that centre."""
    rows, columns = np.nonzero(tooth > _MAYBE)
    target_row = (rows + offsets[0, rows, columns]).astype(np.float32)
    target_column = (columns + offsets[1, rows, columns]).astype(np.float32)
    at = peaks.astype(np.float32)
    down = (target_row[:, None] - at[None, :, 0]) / np.float32(_REACH[0])
    across = (target_column[:, None] - at[None, :, 1]) / np.float32(_REACH[1])
    distance = down * down + across * across
    owner = distance.argmin(1)
    near = distance[np.arange(len(owner)), owner] < 1
    return rows[near], columns[near], owner[near]


def _instance(
    rows: NDArray[np.intp], columns: NDArray[np.intp], tooth: Plane, log_p: Plane, near: float
) -> Instance | None:
    """Largest connected part of the pixels that voted for one centre; None if too little is left."""
    if len(rows) < _SMALLEST:
        return None
    top, left = rows.min(), columns.min()
    soft = np.zeros((rows.max() - top + 1, columns.max() - left + 1), np.float32)
    soft[rows - top, columns - left] = tooth[rows, columns]
    parts, count = ndimage.label(soft > _SURELY)
    if not count:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    core = parts == 1 + sizes.argmax()
    if sizes.max() < _SMALLEST:
        return None
    soft *= ndimage.binary_dilation(core, np.ones((3, 3)))
    y, x = np.nonzero(core)
    evidence = log_p[1:, y + top, x + left].mean(1, dtype=np.float64)
    return Instance(
        x=float(x.mean() + left),
        y=float(y.mean() + top),
        top=int(top),
        left=int(left),
        soft=soft,
        seen=near * float(soft[core].mean()),
        log_p=log_softmax(evidence.reshape(NUMBERS)),
    )
