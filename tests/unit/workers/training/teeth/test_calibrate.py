"""Certainty that means something."""

import numpy as np
from scipy.special import expit

from workers.training.teeth.calibrate import fit_logistic


def test_probabilities_come_back() -> None:
    """From enough outcomes the fit recovers the probabilities that made them."""
    rng = np.random.default_rng(0)
    features = np.column_stack([np.ones(20_000), rng.uniform(0, 15, 20_000), rng.uniform(0, 1, 20_000)])
    truth = np.array([-2.0, 0.4, 1.0])
    right = (rng.random(20_000) < expit(features @ truth)).astype(float)
    np.testing.assert_allclose(fit_logistic(features, right), truth, atol=0.15)


def test_all_right_stays_finite() -> None:
    """Where every tooth was right the fit ends, with a high but finite certainty."""
    weights = fit_logistic(np.column_stack([np.ones(50), np.linspace(5, 15, 50)]), np.ones(50))
    assert np.isfinite(weights).all()
    assert 0.9 < expit(weights @ [1, 10]) < 1
