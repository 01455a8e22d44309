"""What a classifier said about labelled images: the one thing that every figure and chart of a report is made from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Scores beside the truth.

    Attributes:
        classes: names of the k classes.
        scores: float64 (n, k), 0 to 1.
        truth: int8 (n, k), 1 yes, 0 no, -1 unknown (left out of every figure of that class).
        groups: of each image; images of one group (patient, film, sitting) are not independent.
        names: of each image, for the reader.
        exclusive: exactly one class holds for each image; otherwise any number of them.
        thresholds: for each class, from which score on it is said to hold. Exclusive classes: the one that exceeds its
            threshold most is said, so equal thresholds mean the highest score.
        pictures: gives the image with an index as uint8 (h, w) or (h, w, 3), for the report; None = no pictures.
    """

    classes: tuple[str, ...]
    scores: NDArray[np.float64]
    truth: NDArray[np.int8]
    groups: list[str]
    names: list[str]
    exclusive: bool
    thresholds: tuple[float, ...]
    pictures: Callable[[int], NDArray[np.uint8]] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError where the parts do not fit each other or a score is no number."""
        shape = (len(self.names), len(self.classes))
        fits = self.scores.shape == shape == self.truth.shape and len(self.groups) == shape[0]
        if not fits or len(self.thresholds) != shape[1]:
            message = f"{shape[0]} names and {shape[1]} classes do not fit scores {self.scores.shape} and the rest"
            raise ValueError(message)
        if not np.isfinite(self.scores).all():
            message = "a score is not a finite number"
            raise ValueError(message)

    def said(self) -> NDArray[np.bool_]:
        """(n, k) what is said to hold."""
        if not self.exclusive:
            return self.scores >= np.array(self.thresholds)
        best = (self.scores - np.array(self.thresholds)).argmax(1)
        return np.asarray(best[:, None] == np.arange(len(self.classes)))

    def save(self, file: Path) -> None:
        """Write everything but the pictures as .npz."""
        np.savez_compressed(
            file,
            classes=np.array(self.classes, str),
            scores=self.scores,
            truth=self.truth,
            groups=np.array(self.groups, str),
            names=np.array(self.names, str),
            exclusive=np.array(self.exclusive),
            thresholds=np.array(self.thresholds, np.float64),
        )

    @classmethod
    def load(cls, file: Path) -> "Outcome":
        """Read what ``save`` wrote. Raises OSError, KeyError or ValueError on anything else."""
        with np.load(file, allow_pickle=False) as parts:
            return cls(
                classes=tuple(str(name) for name in parts["classes"]),
                scores=parts["scores"],
                truth=parts["truth"],
                groups=[str(name) for name in parts["groups"]],
                names=[str(name) for name in parts["names"]],
                exclusive=bool(parts["exclusive"]),
                thresholds=tuple(float(value) for value in parts["thresholds"]),
            )
