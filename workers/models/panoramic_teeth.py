"""Teeth on panoramics: found, outlined and numbered (FDI).

Two looks by one network: the first at the whole image finds where the arch lies, the second sees that arch in the frame
in which the network knows arches best, whatever the device made of it. Each look is taken twice, once mirrored. The
second look gives the outlines, both together the numbers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.special import expit

from service.domain.errors import Declined
from service.domain.finding import Algorithm
from workers.models import Verdict
from workers.models.arch import Frame, arch_frame
from workers.models.bundle import BUNDLES
from workers.models.dentition import MIXED, deciduous_only, mixed
from workers.models.film import film_box
from workers.models.fit_for_panoramics import judge_panoramic
from workers.models.gate import UPSIDE_DOWN
from workers.models.looks import Look, NumberedTooth, number_look
from workers.models.sight import Sight, in_order
from workers.models.view import Plane
from workers.pixels import NOTE_ORIENTATION, Image
from workers.regions import Detection

_WIDEST, _TALLEST = 2.4, 1.6  # columns to rows; beyond it the first look gets black borders instead of distortion
_ENOUGH = 3.0  # sum of certainties; fewer teeth do not tell which way up they are
_LEAST_LEAD = -0.02  # of the way up over the way down: 150 of 152 upright films have 0.03 and more, the other two -0.07
_FEWEST = 2  # teeth; fewer in the first look are no dentition, or none that a frame can be fitted to


class PanoramicTeeth:
    """Tooth detection and FDI numbering on panoramics."""

    name = "teeth_panoramic"
    looks_for = ("tooth",)

    def __init__(self, bundle: Path | None = None) -> None:
        """``bundle``: another folder than the one that ships."""
        self._path = bundle or BUNDLES / self.name

    def judge(self, header: Dataset) -> Verdict:
        """Accept panoramics by modality, description and shape, but not of children without permanent teeth."""
        accepted, reason = judge_panoramic(header)
        too_young = deciduous_only(header) if accepted else ""
        return Verdict(accepted=accepted and not too_young, reason=too_young or reason)

    def load(self, device: str) -> "LoadedPanoramicTeeth":
        """Read the bundle and open the network. Raises ConfigurationError."""
        sight, algorithm = Sight.open(self._path, device)
        return LoadedPanoramicTeeth(algorithm, sight)


class LoadedPanoramicTeeth:
    """The model with its weights."""

    def __init__(self, algorithm: Algorithm, sight: Sight) -> None:
        """``sight``: the network; see ``PanoramicTeeth.load``."""
        self.algorithm = algorithm
        self._sight = sight

    def analyze(self, image: Image, _before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """The teeth of a panoramic by number, each number once; nothing where no dentition is seen.

        Raises:
            Declined: it does not say which way up it is, and looks like a dentition only when turned over.
        """
        if NOTE_ORIENTATION in image.notes and self._is_upside_down(image.pixels):
            raise Declined(UPSIDE_DOWN)
        return in_order(detection for _, detection in self.teeth(image))

    def teeth(self, image: Image) -> list[tuple[NumberedTooth, Detection]]:
        """What ``analyze`` finds, with the evidence for it."""
        look = self.see(image.pixels)
        remarks = (MIXED,) if mixed(image.header) else ()
        return self._sight.detections(look, image.pixels.shape, self._sight.settings.certainty, remarks)

    def see(self, pixels: NDArray[np.float32]) -> Look:
        """Both looks at an oriented image (rows, columns)."""
        first = self._look(pixels, whole(pixels), None)
        if len(first.centres()) < _FEWEST:
            return first
        return self._look(pixels, arch_frame(first.centres()), first)

    def _is_upside_down(self, pixels: Plane) -> bool:
        """Whether the other way up more, or surer, teeth are seen at first look; False where hardly any are."""
        up, down = (self._surety(self._look(way, whole(way), None)) for way in (pixels, pixels[::-1]))
        return down > _ENOUGH and (up - down) / (up + down) < _LEAST_LEAD

    def _surety(self, look: Look) -> float:
        """Sum of the certainties of the numbered teeth."""
        features = np.array([tooth.features() for tooth in look.teeth if tooth.fdi is not None]).reshape(-1, 3)
        return float(expit(features @ np.array(self._sight.settings.certainty)).sum())

    def _look(self, pixels: Plane, frame: Frame, before: Look | None) -> Look:
        grid, teeth = self._sight.see(pixels, frame)
        return number_look(frame, grid, teeth, before)


def whole(pixels: Plane) -> Frame:
    """A frame around the whole film in an image (rows, columns), with borders where its shape is extreme."""
    x0, y0, x1, y1 = film_box(pixels)
    aspect = (x1 - x0) * pixels.shape[1] / ((y1 - y0) * pixels.shape[0])
    wide, tall = max(aspect / _WIDEST, 1.0), max(_TALLEST / aspect, 1.0)
    return Frame((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 * tall, (y1 - y0) / 2 * wide)
