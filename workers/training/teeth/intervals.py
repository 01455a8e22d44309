"""What a report says beside the plain figures: intervals over groups, and which numbers are taken for which."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from workers.models.arch import LOWER, UPPER
from workers.training.teeth.scoring import ImageScore

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
        low, high = np.percentile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), (2.5, 97.5))
        found[name] = (round(float(low), 4), round(float(high), 4))
    return found


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
