"""FDI numbers for the teeth of an image: the best path through the slots of each jaw, by dynamic programming.

Each jaw's teeth, from left to right, take increasing slots 0..15 (18 to 28, or 48 to 38); a tooth may stay without a
number, and one pair of neighbours may have changed places where the pixels say so. So no number is given twice, and a
gap in the picture argues for a gap in the numbers. Costs are negative natural logs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.arch import CLASS_OF, LOWER, UPPER

SLOTS = 16
_COLUMNS = {jaw: [CLASS_OF[fdi] - 1 for fdi in jaw] for jaw in (UPPER, LOWER)}
_UPPER_CLASSES = 16  # classes of the quadrants 1 and 2 come first


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the decoder knows of one tooth.

    Attributes:
        x: its centre, any unit.
        left, right: its extent along the arch, the same unit.
        log_p: (32,) log probability of each number, in the order of ``arch.FDI``.
    """

    x: float
    left: float
    right: float
    log_p: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Number:
    """The number of one tooth.

    Attributes:
        fdi: None = no number fits (supernumerary, implant, deciduous, or not a tooth).
        margin: how much dearer the best path is that gives it another number; 0 = a toss-up.
    """

    fdi: int | None
    margin: float


@dataclass(frozen=True, slots=True)
class Prices:
    """What the order of the arch is worth against the evidence of the pixels.

    Attributes:
        gap: per slot by which a step in numbers differs from the gap in the picture.
        skip: leaving a tooth without a number.
        swap: two neighbours that stand in reverse order.
        floor: least log probability that counts: one sure pixel opinion never outweighs a whole row.
    """

    gap: float = 1.0
    skip: float = 6.0
    swap: float = 4.0
    floor: float = -12.0


DEFAULT_PRICES = Prices()
_FORBIDDEN = 1e6  # a price that is never paid while anything else can be


def number_teeth(teeth: Sequence[Evidence], prices: Prices = DEFAULT_PRICES) -> list[Number]:
    """A number for each tooth, in the order given; each FDI number at most once."""
    upper = [float(np.exp(tooth.log_p[:_UPPER_CLASSES]).sum()) > 0.5 for tooth in teeth]  # noqa: PLR2004 - more likely than not
    return _number_jaws(teeth, upper, prices, range(SLOTS))[1]


def number_window(
    teeth: Sequence[Evidence], upper: Sequence[bool], most: int, prices: Prices = DEFAULT_PRICES
) -> list[Number]:
    """A number for each tooth of a film that shows only a part of the arch.

    Args:
        teeth: of both jaws.
        upper: which of them belong to the upper jaw.
        most: slots next to each other that a film can show, the same in both jaws.
        prices: of the decoder.

    Returns:
        Numbers in the order given, all within one window of ``most`` slots. Margins count what other windows would
        have said.
    """
    windows = [_number_jaws(teeth, upper, prices, range(s, s + most)) for s in range(SLOTS - most + 1)]
    cost, best = min(windows, key=lambda window: window[0])
    return [
        Number(number.fdi, min(_dearer(window, i, number.fdi) for window in windows) - cost)
        for i, number in enumerate(best)
    ]


def _dearer(window: tuple[float, list[Number]], i: int, fdi: int | None) -> float:
    """Cost of a window's cheapest path that gives tooth i another number."""
    cost, numbers = window
    return cost + (numbers[i].margin if numbers[i].fdi == fdi else 0.0)


def _number_jaws(
    teeth: Sequence[Evidence], upper: Sequence[bool], prices: Prices, slots: range
) -> tuple[float, list[Number]]:
    """Cost and numbers of both jaws within some slots."""
    numbers, cost = [Number(None, 0.0)] * len(teeth), 0.0
    for jaw, is_upper in ((UPPER, True), (LOWER, False)):
        members = sorted((i for i, up in enumerate(upper) if up == is_upper), key=lambda i: teeth[i].x)
        jaw_cost, found = _number_jaw([teeth[i] for i in members], jaw, prices, slots)
        cost += jaw_cost
        for i, number in zip(members, found, strict=True):
            numbers[i] = number
    return cost, numbers


def _number_jaw(
    teeth: list[Evidence], jaw: tuple[int, ...], prices: Prices, slots: range
) -> tuple[float, list[Number]]:
    """Cost and numbers of one jaw's teeth, which come from left to right."""
    if not teeth:
        return 0.0, []
    order = list(range(len(teeth)))
    best = _solve(teeth, jaw, prices, slots)
    looks = [int(tooth.log_p[_COLUMNS[jaw]].argmax()) for tooth in teeth]
    for i in range(len(teeth) - 1):
        if looks[i] <= looks[i + 1]:
            continue  # only where the pixels themselves contradict the order
        swapped = [*range(i), i + 1, i, *range(i + 2, len(teeth))]
        other = _solve([teeth[k] for k in swapped], jaw, prices, slots)
        if other.cost + prices.swap < best.cost + (prices.swap if order != sorted(order) else 0.0):
            best, order = other, swapped
    numbers = [Number(None, 0.0)] * len(teeth)
    for place, i in enumerate(order):
        slot = best.slots[place]
        numbers[i] = Number(None if slot is None else jaw[slot], best.margins[place])
    return best.cost, numbers


@dataclass(frozen=True, slots=True)
class _Path:
    cost: float
    slots: list[int | None]
    margins: list[float]


def _solve(teeth: list[Evidence], jaw: tuple[int, ...], prices: Prices, allowed: range) -> _Path:
    """Cheapest assignment of teeth, in this order, to increasing slots, with margins from a second sweep backwards."""
    count = len(teeth)
    unary = -np.maximum(np.stack([tooth.log_p[_COLUMNS[jaw]] for tooth in teeth]), prices.floor)
    unary[:, [slot for slot in range(SLOTS) if slot not in allowed]] = _FORBIDDEN
    pair = pair_costs(teeth, prices)
    before, back = _sweep(unary, pair, prices.skip)
    after, _ = _sweep(unary[::-1], pair[::-1, ::-1].transpose(1, 0, 3, 2), prices.skip)
    through = before + after[::-1] - unary  # cheapest complete path through each (tooth, slot)
    nothing = count * prices.skip
    slots = _trace(through, before, back, nothing, prices.skip)
    cost = min(float(through.min()), nothing)
    others = [through[i] if slot is None else np.delete(through[i], slot) for i, slot in enumerate(slots)]
    margins = [max(float(rivals.min()) - cost, 0.0) for rivals in others]
    return _Path(cost, slots, margins)


def pair_costs(teeth: list[Evidence], prices: Prices) -> NDArray[np.float64]:
    """(n, n, 16, 16): tooth j in slot p followed by tooth i in slot s, indexed [j, i, p, s]; infinite where s <= p."""
    left = np.array([tooth.left for tooth in teeth])
    right = np.array([tooth.right for tooth in teeth])
    width = right - left
    mean = np.maximum((width[:, None] + width[None, :]) / 2, 1e-6)
    gap = np.clip((left[None, :] - right[:, None]) / mean, 0, None)
    step = np.arange(SLOTS)[None, :] - np.arange(SLOTS)[:, None]
    cost = prices.gap * np.abs(step[None, None] - 1 - gap[:, :, None, None])
    return np.where(step > 0, cost, np.inf)


def _sweep(
    unary: NDArray[np.float64], pair: NDArray[np.float64], skip: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Cheapest path that ends at each (tooth, slot), and where it came from: previous tooth * 16 + slot, -1 = none."""
    count = len(unary)
    best = unary + skip * np.arange(count)[:, None]
    back = np.full((count, SLOTS), -1)
    for i in range(1, count):
        skipped = skip * np.arange(i - 1, -1, -1)
        total = (best[:i, :, None] + pair[:i, i] + skipped[:, None, None]).reshape(i * SLOTS, SLOTS)
        come = total.argmin(0)
        cheapest = total[come, np.arange(SLOTS)] + unary[i]
        better = cheapest < best[i]
        best[i] = np.where(better, cheapest, best[i])
        back[i] = np.where(better, come, -1)
    return best, back


def _trace(
    through: NDArray[np.float64], before: NDArray[np.float64], back: NDArray[np.int64], nothing: float, skip: float
) -> list[int | None]:
    """Slot of each tooth on the cheapest path."""
    count = len(before)
    slots: list[int | None] = [None] * count
    if nothing <= through.min():
        return slots
    ends = before + skip * np.arange(count - 1, -1, -1)[:, None]
    tooth, slot = divmod(int(ends.argmin()), SLOTS)
    while True:
        slots[tooth] = slot
        origin = int(back[tooth, slot])
        if origin < 0:
            return slots
        tooth, slot = divmod(origin, SLOTS)
