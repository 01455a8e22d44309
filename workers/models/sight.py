"""What the tooth network sees inside a frame of an image: single teeth without numbers, and how they go back to pixels.

Panoramics and intra-oral films are seen by the same network and the same bundle; only the frames differ.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from service.domain.finding import UNCERTAIN, Algorithm
from workers.inference import Runner
from workers.models.arch import MIRRORED, Frame
from workers.models.bundle import broken, load_bundle
from workers.models.instances import Instance, find_instances
from workers.models.looks import Look, NumberedTooth
from workers.models.opened import open_once
from workers.models.view import Plane, inside, look_at, standardize, to_image
from workers.networks.tooth_net import CLASSES
from workers.regions import Detection

_MIRROR = np.array([*MIRRORED, CLASSES, CLASSES + 1, CLASSES + 2])
_LEAST_SEEN = 0.35  # less is not called a tooth

Curve = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Settings:
    """configs/inference.json.

    Attributes:
        canvas: rows and columns the network sees.
        mean, deviation: of the standardized canvas.
        certainty: bias and weights of margin and seen in the logistic curve that gives the certainty on panoramics.
        certainty_intraoral: the same on windows of an arch; bundles before 0.2 have the curve of panoramics.
        uncertain_below: a number of less certainty is flagged.
    """

    canvas: tuple[int, int]
    mean: float
    deviation: float
    certainty: Curve
    certainty_intraoral: Curve
    uncertain_below: float

    @classmethod
    def of(cls, bundle: Path, settings: dict[str, Any]) -> "Settings":
        """From the JSON object. Raises ConfigurationError naming the bundle where something is missing or odd."""
        try:
            rows, columns = (int(value) for value in settings["canvas"])
            curves = [_curve(settings.get(key, settings["certainty"])) for key in ("certainty", "certainty_intraoral")]
            mean, deviation, below = (float(settings[key]) for key in ("mean", "deviation", "uncertain_below"))
        except (KeyError, TypeError, ValueError) as error:
            raise broken(bundle, f"configs/inference.json is not that of the tooth model ({error})") from error
        return cls((rows, columns), mean, deviation, curves[0], curves[1], below)


def _curve(values: Any) -> Curve:  # noqa: ANN401 - whatever stands in the file
    bias, margin, seen = (float(value) for value in values)
    return bias, margin, seen


class Sight:
    """The network with its weights."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        """``runner``: the network; see ``open``."""
        self._runner, self.settings = runner, settings

    @classmethod
    def open(cls, path: Path, device: str) -> tuple["Sight", Algorithm]:
        """From a bundle. Raises ConfigurationError."""
        bundle = load_bundle(path)
        settings = Settings.of(path, bundle.settings)
        return cls(open_once(bundle, (1, *settings.canvas), device), settings), bundle.algorithm

    def see(self, pixels: Plane, frame: Frame, *, film_only: bool = False) -> tuple[tuple[int, int], list[Instance]]:
        """Teeth in a frame of an oriented image (rows, columns), and the grid on which they lie.

        Seen twice, once mirrored. What of the frame lies beside the image is black; ``film_only``: it does not count
        for the tones.
        """
        size = self.settings.canvas
        canvas = standardize(look_at(pixels, frame, size), inside(frame, size) if film_only else None)
        canvas = (canvas - self.settings.mean) / self.settings.deviation
        both = self._runner(np.stack([canvas, canvas[:, ::-1]])[:, None].astype(np.float32))
        output = unmirror(both[0], both[1])
        found = [tooth for tooth in find_instances(output) if tooth.seen > _LEAST_SEEN]
        return (output.shape[1], output.shape[2]), found

    def detections(
        self, look: Look, shape: tuple[int, ...], curve: Curve, remarks: tuple[str, ...] = ()
    ) -> list[tuple[NumberedTooth, Detection]]:
        """The teeth with a number in pixels of an image of ``shape``; not those that lie outside."""
        found = []
        for tooth in look.teeth:
            soft, corner = tooth.instance.soft, (tooth.instance.top, tooth.instance.left)
            at = to_image(soft, corner, look.grid, look.frame, (shape[0], shape[1]))
            if tooth.fdi is None or at is None:
                continue
            certainty = float(expit(np.dot(curve, tooth.features())))
            flags = (UNCERTAIN, *remarks) if certainty < self.settings.uncertain_below else remarks
            found.append((tooth, Detection("tooth", tooth.fdi, round(certainty, 3), *at, flags)))
        return found


def in_order(detections: Iterable[Detection]) -> tuple[Detection, ...]:
    """By number."""
    return tuple(sorted(detections, key=lambda detection: detection.tooth or 0))


def unmirror(plain: NDArray[np.float32], mirrored: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of an output and that of the mirrored canvas, turned back: columns, numbers of left and right, offsets."""
    back = mirrored[_MIRROR, :, ::-1].copy()
    back[-1] *= -1  # the offset along the columns
    return (plain + back) * np.float32(0.5)
