"""Teeth on intra-oral films (periapicals, bitewings): the panoramic network looks at a window of the arch.

The film is shown at two sizes, because how many teeth it holds is not known beforehand; the look that finds more teeth
counts. The weights are those of the panoramic network, trained on with windows of panoramics. Numbers come from a
contiguous window of slots, the same in both jaws. What the header says about jaw, side and teeth (PS3.3 C.8.11.9) makes
numbers more or less likely; where the pixels say otherwise all the same, a flag tells.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from service.domain.finding import UNCERTAIN, Algorithm
from workers.models import Verdict
from workers.models.arch import Frame
from workers.models.bundle import BUNDLES
from workers.models.dentition import MIXED, deciduous_only, mixed
from workers.models.film import cut, film_box
from workers.models.fit_for_intraoral import Told, judge_intraoral, told
from workers.models.instances import Instance
from workers.models.looks import Look, NumberedTooth, placed
from workers.models.numbering import Evidence, Number, number_window
from workers.models.sight import Sight, in_order
from workers.pixels import Image
from workers.regions import Detection

SIDE_CONTRADICTS, JAW_CONTRADICTS = "side-contradicts-header", "jaw-contradicts-header"
TEETH_CONTRADICT = "not-the-teeth-named-in-the-header"
#: Either the film is mirrored or its side is told wrongly; it was read as mirrored, and nothing in it shows which.
ORIENTATION_CONTRADICTS = "side-and-orientation-of-the-file-disagree"
_SLOTS_SEEN = 7  # teeth next to each other that a film can show in one jaw, gaps included
_ENOUGH = 2  # teeth of clear numbers before one that is named is contradicted
_CLEAR = 2.0  # least margin, natural log, of a number that may contradict the header
_UPPER_CLASSES = 16
SIZES = (0.8, 0.62)  #: diagonal of the film in rows of the canvas


class IntraoralTeeth:
    """Tooth detection and FDI numbering on periapicals and bitewings."""

    name = "teeth_intraoral"
    looks_for = ("tooth",)

    def __init__(self, bundle: Path | None = None) -> None:
        """``bundle``: another folder than the one that ships."""
        self._path = bundle or BUNDLES / self.name

    def judge(self, header: Dataset) -> Verdict:
        """Accept intra-oral X-ray films by modality or kind of object, but not of children without permanent teeth."""
        accepted, reason = judge_intraoral(header)
        too_young = deciduous_only(header) if accepted else ""
        return Verdict(accepted=accepted and not too_young, reason=too_young or reason)

    def load(self, device: str) -> "LoadedIntraoralTeeth":
        """Read the bundle and open the network. Raises ConfigurationError."""
        sight, algorithm = Sight.open(self._path, device)
        return LoadedIntraoralTeeth(replace(algorithm, name=self.name), sight)  # also with a panoramic bundle


class LoadedIntraoralTeeth:
    """The model with its weights."""

    def __init__(self, algorithm: Algorithm, sight: Sight) -> None:
        """``sight``: the network; see ``IntraoralTeeth.load``."""
        self.algorithm = algorithm
        self._sight = sight

    def analyze(self, image: Image, _before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """The teeth of a film by number, each number once."""
        return in_order(detection for _, detection in self.teeth(image))

    def teeth(self, image: Image) -> list[tuple[NumberedTooth, Detection]]:
        """What ``analyze`` finds, with the evidence for it."""
        header = told(image.header)
        pixels = image.pixels[:, ::-1] if header.mirrored else image.pixels
        box = film_box(pixels)
        film = cut(pixels, box)
        look, remarks = self.see(film, header)
        if header.deciduous or mixed(image.header):
            remarks = (*remarks, MIXED)
        found = self._sight.detections(look, film.shape, self._sight.settings.certainty_intraoral, remarks)
        corner = round(box[0] * pixels.shape[1]), round(box[1] * pixels.shape[0])
        found = [(tooth, _moved(each, *corner)) for tooth, each in found]
        return [(tooth, _turned(each, pixels.shape[1])) for tooth, each in found] if header.mirrored else found

    def see(self, pixels: NDArray[np.float32], header: Told) -> tuple[Look, tuple[str, ...]]:
        """The better of two looks at an oriented film (rows, columns), and flags where it contradicts the header."""
        looks = [self._look(pixels, size, header) for size in SIZES]
        return max(looks, key=lambda seen: sum(tooth.instance.seen for tooth in seen[0].teeth if tooth.fdi is not None))

    def _look(self, pixels: NDArray[np.float32], size: float, header: Told) -> tuple[Look, tuple[str, ...]]:
        frame = film_frame(pixels.shape, self._sight.settings.canvas, size)
        grid, teeth = self._sight.see(np.ascontiguousarray(pixels), frame, film_only=True)
        prior = header.prior()
        alone, numbers = _numbers(teeth, np.zeros_like(prior)), _numbers(teeth, prior)
        numbered = [
            NumberedTooth(tooth, *placed(frame, grid, tooth), tooth.log_p + prior, number.fdi, number.margin)
            for tooth, number in zip(teeth, numbers, strict=True)
        ]
        return Look(frame, grid, numbered), _contradictions(alone, header)


def film_frame(shape: tuple[int, ...], canvas: tuple[int, int], size: float) -> Frame:
    """The frame in which a film (rows, columns) lies amid a canvas, its diagonal ``size`` times the canvas's height."""
    rows, columns = shape[:2]
    half = float(np.hypot(rows, columns)) / 2 / size
    return Frame(0.5, 0.5, half * canvas[1] / canvas[0] / columns, half / rows)


def _numbers(teeth: Sequence[Instance], prior: NDArray[np.float64]) -> list[Number]:
    opinions = [tooth.log_p + prior for tooth in teeth]
    upper = jaws([tooth.y for tooth in teeth], opinions)
    evidence = [Evidence(t.x, *t.span, opinion) for t, opinion in zip(teeth, opinions, strict=True)]
    return number_window(evidence, upper, _SLOTS_SEEN)


def jaws(heights: Sequence[float], opinions: Sequence[NDArray[np.float64]]) -> list[bool]:
    """Which teeth are of the upper jaw: those above the one line that fits all opinions (32,) best."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    sides = np.array(
        [(np.logaddexp.reduce(o[:_UPPER_CLASSES]), np.logaddexp.reduce(o[_UPPER_CLASSES:])) for o in opinions]
    )
    sides = sides.reshape(-1, 2)[order]
    fit = [sides[:k, 0].sum() + sides[k:, 1].sum() for k in range(len(order) + 1)]
    above = set(order[: int(np.argmax(fit))])
    return [i in above for i in range(len(heights))]


def _contradictions(numbers: Sequence[Number], header: Told) -> tuple[str, ...]:
    """Flags where most of what the pixels alone say clearly is not what the header says."""
    teeth = [number.fdi for number in numbers if number.fdi is not None and number.margin >= _CLEAR]
    clear = [fdi // 10 for fdi in teeth]
    right = sum(quadrant in (1, 4) for quadrant in clear)
    upper = sum(quadrant in (1, 2) for quadrant in clear)
    flags = []
    if header.right is not None and 2 * (right if header.right else len(clear) - right) < len(clear):
        flags.append(SIDE_CONTRADICTS)
    if header.upper is not None and 2 * (upper if header.upper else len(clear) - upper) < len(clear):
        flags.append(JAW_CONTRADICTS)
    if len(teeth) >= _ENOUGH and header.contradicts(teeth):
        flags.append(TEETH_CONTRADICT)
    return tuple(flags)


def _moved(detection: Detection, right: int, down: int) -> Detection:
    """From a film into the image in which its corner lies ``right`` and ``down``, in pixels."""
    if detection.box is None:
        return detection
    x0, y0, x1, y1 = detection.box
    return replace(detection, box=(x0 + right, y0 + down, x1 + right, y1 + down))


def _turned(detection: Detection, columns: int) -> Detection:
    """Back into an image that was mirrored for the look; its sides hang on which of two statements is true."""
    flags = (*dict.fromkeys((UNCERTAIN, *detection.flags)), ORIENTATION_CONTRADICTS)
    detection = replace(detection, flags=flags)
    if detection.box is None or detection.mask is None:
        return detection
    x0, y0, x1, y1 = detection.box
    return replace(detection, box=(columns - x1, y0, columns - x0, y1), mask=detection.mask[:, ::-1])
