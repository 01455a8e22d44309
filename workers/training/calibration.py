"""Scores that mean something: how far they are from frequencies, how to bring them there, and where to cut."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from workers.training.outcome import UNKNOWN, Outcome

BINS = 10
_RIDGE = 1e-3
_PRIOR = 0.1  # in images: keeps offsets and slope finite where all are right
_FARTHEST = 10.0  # offset
_COLDEST, _HOTTEST = 0.05, 20.0

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Scores of like height: how many, their mean, and how often they were right."""

    count: int
    mean: float
    frequency: float


def reliability(scores: Floats, truth: Bools, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of equal width over 0..1, without the empty ones; scores (n,), truth (n,)."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    parts = [(scores[place == b], truth[place == b]) for b in range(bins)]
    return tuple(Bin(len(s), float(s.mean()), float(t.mean())) for s, t in parts if len(s))


def expected_calibration_error(scores: Floats, truth: Bools, bins: int = BINS) -> float:
    """Mean distance of score and frequency over the bins, by their size (Naeini 2015); NaN without scores."""
    found = reliability(scores, truth, bins)
    total = sum(b.count for b in found)
    return sum(b.count * abs(b.mean - b.frequency) for b in found) / total if total else float("nan")


def claims(outcome: Outcome) -> tuple[Floats, Bools]:
    """The scores that a reader would take as certainties, and whether they were right.

    Exclusive classes: the score of the class said, one for each image. Others: the score of each class with a truth.
    """
    if outcome.exclusive:
        known = (outcome.truth == 1).any(1)
        said = outcome.said()[known]
        return outcome.scores[known][said], (outcome.truth[known] == 1)[said]
    known = outcome.truth != UNKNOWN
    return outcome.scores[known], outcome.truth[known] == 1


def fit_softmax(logits: Floats, truth: NDArray[np.int64]) -> tuple[float, Floats]:
    """Slope and an offset for each class so that ``softmax(slope * logits + offsets)`` are probabilities.

    Temperature scaling that also mends a network that prefers a class (bias-corrected, Alexandari 2020). The offsets
    sum to nothing and are held small where there are few images. Logits (n, k), right classes (n,).
    """
    rows, count = np.arange(len(truth)), logits.shape[1]

    def loss(parameters: Floats) -> float:
        offsets = parameters[1:] - parameters[1:].mean()
        chances = log_softmax(logits * np.exp(parameters[0]) + offsets, axis=1)[rows, truth]
        return float(-chances.sum() + _PRIOR * ((parameters**2).sum()))

    bounds = [(-np.log(_HOTTEST), -np.log(_COLDEST)), *[(-_FARTHEST, _FARTHEST)] * count]
    found = minimize(loss, np.zeros(1 + count), method="L-BFGS-B", bounds=bounds).x
    return float(np.exp(found[0])), np.asarray(found[1:] - found[1:].mean())


def fit_platt(logits: Floats, truth: Bools) -> tuple[float, float]:
    """Slope and offset so that ``expit(slope * logit + offset)`` is a probability (Platt 1999), logits (n,).

    With Platt's targets (a little inside 0 and 1) and a small ridge, so it is finite for any data.
    """
    positives = int(truth.sum())
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (len(truth) - positives + 2))
    begin = np.array([0.0, np.log((positives + 1) / (len(truth) - positives + 1))])
    slope, offset = fit_logistic(np.stack([logits, np.ones_like(logits)], 1), target, _RIDGE, begin)
    return float(slope), float(offset)


def fit_logistic(features: Floats, target: Floats, ridge: float, begin: Floats | None = None) -> Floats:
    """Weights (k,) of a logistic regression.

    Args:
        features: (n, k), with a column of ones for the offset.
        target: (n,) 0 to 1.
        ridge: on the squared weights, in cases: keeps them finite where all are right.
        begin: weights to begin with; 0 = none.

    The loss is convex, but Newton's steps overshoot where one kind is rare, and need not come back: steps are bounded
    by a trust region.
    """

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores = features @ weights
        value = np.logaddexp(0, scores).sum() - target @ scores + ridge * (weights @ weights) / 2
        return float(value), features.T @ (expit(scores) - target) + ridge * weights

    def curve(weights: Floats) -> Floats:
        p = expit(features @ weights)
        return np.asarray((features * (p * (1 - p))[:, None]).T @ features + ridge * np.eye(len(weights)))

    start = np.zeros(features.shape[1]) if begin is None else begin
    return np.asarray(minimize(loss, start, method="trust-exact", jac=True, hess=curve, options={"gtol": 1e-6}).x)


def best_threshold(scores: Floats, truth: Bools, *, by: str = "f1", recall: float = 0.0) -> float:
    """Where to cut.

    Args:
        scores, truth: (n,) of one class.
        by: what to maximise: ``f1``, or ``youden`` (sensitivity + specificity).
        recall: at least this share of the positives must be found.

    Returns:
        Midway between two scores, so that equal data elsewhere fall on the same side; 0.5 without positives or
        without negatives.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    tp, fp = truth[order].cumsum()[ends], (~truth[order]).cumsum()[ends]
    value = 2 * tp / (positives + tp + fp) if by == "f1" else tp / positives - fp / negatives
    best = int(np.where(tp / positives >= recall, value, -np.inf).argmax())
    cut = scores[order][ends]
    below = cut[best + 1] if best + 1 < len(cut) else 0.0
    return float((cut[best] + below) / 2)
