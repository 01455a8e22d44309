"""Fit the certainty of a bundle, so that of the teeth called 90 % certain about nine in ten are right.

Logistic regression with three parameters on the validation split, each film as it is and as another scanner might make
it; few parameters, so that measuring on the same split flatters little.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from workers.models.panoramic_teeth import PanoramicTeeth
from workers.training.evaluate import cases
from workers.training.export import write_json
from workers.training.progress import Progress
from workers.training.scoring import right_teeth, truths_of

_ROUNDS = 30
_RIDGE = 1.0  # in teeth: keeps the fit finite where all are right


def calibrate(data: Path, bundle: Path, split: str = "val") -> tuple[float, ...]:
    """Fit and write ``certainty`` in configs/inference.json of a bundle; gives the parameters."""
    model, progress = PanoramicTeeth(bundle).load("auto"), Progress()
    features, right = list[tuple[float, ...]](), list[bool]()
    for stress in (False, True):
        count, films = cases(data, split, stress=stress)
        for done, film in enumerate(films, 1):
            look = model.see(film.pixels)
            placed = [(tooth, model.detection(look, tooth, film.pixels.shape)) for tooth in look.teeth]
            kept = [(tooth, found) for tooth, found in placed if found is not None]
            features += [tooth.features() for tooth, _ in kept]
            right += right_teeth([found for _, found in kept], truths_of(film.labels))
            progress.tell(f"calibration, {done} of {count} images")
    weights = fit_logistic(np.array(features, float).reshape(-1, 3), np.array(right, float))
    file = bundle / "configs" / "inference.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    certainty = [round(float(weight), 4) for weight in weights]
    write_json(file, settings | {"certainty": certainty})
    progress.end(f"certainty {certainty}")
    return tuple(certainty)


def fit_logistic(features: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that maximise the likelihood of ``right`` (0 or 1), by Newton's method with a little ridge."""
    weights = np.zeros(features.shape[1])
    for _ in range(_ROUNDS):
        p = expit(features @ weights)
        curve = (features * (p * (1 - p))[:, None]).T @ features + _RIDGE * np.eye(len(weights))
        weights = weights + np.linalg.solve(curve, features.T @ (right - p) - _RIDGE * weights)
    return weights
