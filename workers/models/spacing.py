"""How the teeth of an arch stand apart, and what that says about their numbers.

Upper and lower teeth bite on each other: each meets two of the other jaw, an upper first molar the lower first and
second, but for the lower central incisors and the last upper molars (Nelson, Wheeler's Dental Anatomy, Physiology and
Occlusion). The two sides are alike, and neighbours that lean take each other along. So the place of a tooth is foretold
by all the others, those of the other jaw included. Only distances relative to each other count; where the arch lies in
the picture, and how wide it is there, say nothing. Where a premolar or molar was lost the teeth behind it move up
(mesial drift) and close a part of the gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.arch import FDI, LOWER, UPPER
from workers.models.numbering import DEFAULT_PRICES, Evidence, Number, Prices, number_teeth, pair_costs

_HALF = (11, 12, 13, 14, 15, 16, 17, 18, 41, 42, 43, 44, 45, 46, 47, 48)
# Fitted to the tooth centres of the label maps of the 301 training films of UFBA-425, both sides taken together, by EM
# for the missing teeth; no network, no validation film. Unit: 1/512 of the width of a 16:9 panoramic. Again, to 0.2 and
# 1.0 (a test does it): python -m workers.training.teeth.spacing_table DATA --closed 0.22 0.3
_FROM_MIDLINE = np.array(
    (10.6, 28.9, 48.0, 66.0, 83.9, 107.4, 133.7, 151.8, 6.7, 20.9, 39.6, 58.5, 79.5, 105.7, 139.1, 168.0)
)
_SAME_SIDE = np.array(  # covariance of the distances from the midline of two teeth of one side, in the order of _HALF
    (
        (16.0, 15.5, 13.0, 10.3, 7.9, 3.8, 2.0, 1.9, -4.7, -4.1, -4.9, -6.7, -6.8, -7.7, -8.6, -9.7),
        (15.5, 22.1, 18.9, 15.6, 13.5, 5.4, 3.9, 3.7, -4.0, -2.8, -3.3, -7.2, -7.4, -11.6, -11.9, -11.4),
        (13.0, 18.9, 25.4, 20.2, 17.8, 8.6, 7.6, 7.6, -4.4, -3.0, -3.0, -8.6, -9.5, -13.4, -13.2, -12.5),
        (10.3, 15.6, 20.2, 25.7, 22.0, 12.8, 12.2, 11.9, -5.4, -4.5, -3.7, -7.7, -8.6, -13.7, -12.4, -10.9),
        (7.9, 13.5, 17.8, 22.0, 28.2, 14.1, 14.7, 14.5, -5.7, -4.6, -3.3, -7.6, -8.0, -16.0, -13.3, -9.7),
        (3.8, 5.4, 8.6, 12.8, 14.1, 29.5, 27.2, 22.2, -7.5, -9.5, -11.2, -10.3, -12.3, -9.2, -9.1, -13.3),
        (2.0, 3.9, 7.6, 12.2, 14.7, 27.2, 36.9, 34.5, -8.4, -10.2, -11.8, -11.4, -13.0, -10.6, -5.0, -3.5),
        (1.9, 3.7, 7.6, 11.9, 14.5, 22.2, 34.5, 68.3, -8.3, -10.0, -12.9, -12.9, -15.1, -12.8, -4.1, 2.1),
        (-4.7, -4.0, -4.4, -5.4, -5.7, -7.5, -8.4, -8.3, 13.5, 12.6, 12.2, 9.0, 6.8, 3.1, 0.4, -0.6),
        (-4.1, -2.8, -3.0, -4.5, -4.6, -9.5, -10.2, -10.0, 12.6, 17.7, 17.2, 12.0, 9.3, 4.9, 2.0, 1.3),
        (-4.9, -3.3, -3.0, -3.7, -3.3, -11.2, -11.8, -12.9, 12.2, 17.2, 23.9, 14.8, 11.0, 5.3, 2.3, 2.2),
        (-6.7, -7.2, -8.6, -7.7, -7.6, -10.3, -11.4, -12.9, 9.0, 12.0, 14.8, 26.2, 23.9, 13.3, 10.7, 8.2),
        (-6.8, -7.4, -9.5, -8.6, -8.0, -12.3, -13.0, -15.1, 6.8, 9.3, 11.0, 23.9, 36.9, 19.5, 18.2, 15.5),
        (-7.7, -11.6, -13.4, -13.7, -16.0, -9.2, -10.6, -12.8, 3.1, 4.9, 5.3, 13.3, 19.5, 41.2, 36.8, 27.9),
        (-8.6, -11.9, -13.2, -12.4, -13.3, -9.1, -5.0, -4.1, 0.4, 2.0, 2.3, 10.7, 18.2, 36.8, 49.9, 46.3),
        (-9.7, -11.4, -12.5, -10.9, -9.7, -13.3, -3.5, 2.1, -0.6, 1.3, 2.2, 8.2, 15.5, 27.9, 46.3, 66.1),
    ),
    float,
)
_OTHER_SIDE = np.array(  # the same of a tooth and one of the other side
    (
        (-10.4, -8.5, -6.3, -4.3, -1.3, -1.4, 1.3, 3.6, 5.2, 5.9, 6.9, 5.9, 6.4, 5.0, 7.2, 9.7),
        (-8.5, -4.3, -1.6, 0.6, 3.8, 0.1, 3.5, 6.0, 5.2, 6.6, 7.9, 4.9, 5.6, 1.8, 5.3, 9.6),
        (-6.3, -1.6, 4.1, 5.2, 7.8, 2.1, 5.0, 7.7, 5.5, 6.8, 8.5, 3.0, 2.0, -1.6, 1.1, 4.3),
        (-4.3, 0.6, 5.2, 7.9, 9.6, 3.7, 6.1, 8.8, 5.9, 6.8, 7.8, 3.6, 2.1, -3.3, -0.6, 2.6),
        (-1.3, 3.8, 7.8, 9.6, 12.3, 2.8, 5.0, 7.4, 6.6, 7.7, 8.6, 2.9, 1.5, -7.2, -4.6, -1.2),
        (-1.4, 0.1, 2.1, 3.7, 2.8, 13.3, 12.2, 10.5, 5.3, 3.5, 0.9, 0.1, -3.8, -2.4, -4.8, -10.8),
        (1.3, 3.5, 5.0, 6.1, 5.0, 12.2, 15.5, 17.4, 6.4, 4.6, 1.6, -1.1, -6.1, -6.4, -6.3, -8.7),
        (3.6, 6.0, 7.7, 8.8, 7.4, 10.5, 17.4, 46.3, 5.7, 4.1, 0.2, -3.8, -10.0, -11.1, -9.6, -8.2),
        (5.2, 5.2, 5.5, 5.9, 6.6, 5.3, 6.4, 5.7, -10.7, -9.2, -8.1, -6.0, -3.5, -1.9, 0.9, 2.5),
        (5.9, 6.6, 6.8, 6.8, 7.7, 3.5, 4.6, 4.1, -9.2, -5.8, -3.6, -3.6, -1.5, -0.5, 1.9, 3.9),
        (6.9, 7.9, 8.5, 7.8, 8.6, 0.9, 1.6, 0.2, -8.1, -3.6, 0.6, -1.7, -0.2, -0.7, 1.2, 3.7),
        (5.9, 4.9, 3.0, 3.6, 2.9, 0.1, -1.1, -3.8, -6.0, -3.6, -1.7, 9.3, 11.7, 5.6, 5.9, 4.5),
        (6.4, 5.6, 2.0, 2.1, 1.5, -3.8, -6.1, -10.0, -3.5, -1.5, -0.2, 11.7, 20.4, 9.1, 8.8, 5.5),
        (5.0, 1.8, -1.6, -3.3, -7.2, -2.4, -6.4, -11.1, -1.9, -0.5, -0.7, 5.6, 9.1, 25.9, 20.7, 10.5),
        (7.2, 5.3, 1.1, -0.6, -4.6, -4.8, -6.3, -9.6, 0.9, 1.9, 1.2, 5.9, 8.8, 20.7, 22.4, 16.8),
        (9.7, 9.6, 4.3, 2.6, -1.2, -10.8, -8.7, -8.2, 2.5, 3.9, 3.7, 4.5, 5.5, 10.5, 16.8, 24.2),
    ),
    float,
)
# Part of the room of a lost premolar or molar that closes: upper jaw, lower jaw. Most likely on the training maps are
# 0.24 and 0.21. The lower 0.3 is from coarser fits (0.25 and 0.42), and what the figures were measured with; the tables
# fitted with 0.24 and 0.21 number the validation films equally well (F1 0.943).
_CLOSED = {True: 0.22, False: 0.3}
_DRIFTS = (4, 5, 6, 7)  # whose loss lets the teeth behind them move up
FREEDOM = 10.0  #: of the Student t density: an odd arch is odd under every numbering
SHIFT, SCALE = 20.0, 0.06  #: how far the numbers of the pixels may misplace the arch, and misjudge its width
_WEIGHT = 0.75  # against the evidence of the pixels; 0.5 to 1 do as well
_FEWEST = 6  # teeth; fewer do not show where the arch lies
_OUTLIER = 12.0  # units; what lies further off counts less when the arch is laid over the mean one
_ROUNDS = 8  # of moves at most
_ROUNDING = 1e-6
_CLASS = {fdi: index for index, fdi in enumerate(FDI)}
_SIDE = np.array([-1.0 if fdi // 10 in {1, 4} else 1.0 for fdi in FDI])
_ROW = np.array([_HALF.index(fdi + {1: 0, 2: -10, 3: 10, 4: 0}[fdi // 10]) for fdi in FDI])
_MEAN = _SIDE * _FROM_MIDLINE[_ROW]
_ROOM = np.array([abs(_MEAN[i + 1] - _MEAN[i]) if fdi % 10 in _DRIFTS else 0.0 for i, fdi in enumerate(FDI)])
_MOVES_UP = _SIDE * np.array([_CLOSED[fdi in UPPER] for fdi in FDI])


def _covariance() -> NDArray[np.float64]:
    """(32, 32) of the places of all teeth, in the order of ``arch.FDI``; shift and scale of the whole arch are free."""
    alike = np.equal.outer(_SIDE, _SIDE)
    own = np.where(alike, _SAME_SIDE[np.ix_(_ROW, _ROW)], _OTHER_SIDE[np.ix_(_ROW, _ROW)])
    return np.asarray(own * np.outer(_SIDE, _SIDE) + SHIFT**2 + SCALE**2 * np.outer(_MEAN, _MEAN))


_COVARIANCE = _covariance()


def strain(places: NDArray[np.float64], classes: NDArray[np.intp]) -> NDArray[np.float64]:
    """How badly places fit numberings: negative log density up to a constant.

    Args:
        places: (n,) of the teeth along the arch, as ``laid_over`` gives them.
        classes: (m, n) numberings to compare, indices of ``arch.FDI``, each at most once in a row.

    Returns:
        (m,) nats.
    """
    lost = np.ones((len(classes), len(FDI)), bool)
    np.put_along_axis(lost, classes, values=False, axis=1)
    room = (lost * _ROOM).reshape(-1, 4, 8)
    closed = (room.cumsum(2) - room).reshape(-1, len(FDI))
    mean = np.take_along_axis(_MEAN - _MOVES_UP * closed, classes, 1)
    factor = np.linalg.cholesky(_COVARIANCE[classes[:, :, None], classes[:, None, :]])
    off = np.linalg.solve(factor, (places - mean)[:, :, None])[:, :, 0]
    spread = 2 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
    return np.asarray((spread + (FREEDOM + len(places)) * np.log1p((off**2).sum(1) / FREEDOM)) / 2)


def laid_over(x: NDArray[np.float64], classes: NDArray[np.intp]) -> NDArray[np.float64] | None:
    """Centres (n,) in any unit, shifted and scaled onto the mean arch; None where the numbers run the other way."""
    mean, weight = _MEAN[classes], np.ones(len(x))
    places = x
    for _ in range(4):
        columns = np.stack([weight, weight * mean], 1)
        shift, scale = np.linalg.lstsq(columns, weight * x, rcond=None)[0]
        if scale <= 0:
            return None
        places = (x - shift) / scale
        weight = np.sqrt(np.minimum(1, _OUTLIER / np.maximum(np.abs(places - mean), 1e-9)))
    return places


def number_arch(teeth: Sequence[Evidence], prices: Prices = DEFAULT_PRICES) -> list[Number]:
    """A number for each tooth of a panoramic: as ``number_teeth``, then rows of neighbours move by one place.

    A row moves where the evidence of the pixels, the gaps, and the spacing of both jaws together speak for it; the best
    move first, until none is left.
    """
    numbers = number_teeth(teeth, prices)
    known = [i for i, number in enumerate(numbers) if number.fdi is not None]
    if len(known) < _FEWEST:
        return numbers
    start = np.array([_CLASS[numbers[i].fdi or 0] for i in known])
    places = laid_over(np.array([teeth[i].x for i in known]), start)
    if places is None:
        return numbers
    jaws = [_jaw_of([teeth[i] for i in known], start, jaw, prices) for jaw in (UPPER, LOWER)]
    best, margins = _descend(start, jaws, places)
    settled = list(numbers)
    for i, before, now, margin in zip(known, start, best, margins, strict=True):
        was = numbers[i].margin if before == now else np.inf
        settled[i] = Number(FDI[now], float(min(was, margin)))
    return settled


@dataclass(frozen=True, slots=True, eq=False)
class _Jaw:
    """One jaw: which of the numbered teeth, from left to right, classes of its slots, and what numbers cost."""

    members: NDArray[np.intp]
    classes: NDArray[np.intp]
    unary: NDArray[np.float64]
    pair: NDArray[np.float64]

    def slots(self, numbering: NDArray[np.intp]) -> NDArray[np.intp]:
        """Of its teeth."""
        return np.argsort(self.classes)[np.searchsorted(np.sort(self.classes), numbering[self.members])]

    def cost(self, slots: NDArray[np.intp]) -> float:
        """Pixels and gaps, as in ``numbering``."""
        n = np.arange(len(slots))
        return float(self.unary[n, slots].sum() + self.pair[n[:-1], n[1:], slots[:-1], slots[1:]].sum())


def _jaw_of(teeth: list[Evidence], numbering: NDArray[np.intp], jaw: tuple[int, ...], prices: Prices) -> _Jaw:
    classes = np.array([_CLASS[fdi] for fdi in jaw])
    order = {int(c): slot for slot, c in enumerate(classes)}
    members = sorted((i for i, c in enumerate(numbering) if int(c) in order), key=lambda i: order[int(numbering[i])])
    mine = [teeth[i] for i in members]
    log_p = np.array([tooth.log_p[classes] for tooth in mine]).reshape(-1, len(classes))
    return _Jaw(np.array(members, np.intp), classes, -np.maximum(log_p, prices.floor), pair_costs(mine, prices))


def _descend(
    numbering: NDArray[np.intp], jaws: list[_Jaw], places: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The numbering that no move betters, and for each tooth how much dearer the best move is that changes it."""
    dearer = np.zeros(len(numbering))
    for _ in range(_ROUNDS):
        tried, cost = _neighbours(numbering, jaws)
        total = cost + _WEIGHT * strain(places, tried)
        best = int(total.argmin()) if total.min() < total[0] - _ROUNDING else 0
        numbering = tried[best]
        dearer = np.where(tried != numbering, np.maximum(total - total[best], 0.0)[:, None], np.inf).min(0)
        if best == 0:
            break
    return numbering, dearer


def _neighbours(numbering: NDArray[np.intp], jaws: list[_Jaw]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """A numbering, first, and all that are one move away; and what they cost more by pixels and gaps."""
    tried, cost = [numbering], [0.0]
    for jaw in jaws:
        here = jaw.slots(numbering)
        for slots in _moves(here, len(jaw.classes)):
            other = numbering.copy()
            other[jaw.members] = jaw.classes[slots]
            tried.append(other)
            cost.append(jaw.cost(slots) - jaw.cost(here))
    return np.array(tried), np.array(cost)


def _moves(slots: NDArray[np.intp], count: int) -> list[NDArray[np.intp]]:
    """Every row of neighbours one place up or down, where there is room."""
    found = []
    for first in range(len(slots)):
        for last in range(first + 1, len(slots) + 1):
            for step in (-1, 1):
                moved = slots.copy()
                moved[first:last] += step
                if moved[0] >= 0 and moved[-1] < count and (np.diff(moved) > 0).all():
                    found.append(moved)
    return found
