"""Fit what turns an output into angles and certainties, on the validation split.

Two numbers for the angles (the share of the tilt that the network gives itself, the gain) and three for each certainty:
so few parameters that measuring on the same split flatters little. A vertebra is right where it covers the labelled one
of its level (IoU of at least 0.5); a curve is right where its type is that of the label.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from skimage import draw

from workers.models.spine import Column, LoadedSpine, Spine, heat_feature
from workers.training.bundles import write_json
from workers.training.progress import Progress
from workers.training.spine.evaluate import Case, cases
from workers.training.spine.scoring import smape

_SHARES = np.arange(0, 1.01, 0.1)
_GAINS = np.arange(0.96, 1.161, 0.02)
_ROUNDS, _RIDGE = 30, 1.0
_COVERS = 0.5
_NEARLY = 0.005  # of SMAPE

Floats = NDArray[np.float64]


def calibrate(data: Path, bundle: Path, split: str = "val") -> dict[str, Any]:
    """Fit and write the settings of configs/inference.json of a bundle; gives what was fitted."""
    model, progress = Spine(bundle).load("auto"), Progress()
    count, films = cases(data, split)
    seen = []
    for done, film in enumerate(films, 1):
        seen.append((film, model.see(film.pixels)))
        progress.tell(f"calibration, {done} of {count} films")
    usable = [(film, column) for film, column in seen if film.corners is not None and not model.refusal(column)]
    share, gain = best_angles(usable, model)
    tuned = [(film, model.measure(column, share, gain)) for film, column in usable]
    fitted: dict[str, Any] = {
        "direct_share": round(share, 2),
        "angle_gain": round(gain, 3),
        "vertebra_certainty": _vertebrae(tuned),
        "curve_certainty": _curves(tuned),
    }
    file = bundle / "configs" / "inference.json"
    write_json(file, json.loads(file.read_text(encoding="utf-8")) | fitted)
    progress.end(f"{fitted}")
    return fitted


def best_angles(usable: list[tuple[Case, Column]], model: LoadedSpine) -> tuple[float, float]:
    """Share and gain: of those whose SMAPE is nearly the least, the pair whose types agree most often."""
    if not usable:
        return 0.5, 1.0
    truth = np.array([film.cobb for film, _ in usable], float)
    tried = []
    for pair in ((float(share), float(gain)) for share in _SHARES for gain in _GAINS):
        columns = [model.measure(column, *pair) for _, column in usable]
        error = float(smape(truth, np.array([column.cobb for column in columns])).mean())
        right = float(
            np.mean([column.type.value == film.truth for column, (film, _) in zip(columns, usable, strict=True)])
        )
        tried.append((error, right, pair))
    least = min(error for error, _, _ in tried)
    return max((right, -error, pair) for error, right, pair in tried if error <= least + _NEARLY)[2]


def _vertebrae(tuned: list[tuple[Case, Column]]) -> list[float]:
    features, right = list[tuple[float, ...]](), list[bool]()
    for film, column in tuned:
        labelled = () if film.corners is None else film.corners[column.first :]
        for vertebra, corners, true in zip(column.vertebrae, column.corners, labelled, strict=False):
            features.append((1.0, heat_feature(vertebra.seen), vertebra.sharp))
            right.append(overlap(corners, true) >= _COVERS)
    return _logistic(features, right)


def _curves(tuned: list[tuple[Case, Column]]) -> list[float]:
    return _logistic([c.features() for _, c in tuned], [c.type.value == film.truth for film, c in tuned])


def overlap(a: Floats, b: NDArray[np.floating]) -> float:
    """Intersection over union of two quadrilaterals (4, 2), corners as everywhere here, on a grid of 1/2 pixel."""
    both = np.concatenate([a, b])
    origin = both.min(0) - 1
    shape = tuple(np.ceil((both.max(0) - origin + 1) * 2).astype(int)[::-1])
    masks = []
    for points in (a, b):
        ring = (points[[0, 1, 3, 2]] - origin) * 2
        masks.append(draw.polygon2mask(shape, ring[:, ::-1]))
    union = int((masks[0] | masks[1]).sum())
    return int((masks[0] & masks[1]).sum()) / union if union else 0.0


def _logistic(features: list[tuple[float, ...]], right: list[bool]) -> list[float]:
    """Weights that maximise the likelihood of ``right``, by Newton's method with a little ridge."""
    x, y = np.array(features, float).reshape(-1, 3), np.array(right, float)
    weights = np.zeros(3)
    for _ in range(_ROUNDS):
        p = expit(x @ weights)
        curve = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(3)
        weights = weights + np.linalg.solve(curve, x.T @ (y - p) - _RIDGE * weights)
    return [round(float(weight), 4) for weight in weights]
