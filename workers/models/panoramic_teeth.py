"""Teeth on panoramics: found, outlined and numbered (FDI).

Two looks by one network: the first at the whole image finds where the arch lies, the second sees that arch in the frame
in which the network knows arches best, whatever the device made of it. Each look is taken twice, once mirrored. The
second look gives the outlines, both together the numbers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.special import expit

from service.domain.finding import Algorithm
from workers.inference import Runner, open_network
from workers.models import Verdict
from workers.models.arch import MIRRORED, Frame, arch_frame
from workers.models.bundle import BUNDLES, broken, load_bundle
from workers.models.fit_for_panoramics import judge_panoramic
from workers.models.instances import find_instances
from workers.models.looks import Look, NumberedTooth, number_look
from workers.models.view import Plane, look_at, standardize, to_image
from workers.networks.tooth_net import CLASSES
from workers.pixels import Image
from workers.regions import Detection

_MIRROR = np.array([*MIRRORED, CLASSES, CLASSES + 1, CLASSES + 2])
_WIDEST, _TALLEST = 2.4, 1.6  # columns to rows; beyond it the first look gets black borders instead of distortion
_LEAST_SEEN = 0.35  # less is not called a tooth
_FEWEST = 2  # teeth; fewer in the first look are no dentition, or none that a frame can be fitted to


class PanoramicTeeth:
    """Tooth detection and FDI numbering on panoramics."""

    name = "teeth_panoramic"

    def __init__(self, bundle: Path | None = None) -> None:
        """``bundle``: another folder than the one that ships."""
        self._path = bundle or BUNDLES / self.name

    def judge(self, header: Dataset) -> Verdict:
        """Accept panoramics by modality, description and shape."""
        return Verdict(*judge_panoramic(header))

    def load(self, device: str) -> "LoadedPanoramicTeeth":
        """Read the bundle and open the network. Raises ConfigurationError."""
        bundle = load_bundle(self._path)
        settings = Settings.of(self._path, bundle.settings)
        runner = open_network(bundle.network, (1, *settings.canvas), device)
        return LoadedPanoramicTeeth(bundle.algorithm, runner, settings)


@dataclass(frozen=True, slots=True)
class Settings:
    """configs/inference.json.

    Attributes:
        canvas: rows and columns the network sees.
        mean, deviation: of the standardized canvas.
        certainty: bias and weights of margin and seen in the logistic curve that gives the certainty.
        uncertain_below: a number of less certainty is flagged.
    """

    canvas: tuple[int, int]
    mean: float
    deviation: float
    certainty: tuple[float, float, float]
    uncertain_below: float

    @classmethod
    def of(cls, bundle: Path, settings: dict[str, Any]) -> "Settings":
        """From the JSON object. Raises ConfigurationError naming the bundle where something is missing or odd."""
        try:
            rows, columns = (int(value) for value in settings["canvas"])
            bias, margin, seen = (float(value) for value in settings["certainty"])
            mean, deviation, below = (float(settings[key]) for key in ("mean", "deviation", "uncertain_below"))
        except (KeyError, TypeError, ValueError) as error:
            raise broken(bundle, f"configs/inference.json is not that of {PanoramicTeeth.name} ({error})") from error
        return cls((rows, columns), mean, deviation, (bias, margin, seen), below)


class LoadedPanoramicTeeth:
    """The model with its weights."""

    def __init__(self, algorithm: Algorithm, runner: Runner, settings: Settings) -> None:
        """``runner``: the network; see ``PanoramicTeeth.load``."""
        self.algorithm = algorithm
        self._runner, self._settings = runner, settings

    def analyze(self, image: Image) -> tuple[Detection, ...]:
        """The teeth of a panoramic by number, each number once; nothing where no dentition is seen."""
        look = self.see(image.pixels)
        found = [self.detection(look, tooth, image.pixels.shape) for tooth in look.teeth]
        return tuple(sorted((d for d in found if d is not None), key=lambda d: d.tooth or 0))

    def see(self, pixels: NDArray[np.float32]) -> Look:
        """Both looks at an oriented image (rows, columns)."""
        first = self._look(pixels, _whole(pixels.shape), None)
        if len(first.centres()) < _FEWEST:
            return first
        return self._look(pixels, arch_frame(first.centres()), first)

    def _look(self, pixels: Plane, frame: Frame, before: Look | None) -> Look:
        canvas = standardize(look_at(pixels, frame, self._settings.canvas))
        canvas = (canvas - self._settings.mean) / self._settings.deviation
        both = self._runner(np.stack([canvas, canvas[:, ::-1]])[:, None].astype(np.float32))
        output = unmirror(both[0], both[1])
        instances = [tooth for tooth in find_instances(output) if tooth.seen > _LEAST_SEEN]
        return number_look(frame, (output.shape[1], output.shape[2]), instances, before)

    def detection(self, look: Look, tooth: NumberedTooth, shape: tuple[int, ...]) -> Detection | None:
        """In pixels of the image; None for what has no number or lies outside."""
        if tooth.fdi is None:
            return None
        instance = tooth.instance
        placed = to_image(instance.soft, (instance.top, instance.left), look.grid, look.frame, (shape[0], shape[1]))
        if placed is None:
            return None
        certainty = float(expit(np.dot(self._settings.certainty, tooth.features())))
        flags = ("number-uncertain",) if certainty < self._settings.uncertain_below else ()
        return Detection("tooth", tooth.fdi, round(certainty, 3), *placed, flags)


def unmirror(plain: Plane, mirrored: Plane) -> Plane:
    """Mean of an output and that of the mirrored canvas, turned back: columns, numbers of left and right, offsets."""
    back = mirrored[_MIRROR, :, ::-1].copy()
    back[-1] *= -1  # the offset along the columns
    return (plain + back) * np.float32(0.5)


def _whole(shape: tuple[int, ...]) -> Frame:
    """A frame around the whole image, with borders where its shape is extreme."""
    aspect = shape[1] / shape[0]
    wide, tall = max(aspect / _WIDEST, 1.0), max(_TALLEST / aspect, 1.0)
    return Frame(0.5, 0.5, 0.5 * tall, 0.5 * wide)
