"""The decoder of FDI numbers, on synthetic teeth: no network, no image."""

import itertools
import time
from collections.abc import Sequence

import numpy as np
import pytest

from workers.models.arch import CLASS_OF, FDI, LOWER, UPPER
from workers.models.numbering import DEFAULT_PRICES, Evidence, Prices, number_teeth, number_window


def tooth(x: float, *looks_like: int, width: float = 0.95, sure: float = 4.0) -> Evidence:
    """A tooth at x (slots are 1 apart) whose pixels speak for some numbers, the first the loudest."""
    log_p = np.full(32, -sure)
    for rank, fdi in enumerate(looks_like):
        log_p[CLASS_OF[fdi] - 1] = -0.5 * rank
    jaw = UPPER if looks_like[0] in UPPER else LOWER
    log_p[[CLASS_OF[fdi] - 1 for fdi in FDI if fdi not in jaw]] -= 6
    return Evidence(x, x - width / 2, x + width / 2, log_p - np.logaddexp.reduce(log_p))


def row(jaw: Sequence[int], missing: Sequence[int] = ()) -> list[Evidence]:
    """A jaw of clear teeth, one slot apart, some missing."""
    return [tooth(float(slot), fdi) for slot, fdi in enumerate(jaw) if fdi not in missing]


def numbers(teeth: Sequence[Evidence], prices: Prices = DEFAULT_PRICES) -> list[int | None]:
    """FDI numbers in the order of the teeth."""
    return [number.fdi for number in number_teeth(teeth, prices)]


def test_full_dentition() -> None:
    """Thirty-two clear teeth get their thirty-two numbers, in whatever order they come."""
    teeth = row(UPPER) + row(LOWER)
    order = np.random.default_rng(0).permutation(32)
    assert [numbers([teeth[i] for i in order])[k] for k in np.argsort(order)] == [*UPPER, *LOWER]


def test_no_teeth() -> None:
    """No teeth, no numbers."""
    assert number_teeth([]) == []


def test_gap_in_picture_is_gap_in_numbers() -> None:
    """A molar that looks as much like 16 as like 17 is 17 when a tooth's width is empty before 15."""
    teeth = [tooth(1, 16, 17), tooth(3, 15), tooth(4, 14)]
    assert numbers(teeth) == [17, 15, 14]


def test_no_gap_no_missing_number() -> None:
    """The same molar is 16 when it touches 15."""
    assert numbers([tooth(2, 17, 16), tooth(3, 15), tooth(4, 14)]) == [16, 15, 14]


def test_two_that_look_alike_get_two_numbers() -> None:
    """Two neighbours that both look like 36 become 36 and 37: no number is given twice."""
    teeth = [tooth(11, 34), tooth(12, 35), tooth(13, 36), tooth(14, 36, 37), tooth(15, 38)]
    assert numbers(teeth) == [34, 35, 36, 37, 38]


@pytest.mark.parametrize("missing", [(16, 15, 14), (11, 21), (18, 28), (12, 22, 36, 46, 45), (41, 42, 31, 32)])
def test_missing_teeth(missing: tuple[int, ...]) -> None:
    """Missing teeth are the slots skipped, single or several in a row."""
    teeth = row(UPPER, missing) + row(LOWER, missing)
    assert set(numbers(teeth)) == {*UPPER, *LOWER} - set(missing)


def test_supernumerary_stays_without_number() -> None:
    """A seventeenth tooth between two sure ones gets no number and leaves the others theirs."""
    teeth = row(UPPER)
    extra = tooth(7.5, 11, width=0.3)
    assert numbers([*teeth, extra]) == [*UPPER, None]


def test_reversed_neighbours() -> None:
    """Two neighbours whose pixels clearly say that they changed places keep their numbers."""
    teeth = [tooth(3, 15), tooth(4, 13, sure=12), tooth(5, 14, sure=12), tooth(6, 12), tooth(7, 11)]
    assert numbers(teeth) == [15, 13, 14, 12, 11]


def test_weak_reversal_is_noise() -> None:
    """A faint hint of reversed neighbours does not break the order."""
    teeth = [tooth(3, 15), tooth(4, 13, 14), tooth(5, 14, 13), tooth(6, 12), tooth(7, 11)]
    assert numbers(teeth) == [15, 14, 13, 12, 11]


def test_margin_tells_doubt() -> None:
    """A lone tooth between two readings has almost no margin; one held by its neighbours has much."""
    doubtful = number_teeth([tooth(4, 14, 15)])[0]
    held = number_teeth(row(UPPER))[4]
    assert doubtful.margin < 1 < held.margin


def test_each_number_once_on_noise() -> None:
    """Whatever the evidence, no number is given twice."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        logits = rng.normal(0, 3, (rng.integers(1, 40), 32))
        log_p = logits - np.logaddexp.reduce(logits, axis=1)[:, None]
        teeth = [Evidence(x, x - 0.5, x + 0.5, p) for x, p in zip(rng.uniform(0, 16, len(log_p)), log_p, strict=True)]
        given = [fdi for fdi in numbers(teeth) if fdi is not None]
        assert len(given) == len(set(given))


def brute_force(teeth: Sequence[Evidence], prices: Prices) -> tuple[list[int | None], list[float]]:
    """Numbers and margins of upper teeth by trying every assignment."""
    unary = [[max(t.log_p[CLASS_OF[fdi] - 1], prices.floor) for fdi in UPPER] for t in teeth]
    costs = {}
    for slots in itertools.product([None, *range(16)], repeat=len(teeth)):
        kept = [(i, s) for i, s in enumerate(slots) if s is not None]
        if any(a >= b for (_, a), (_, b) in itertools.pairwise(kept)):
            continue
        cost = prices.skip * (len(teeth) - len(kept)) - sum(unary[i][s] for i, s in kept)
        for (i, a), (j, b) in itertools.pairwise(kept):
            gap = max(teeth[j].left - teeth[i].right, 0) / ((teeth[i].right - teeth[i].left) / 2 * 2)
            cost += prices.gap * abs(b - a - 1 - gap)
        costs[slots] = cost
    best = min(costs, key=lambda slots: costs[slots])
    margins = [min(c for s, c in costs.items() if s[i] not in {best[i], None}) - costs[best] for i in range(len(teeth))]
    return [None if s is None else UPPER[s] for s in best], margins


@pytest.mark.parametrize("seed", range(6))
def test_finds_the_cheapest(seed: int) -> None:
    """Numbers and margins equal those of trying every assignment."""
    rng = np.random.default_rng(seed)
    prices = Prices(gap=1.0, skip=5.0, swap=1e9)
    teeth = []
    for slot in sorted(rng.choice(16, 3, replace=False)):
        logits = rng.normal(0, 1, 32) - 8.0 * (np.arange(32) >= 16)
        logits[CLASS_OF[UPPER[slot]] - 1] += 2
        teeth.append(Evidence(float(slot), slot - 0.5, slot + 0.5, logits - np.logaddexp.reduce(logits)))
    expected, margins = brute_force(teeth, prices)
    solved = number_teeth(teeth, prices)
    assert [number.fdi for number in solved] == expected
    np.testing.assert_allclose([number.margin for number in solved], margins, atol=1e-9)


def test_quick() -> None:
    """A full dentition is numbered in far less than 60 ms."""
    teeth = row(UPPER) + row(LOWER)
    number_teeth(teeth)
    best = min(_seconds(teeth) for _ in range(5))
    assert best < 0.06


def _seconds(teeth: Sequence[Evidence]) -> float:
    started = time.perf_counter()
    number_teeth(teeth)
    return time.perf_counter() - started


def test_a_window_holds_neighbouring_slots() -> None:
    """On a film of a few teeth no number lies outside the window, whatever one tooth looks like."""
    teeth = [tooth(0, 47), tooth(1, 46), tooth(2, 45), tooth(3, 36)]
    found = [number.fdi for number in number_window(teeth, [False] * 4, 7)]
    assert found[:3] == [47, 46, 45]
    assert found[3] in {44, None}


def test_both_jaws_share_a_window() -> None:
    """Three clear lower teeth of the right side tell the side of two upper teeth that could be either."""
    upper = [tooth(0, 26, 16), tooth(1, 25, 15)]
    lower = [tooth(0, 46, sure=9), tooth(1, 45, sure=9), tooth(2, 44, sure=9)]
    found = [number.fdi for number in number_window([*upper, *lower], [True, True, False, False, False], 7)]
    assert found == [16, 15, 46, 45, 44]


def test_margin_of_a_window_counts_other_windows() -> None:
    """Teeth that fit either side have no margin, though within the best window nothing rivals them."""
    either = number_window([tooth(0, 16, 26), tooth(1, 15, 27)], [True, True], 7)
    clear = number_window([tooth(0, 16, sure=9), tooth(1, 15, sure=9)], [True, True], 7)
    assert max(number.margin for number in either) <= 1.5
    assert min(number.margin for number in clear) > 2


def test_a_window_without_teeth() -> None:
    """No teeth, no numbers."""
    assert number_window([], [], 7) == []
