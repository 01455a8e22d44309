"""What a report says beside the plain figures: intervals over groups, and which numbers are taken for which."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.models.arch import LOWER, UPPER
from workers.training.teeth.scoring import ImageScore

Floats = NDArray[np.float64]

_ROUNDS = 2000
_SHOWN = 15  # pairs of numbers
_SLOTS = {tooth: (jaw is UPPER, place) for jaw in (UPPER, LOWER) for place, tooth in enumerate(jaw)}


def intervals(scores: Sequence[ImageScore], seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % intervals of the main figures of ``scoring.summary``, by drawing groups with replacement."""
    groups = sorted({score.group for score in scores})
    place = {group: i for i, group in enumerate(groups)}
    sums: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    for score in scores:
        for name, parts in _parts(score).items():
            sums.setdefault(name, np.zeros((len(groups), 2)))[place[score.group]] += parts
    draws = np.random.default_rng(seed).integers(0, len(groups), (_ROUNDS, len(groups)))
    found = {}
    for name, counts in sums.items():
        drawn = counts[draws].sum(1)
        found[name] = _middle(drawn[:, 0] / np.maximum(drawn[:, 1], 1))
    times = np.stack([np.bincount(draw, minlength=len(groups)) for draw in draws])
    return found | {"average_precision": _middle(_average_precisions(scores, place, times.astype(np.float64)))}


def _middle(drawn: Floats) -> tuple[float, float]:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return round(float(low), 4), round(float(high), 4)


def _average_precisions(scores: Sequence[ImageScore], place: Mapping[str, int], times: Floats) -> Floats:
    """(draws,) of the figure of ``scoring.summary``; ``times``: how often each draw has each group, (draws, groups)."""
    steps = sorted({certainty for score in scores for certainty, _ in score.claims}, reverse=True)
    step = {certainty: k for k, certainty in enumerate(steps)}
    claims, true = np.zeros((2, len(place), len(steps))), np.zeros(len(place))
    for score in scores:
        true[place[score.group]] += score.true
        for certainty, right in score.claims:
            claims[:, place[score.group], step[certainty]] += 1, right
    found, correct = ((times @ counts).cumsum(1) for counts in claims)
    recall = correct / np.maximum(times @ true, 1)[:, None]
    precision = correct / np.maximum(found, 1)
    areas: Floats = (np.diff(recall, axis=1, prepend=0.0) * precision).sum(1)
    return areas


def _parts(score: ImageScore) -> dict[str, tuple[float, float]]:
    """Numerator and denominator of one image, by the keys of ``scoring.summary``."""
    return {
        "f1": (2 * score.right, score.found + score.true),
        "precision": (score.right, score.found),
        "recall": (score.right, score.true),
        "detection_f1": (2 * score.detected, score.found + score.true),
        "right_number_among_matched": (score.numbered_right, score.detected),
        "dice_all": (sum(score.dice), len(score.dice)),
        "dice_matched": (sum(score.dice_matched), len(score.dice_matched)),
    }


def confusions(scores: Sequence[ImageScore]) -> dict[str, Any]:
    """Wrong numbers of teeth that were found: how many, the share off by one place in the jaw, the commonest pairs."""
    pairs = Counter(pair for score in scores for pair in score.confused)
    total = sum(pairs.values())
    neighbours = sum(count for pair, count in pairs.items() if how_far(*pair) == "one place along the jaw")
    return {
        "wrong_numbers": total,
        "one_place_share": round(neighbours / total, 4) if total else 0.0,
        "pairs": [
            {"given": given, "labelled": labelled, "times": times, "how": how_far(given, labelled)}
            for (given, labelled), times in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
        ],
    }


def how_far(given: int, labelled: int) -> str:
    """How a wrong number lies to the right one, in words."""
    (jaw, place), (other_jaw, other_place) = _SLOTS[given], _SLOTS[labelled]
    if jaw != other_jaw:
        return "other jaw"
    if abs(place - other_place) == 1:
        return "one place along the jaw"
    if given % 10 == labelled % 10:
        return "other side"
    return f"{abs(place - other_place)} places along the jaw"
