"""Figures of classifiers with 95 % intervals over groups.

Every figure is a function of image weights, worked out for many rounds of weights at once: one row of ones gives the
value, rows that count how often each group was drawn (cluster bootstrap, Field and Welsh 2007) give the interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.training.outcome import UNKNOWN, Outcome

ROUNDS = 2000
#: Keys of the figures of one class, in the order of the tables.
FIGURES = ("auc", "average_precision", "accuracy", "precision", "recall", "specificity", "f1", "brier")
_LEAST_ROUNDS = 0.5  # of the draws must give a figure, else its interval would be one of the lucky draws only

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its 95 % interval; None where the data do not say (no positive, too few groups)."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """For people: ``0.913 (0.871 to 0.945)``."""
        if self.value is None:
            return "-"
        return f"{self.value:.3f}" + (f" ({self.low:.3f} to {self.high:.3f})" if self.low is not None else "")


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class.

    Attributes:
        name: of the class.
        images, positives: with known truth; of these, where it holds.
        groups, positive_groups: the same, of groups.
        threshold: from which score on it is said to hold.
        figures: by the keys of ``FIGURES``.
    """

    name: str
    images: int
    positives: int
    groups: int
    positive_groups: int
    threshold: float
    figures: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Summary:
    """All classes.

    Attributes:
        images, groups: in all.
        classes: one by one.
        macro: means over the classes, by the keys of ``FIGURES``; of exclusive classes, ``recall`` is what is called
            balanced accuracy.
        accuracy: share of images with the right class; None unless exclusive.
        confusion: exclusive: truth (rows) by what was said (columns); else for each class [[tn, fp], [fn, tp]].
    """

    images: int
    groups: int
    classes: tuple[ClassFigures, ...]
    macro: dict[str, Figure]
    accuracy: Figure | None
    confusion: list[Any]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, rounded to 4 places."""
        classes = {
            c.name: {
                "images": c.images,
                "positives": c.positives,
                "groups": c.groups,
                "positive_groups": c.positive_groups,
                "threshold": round(c.threshold, 4),
                **{key: _plain(figure) for key, figure in c.figures.items()},
            }
            for c in self.classes
        }
        return {
            "images": self.images,
            "groups": self.groups,
            "accuracy": None if self.accuracy is None else _plain(self.accuracy),
            "macro": {key: _plain(figure) for key, figure in self.macro.items()},
            "classes": classes,
            "confusion": self.confusion,
        }


def _plain(figure: Figure) -> dict[str, float | None]:
    parts = {"value": figure.value, "low": figure.low, "high": figure.high}
    return {key: None if value is None else round(value, 4) for key, value in parts.items()}


def summarize(outcome: Outcome, seed: int = 0, rounds: int = ROUNDS) -> Summary:
    """All figures of an outcome. ``seed`` and ``rounds``: of the draws of groups for the intervals."""
    drawn = draw_groups(outcome.groups, np.random.default_rng(seed), rounds)
    said = outcome.said()
    weights = np.concatenate([np.ones((1, len(outcome.names))), drawn])
    columns = [_class_values(outcome, k, said[:, k], weights) for k in range(len(outcome.classes))]
    with np.errstate(invalid="ignore"):
        stacked = {key: np.stack([column[key] for column in columns]) for key in FIGURES}
        macro = {key: figure_of(_mean_over_classes(values)) for key, values in stacked.items()}
    classes = tuple(_class_figures(outcome, k, columns[k]) for k in range(len(outcome.classes)))
    right = (said & (outcome.truth == 1)).any(1)
    accuracy = figure_of(_ratio(weights @ right, weights.sum(1))) if outcome.exclusive else None
    return Summary(
        images=len(outcome.names),
        groups=len(set(outcome.groups)),
        classes=classes,
        macro=macro,
        accuracy=accuracy,
        confusion=confusion(outcome),
    )


def _class_values(outcome: Outcome, k: int, said: Bools, weights: Floats) -> dict[str, Floats]:
    known = outcome.truth[:, k] != UNKNOWN
    return class_values(outcome.scores[known, k], outcome.truth[known, k] == 1, said[known], weights[:, known])


def _class_figures(outcome: Outcome, k: int, values: dict[str, Floats]) -> ClassFigures:
    truth, groups = outcome.truth[:, k], np.array(outcome.groups, str)
    return ClassFigures(
        name=outcome.classes[k],
        images=int((truth != UNKNOWN).sum()),
        positives=int((truth == 1).sum()),
        groups=len(np.unique(groups[truth != UNKNOWN])),
        positive_groups=len(np.unique(groups[truth == 1])),
        threshold=outcome.thresholds[k],
        figures={key: figure_of(values[key]) for key in FIGURES},
    )


def draw_groups(groups: Sequence[str], rng: np.random.Generator, rounds: int = ROUNDS) -> Floats:
    """(rounds, n) how often each image is drawn when whole groups are drawn with replacement."""
    names, place = np.unique(np.array(groups, str), return_inverse=True)
    times = rng.multinomial(len(names), np.full(len(names), 1 / max(len(names), 1)), size=rounds)
    return times[:, place].astype(np.float64)


def figure_of(values: Floats) -> Figure:
    """The first of the values with the interval of the others (2.5th to 97.5th percentile); NaN means undefined."""
    value, draws = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not math.isfinite(value):
        return Figure(None)
    if not len(draws) or len(draws) < _LEAST_ROUNDS * (len(values) - 1):
        return Figure(value)
    low, high = np.percentile(draws, (2.5, 97.5))
    return Figure(value, float(low), float(high))


def class_values(scores: Floats, truth: Bools, said: Bools, weights: Floats) -> dict[str, Floats]:
    """Each figure for each row of weights.

    Args:
        scores, truth, said: (n,) of one class.
        weights: (rounds, n).

    Returns:
        By the keys of ``FIGURES``, (rounds,) each, NaN where it is undefined.
    """
    tp, fp = weights @ (said & truth), weights @ (said & ~truth)
    fn, tn = weights @ (~said & truth), weights @ (~said & ~truth)
    auc, precision = _ranked(scores, truth, weights)
    return {
        "auc": auc,
        "average_precision": precision,
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "brier": _ratio(weights @ (scores - truth) ** 2, weights.sum(1)),
    }


def area_under_roc(scores: Floats, truth: Bools) -> float:
    """Chance that a positive scores higher than a negative, ties half (Mann-Whitney); NaN without either."""
    return float(_ranked(scores, truth, np.ones((1, len(scores))))[0][0])


def average_precision(scores: Floats, truth: Bools) -> float:
    """Precision at each score, weighted by the recall it adds; equal scores enter together. NaN without positives."""
    return float(_ranked(scores, truth, np.ones((1, len(scores))))[1][0])


def _ranked(scores: Floats, truth: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """(rounds,) area under ROC and average precision."""
    if not len(scores):
        nothing = np.full(len(weights), np.nan)
        return nothing, nothing
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # of each run of equal scores, highest first
    positive = np.add.reduceat(weights[:, order] * truth[order], starts, axis=1)
    negative = np.add.reduceat(weights[:, order] * ~truth[order], starts, axis=1)
    tp, fp = positive.cumsum(1), negative.cumsum(1)
    above = (negative * (tp - positive / 2)).sum(1)
    auc = _ratio(above, tp[:, -1] * fp[:, -1])
    with np.errstate(invalid="ignore"):
        precision = np.nan_to_num(tp / (tp + fp))
    return auc, _ratio((positive * precision).sum(1), tp[:, -1])


def roc_curve(scores: Floats, truth: Bools) -> tuple[Floats, Floats]:
    """False and true positive rate as the threshold falls, from (0, 0) to (1, 1)."""
    tp, fp = _cumulated(scores, truth)
    return fp / max(fp[-1], 1), tp / max(tp[-1], 1)


def precision_recall_curve(scores: Floats, truth: Bools) -> tuple[Floats, Floats]:
    """Recall and precision as the threshold falls."""
    tp, fp = _cumulated(scores, truth)
    return tp[1:] / max(tp[-1], 1), tp[1:] / (tp + fp)[1:]


def _cumulated(scores: Floats, truth: Bools) -> tuple[Floats, Floats]:
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    tp, fp = truth[order].cumsum()[ends], (~truth[order]).cumsum()[ends]
    return np.r_[0.0, tp], np.r_[0.0, fp]


def confusion(outcome: Outcome) -> list[Any]:
    """See ``Summary.confusion``."""
    said, truth, count = outcome.said(), outcome.truth, len(outcome.classes)
    if outcome.exclusive:
        known = (truth == 1).any(1)
        pairs = truth[known].argmax(1) * count + said[known].argmax(1)
        table: list[Any] = np.bincount(pairs, minlength=count * count).reshape(count, count).tolist()
        return table
    tables = []
    for k in range(count):
        known = truth[:, k] != UNKNOWN
        pairs = (truth[known, k] == 1) * 2 + said[known, k]
        tables.append(np.bincount(pairs, minlength=4).reshape(2, 2).tolist())
    return tables


def _mean_over_classes(values: Floats) -> Floats:
    """(k, rounds) to (rounds,): over the classes where the figure is defined."""
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0).sum(0), defined.sum(0).astype(np.float64))


def _ratio(part: Floats, whole: Floats) -> Floats:
    result: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return result
