"""Labelled pictures in memory, and how often each is drawn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A labelled picture.

    Attributes:
        pixels: uint8 (rows, columns, channels); all samples of one training have one shape, with the aspect of
            ``Plan.size`` (see ``workers.models.image_classifier.canvas_of``).
        labels: float32 (classes,); 1 = yes, 0 = no, NaN = unknown.
        group: what must stay on one side of a split: a patient, a picture and its copies.
        name: for lists of mistakes.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.float32]
    group: str
    name: str


def check_samples(samples: Sequence[Sample], classes: Sequence[str]) -> None:
    """Refuse what cannot be trained on, before the first step.

    Raises:
        ConfigurationError: there are no samples, their shapes differ, or a class has no example or no counter-example.
    """
    if not samples:
        message = "there are no training images; check the folder and the split column of its manifest"
        raise ConfigurationError(message)
    shapes = {sample.pixels.shape for sample in samples}
    if len(shapes) > 1:
        message = f"the training images have {len(shapes)} different shapes; bring them onto one canvas"
        raise ConfigurationError(message)
    labels = np.stack([sample.labels for sample in samples])
    if labels.shape[1] != len(classes):
        message = f"the labels have {labels.shape[1]} columns for {len(classes)} classes"
        raise ConfigurationError(message)
    for index, name in enumerate(classes):
        if not (labels[:, index] == 1).any() or not (labels[:, index] == 0).any():
            lacking = "example" if not (labels[:, index] == 1).any() else "counter-example"
            message = f"class {name!r} has no {lacking} among the training images; add some or leave the class out"
            raise ConfigurationError(message)


def drawing_chances(samples: Sequence[Sample], balance: float) -> NDArray[np.float64]:
    """Chance of each sample to be drawn, (n,), sum 1.

    A group counts as much as another, however many copies it has. ``balance`` then raises rare combinations of labels:
    0 = as they occur, 1 = every combination equally often.
    """
    sizes = Counter(sample.group for sample in samples)
    single = np.array([1 / sizes[sample.group] for sample in samples])
    patterns = [sample.labels.tobytes() for sample in samples]
    mass = Counter[bytes]()
    for pattern, weight in zip(patterns, single, strict=True):
        mass[pattern] += weight
    chances: NDArray[np.float64] = single * np.array([mass[pattern] ** -balance for pattern in patterns])
    chances /= chances.sum()
    return chances
