"""Scores that mean something."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from workers.training.calibration import (
    best_threshold,
    claims,
    expected_calibration_error,
    fit_logistic,
    fit_platt,
    fit_softmax,
    reliability,
)
from workers.training.outcome import Outcome


def test_calibration_error_of_a_small_table() -> None:
    """Four scores of 0.9, three right; two of 0.2, one right: 4/6 of 0.15 and 2/6 of 0.3."""
    scores = np.array([0.9, 0.9, 0.9, 0.9, 0.2, 0.2])
    right = np.array([1, 1, 1, 0, 1, 0], bool)
    assert expected_calibration_error(scores, right) == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.3)
    low, high = reliability(scores, right)
    assert (low.count, low.frequency, high.count, high.frequency) == (2, 0.5, 4, 0.75)


def test_a_score_of_one_has_its_place() -> None:
    """The highest bin holds 1.0 itself; nothing falls out."""
    assert sum(b.count for b in reliability(np.array([0.0, 1.0, 1.0]), np.array([False, True, True]))) == 3


def test_slope_and_offsets_are_found_again() -> None:
    """Logits that are too large and prefer the first class come back; a perfect split stays finite."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    truth = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    slope, offsets = fit_softmax(3 * logits + [2, 0, -2], truth)
    assert slope == pytest.approx(1 / 3, rel=0.1)
    assert offsets == pytest.approx([-2 / 3, 0, 2 / 3], abs=0.1)
    slope, offsets = fit_softmax(np.array([[9.0, 3.0], [9.0, 5.0]]), np.array([0, 1]))
    assert np.isfinite([slope, *offsets]).all()
    assert (slope * np.array([[9.0, 3.0], [9.0, 5.0]]) + offsets).argmax(1).tolist() == [0, 1]


def test_platt_is_found_again() -> None:
    """Slope and offset of the curve that made the labels come back."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=6000) * 2
    truth = rng.random(6000) < expit(0.7 * logits - 1)
    slope, offset = fit_platt(logits, truth)
    assert (slope, offset) == pytest.approx((0.7, -1), abs=0.1)


@pytest.mark.parametrize("rest", [1000, 2445, 5000])
def test_platt_holds_where_one_kind_is_rare(rest: int) -> None:
    """Thirty among thousands, with some of the others high: the slope stays that of a curve which rises."""
    no = np.concatenate([np.linspace(-6, -3, rest - 40), np.linspace(-3, 6, 40)])
    logits = np.concatenate([no, np.linspace(-4.5, 5, 30)])
    truth = np.arange(len(logits)) >= len(no)
    slope, offset = fit_platt(logits, truth)
    assert slope > 0.5
    assert expit(slope * logits + offset).sum() == pytest.approx(truth.sum(), rel=0.1)


def test_logistic_weights_come_back() -> None:
    """From enough outcomes the fit recovers the probabilities that made them."""
    rng = np.random.default_rng(0)
    features = np.column_stack([np.ones(20_000), rng.uniform(0, 15, 20_000), rng.uniform(0, 1, 20_000)])
    truth = np.array([-2.0, 0.4, 1.0])
    right = (rng.random(20_000) < expit(features @ truth)).astype(float)
    np.testing.assert_allclose(fit_logistic(features, right, 1.0), truth, atol=0.15)


def test_logistic_weights_stay_finite() -> None:
    """Where every case was right the fit ends, with a high but finite certainty."""
    weights = fit_logistic(np.column_stack([np.ones(50), np.linspace(5, 15, 50)]), np.ones(50), 1.0)
    assert np.isfinite(weights).all()
    assert 0.9 < expit(weights @ [1, 10]) < 1


@pytest.mark.parametrize("truth", [[True, True, True], [False, False, True], [True, False, True]])
def test_platt_is_finite_for_any_labels(truth: list[bool]) -> None:
    """One kind only, or a perfect split: a curve that can be used all the same."""
    slope, offset = fit_platt(np.array([-40.0, 3.0, 50.0]), np.array(truth))
    assert np.isfinite([slope, offset]).all()
    assert slope >= -1e-6 or truth == [True, False, True]


@pytest.mark.parametrize("by", ["f1", "youden"])
def test_the_best_threshold_is_the_best_of_all(by: str) -> None:
    """No cut between two scores does better."""
    rng = np.random.default_rng(2)
    truth = rng.random(80) < 0.3
    scores = np.round(expit(rng.normal(size=80) + 1.5 * truth), 2)

    def value(cut: float) -> float:
        said = scores >= cut
        tp, fp = (said & truth).sum(), (said & ~truth).sum()
        return float(2 * tp / (truth.sum() + tp + fp) if by == "f1" else tp / truth.sum() - fp / (~truth).sum())

    cut = best_threshold(scores, truth, by=by)
    assert value(cut) == pytest.approx(max(value(c) for c in np.arange(0, 1.01, 0.005)))
    assert cut not in set(scores), "midway between two scores"


def test_a_least_recall_is_kept() -> None:
    """Where nine in ten must be found, they are, whatever it costs."""
    scores, truth = np.linspace(0, 1, 50), np.arange(50) % 3 == 0
    cut = best_threshold(scores, truth, recall=0.9)
    assert (scores[truth] >= cut).mean() >= 0.9


def test_without_both_kinds_the_threshold_is_a_half() -> None:
    """There is nothing to choose by."""
    assert best_threshold(np.array([0.1, 0.9]), np.array([True, True])) == 0.5


def test_claims_of_exclusive_classes_are_the_classes_said() -> None:
    """One for each image, and whether it was right; of the others, one for each known label."""
    scores = np.array([[0.7, 0.3], [0.6, 0.4]])
    truth = np.array([[1, 0], [0, 1]], np.int8)
    case = Outcome(("a", "b"), scores, truth, ["1", "2"], ["1", "2"], exclusive=True, thresholds=(0.5, 0.5))
    said, right = claims(case)
    assert (said.tolist(), right.tolist()) == ([0.7, 0.6], [True, False])
    truth = np.array([[1, 0], [-1, 1]], np.int8)
    case = Outcome(("a", "b"), scores, truth, ["1", "2"], ["1", "2"], exclusive=False, thresholds=(0.5, 0.5))
    assert claims(case)[0].tolist() == [0.7, 0.3, 0.4]
