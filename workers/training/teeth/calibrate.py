"""Fit the certainty of a bundle, so that of the teeth called 90 % certain about nine in ten are right.

Logistic regression with three parameters on the validation split, each film as it is and as another scanner might make
it; few parameters, so that measuring on the same split flatters little. Windows of the arch get a curve of their own.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.models.intraoral_teeth import IntraoralTeeth
from workers.models.looks import NumberedTooth
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.regions import Detection
from workers.training.bundles import write_json
from workers.training.calibration import fit_logistic
from workers.training.progress import Progress
from workers.training.teeth.cases import Case, cases, windows_of
from workers.training.teeth.evaluate import lies_on
from workers.training.teeth.panoramics import UNKNOWN, image_of
from workers.training.teeth.scoring import right_teeth, truths_of

RIDGE = 1.0  #: in teeth: keeps the fit finite where all are right
_WINDOW_SEED = 7_000  # other windows than those measured on


def calibrate(data: Path, bundle: Path, split: str = "val") -> dict[str, list[float]]:
    """Fit and write the curves of certainty in configs/inference.json of a bundle; gives their parameters."""
    panoramic, films, progress = PanoramicTeeth(bundle).load("auto"), IntraoralTeeth(bundle).load("auto"), Progress()
    whole, parts = Claims(), Claims()
    for case, line in _films(data, split):
        whole.add(panoramic.teeth(image_of(case.pixels)), case.labels)
        for window in windows_of(case, np.random.default_rng(_WINDOW_SEED + len(whole.right))):
            parts.add(films.teeth(image_of(window.case.pixels)), window.case.labels, window.cut)
        progress.tell(line)
    curves = {"certainty": whole.fit(), "certainty_intraoral": parts.fit()}
    file = bundle / "configs" / "inference.json"
    write_json(file, json.loads(file.read_text(encoding="utf-8")) | curves)
    progress.end(f"certainty {curves}")
    return curves


def _films(data: Path, split: str) -> Iterator[tuple[Case, str]]:
    for stress in (False, True):
        count, films = cases(data, split, stress=stress)
        for done, film in enumerate(films, 1):
            yield film, f"calibration, {done} of {count} images"


class Claims:
    """What was found, by its features, and whether it was right."""

    def __init__(self) -> None:
        """Empty."""
        self.features, self.right = list[tuple[float, ...]](), list[bool]()

    def add(
        self,
        found: Sequence[tuple[NumberedTooth, Detection]],
        labels: NDArray[np.uint8],
        cut: frozenset[int] = frozenset({UNKNOWN}),
    ) -> None:
        """The teeth of one image, less those that lie mostly on what is ``cut`` of its labels."""
        found = [(tooth, detection) for tooth, detection in found if not lies_on(detection, labels, cut)]
        self.features += [tooth.features() for tooth, _ in found]
        self.right += right_teeth([detection for _, detection in found], truths_of(labels))

    def fit(self) -> list[float]:
        """Bias and weights of the logistic curve."""
        weights = fit_logistic(np.array(self.features, float).reshape(-1, 3), np.array(self.right, float), RIDGE)
        return [round(float(weight), 4) for weight in weights]
