"""Findings on photographs of mouths: caries, gingivitis, calculus, ulcers, discoloured and missing teeth.

Several small networks look at the whole picture and once closer at its middle, each time also mirrored, because a
photograph may have been taken over a mirror or turned by a phone. Their mean gives the findings, the logits of the
parts of the picture give the heat map. What the first of them sees also says whether a mouth is there at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage
from scipy.special import expit, logsumexp

from service.domain.codes import FINDINGS
from service.domain.errors import Declined
from service.domain.finding import Algorithm
from workers.inference import Runner, open_network
from workers.models import Verdict, mouth
from workers.models.bundle import BUNDLES, broken, load_bundle
from workers.models.fit_for_photos import judge_photo
from workers.models.photo_view import Window, look_at, on_picture, window_of
from workers.pixels import Image
from workers.regions import Detection

SITE = "mouth"
NO_COLOURS = "the picture has no colours, as an X-ray or a page has none"
NO_MOUTH = "no mouth is seen in the photograph"
_COLOURS = 3
_GRID = 32  # cells of the longer side of a heat map
_FINE = 256  # cells of the longer side in which the hot part is drawn
_HOT = 0.5  # of the heat

Floats = NDArray[np.float32]


class OralPhoto:
    """Findings on photographs of mouths."""

    name = "oral_photo"
    looks_for = ("calculus", "caries", "discoloration", "gingivitis", "hypodontia", "ulcer")

    def __init__(self, bundle: Path | None = None) -> None:
        """``bundle``: another folder than the one that ships."""
        self._path = bundle or BUNDLES / self.name

    def judge(self, header: Dataset) -> Verdict:
        """Accept photographs of the mouth, where there are weights."""
        accepted, reason = judge_photo(header)
        if accepted and not (self._path / "configs").is_dir():
            return Verdict(accepted=False, reason="no weights are installed; train some with dentgate train photos")
        return Verdict(accepted, reason)

    def load(self, device: str) -> "LoadedOralPhoto":
        """Read the bundle and open the network. Raises ConfigurationError."""
        bundle = load_bundle(self._path)
        settings = Settings.of(self._path, bundle.settings)
        runner = open_network(bundle.network, (3, *settings.canvas), device)
        return LoadedOralPhoto(bundle.algorithm, runner, settings)


@dataclass(frozen=True, slots=True)
class Settings:
    """configs/inference.json.

    Attributes:
        classes: what the networks tell apart; those that are no kind of finding ("healthy") only compete.
        canvas: rows and columns that the network sees.
        mean, deviation: of each colour.
        closer: share of each side in the second look.
        slopes, offsets: logit to certainty, for each class.
        thresholds: certainty from which on a class is reported.
        least_mouth: logit of "a mouth is there" below which nothing is read.
    """

    classes: tuple[str, ...]
    canvas: tuple[int, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    closer: float
    slopes: tuple[float, ...]
    offsets: tuple[float, ...]
    thresholds: tuple[float, ...]
    least_mouth: float

    @classmethod
    def of(cls, bundle: Path, settings: dict[str, Any]) -> "Settings":
        """From the JSON object. Raises ConfigurationError naming the bundle where something is missing or odd."""
        try:
            classes = tuple(str(name) for name in settings["classes"])
            rows, columns = (int(value) for value in settings["canvas"])
            mean, deviation = (tuple(map(float, settings[key])) for key in ("mean", "deviation"))
            slopes, offsets, thresholds = (tuple(map(float, settings[k])) for k in ("slopes", "offsets", "thresholds"))
            closer, least_mouth = float(settings["closer"]), float(settings["least_mouth"])
        except (KeyError, TypeError, ValueError) as error:
            raise broken(bundle, f"configs/inference.json is not that of {OralPhoto.name} ({error})") from error
        if not len(mean) == len(deviation) == _COLOURS or {len(slopes), len(offsets), len(thresholds)} != {
            len(classes)
        }:
            raise broken(bundle, "configs/inference.json has lists of other lengths than its classes or colours")
        return cls(classes, (rows, columns), mean, deviation, closer, slopes, offsets, thresholds, least_mouth)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the networks made of a photograph.

    Attributes:
        logits: (classes,), mean of all looks and networks.
        mouth: logit of "a mouth is there".
        looks: window and mean maps (classes, rows, columns) of each look, the mirrored one turned back.
    """

    logits: Floats
    mouth: float
    looks: tuple[tuple[Window, Floats], ...]


class LoadedOralPhoto:
    """The model with its weights."""

    def __init__(self, algorithm: Algorithm, runner: Runner, settings: Settings) -> None:
        """``runner``: the networks; see ``OralPhoto.load``."""
        self.algorithm, self.settings = algorithm, settings
        self._runner = runner

    def analyze(self, image: Image, _before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """The findings above their thresholds, the most certain first; nothing where all looks healthy.

        Raises:
            Declined: the picture is dark, blurred, without colours, or shows no mouth.
        """
        if image.colour is None:
            raise Declined(NO_COLOURS)
        if reason := mouth.refuse(image.colour):
            raise Declined(reason)
        seen = self.see(image.colour)
        if seen.mouth < self.settings.least_mouth:
            raise Declined(NO_MOUTH)
        certainties = self.certainties(seen)
        found = [
            self._detection(seen, k, float(certainties[k]), image.colour.shape[:2])
            for k, name in enumerate(self.settings.classes)
            if name in FINDINGS and certainties[k] >= self.settings.thresholds[k]
        ]
        return tuple(sorted(found, key=lambda detection: -detection.certainty))

    def certainties(self, seen: Seen) -> NDArray[np.float64]:
        """(classes,), 0 to 1."""
        logits = seen.logits.astype(np.float64)
        certainties: NDArray[np.float64] = expit(logits * self.settings.slopes + np.array(self.settings.offsets))
        return certainties

    def see(self, colour: Floats) -> Seen:
        """Look at a photograph (rows, columns, 3), 0 to 1."""
        rows, columns = colour.shape[:2]
        windows = [window_of(rows, columns, closer) for closer in (1.0, self.settings.closer)]
        looks = np.stack([look_at(colour, window, self.settings.canvas) for window in windows])
        looks = (looks - np.array(self.settings.mean)) / np.array(self.settings.deviation)
        pixels = looks.transpose(0, 3, 1, 2)
        output = self._runner(np.concatenate([pixels, pixels[..., ::-1]]).astype(np.float32))
        count = len(self.settings.classes)
        parts, scope = output[:, :-1].reshape(len(output), -1, count, *output.shape[2:]), output[:, -1:]
        maps = parts.mean(1)
        maps = (maps[: len(windows)] + maps[len(windows) :, ..., ::-1]) / 2
        return Seen(
            logits=pooled(parts).mean((0, 1)),
            mouth=float(scope.mean()),
            looks=tuple(zip(windows, maps, strict=True)),
        )

    def _detection(self, seen: Seen, k: int, certainty: float, shape: tuple[int, ...]) -> Detection:
        heat = heat_of([(window, maps[k]) for window, maps in seen.looks], (shape[0], shape[1]))
        box, mask = hot_part(heat, (shape[0], shape[1]))
        return Detection(
            self.settings.classes[k], None, round(certainty, 3), box, mask, site=SITE, heat=heat.astype(np.float32)
        )


def pooled(maps: Floats) -> Floats:
    """Logits of parts (..., rows, columns) to those of the picture (...), as ``PhotoNet`` has them."""
    parts = maps.shape[-2] * maps.shape[-1]
    logits: Floats = (logsumexp(maps, axis=(-2, -1)) - np.log(parts)).astype(np.float32)
    return logits


def heat_of(looks: Sequence[tuple[Window, Floats]], shape: tuple[int, int]) -> Floats:
    """How much each part of a picture spoke for a class, 0 to 1, on a grid of at most 32 cells a side.

    Half of the parts, those that spoke least, have 0, and the one that spoke most has 1.
    """
    grid = _cells(shape, _GRID)
    mean = np.mean([on_picture(maps[None], window, grid)[0] for window, maps in looks], axis=0)
    middle, most = float(np.median(mean)), float(mean.max())
    heat: Floats = ((mean - middle) / max(most - middle, 1e-6)).clip(0, 1).astype(np.float32)
    return heat


def hot_part(heat: Floats, shape: tuple[int, int]) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]]:
    """Box (x0, y0, x1, y1) and mask inside it, in pixels of a picture, of the hottest connected part."""
    cells = _cells(shape, _FINE)
    whole = Window(0.0, 0.0, 1.0, 1.0)
    fine = on_picture(heat[None], whole, cells)[0]
    labels, _ = ndimage.label(fine >= min(_HOT, float(fine.max())))
    part = labels == labels[np.unravel_index(int(fine.argmax()), fine.shape)]
    rows, columns = (np.arange(length) * count // length for length, count in zip(shape, cells, strict=True))
    in_rows, in_columns = (np.flatnonzero(part.any(axis)[cell]) for axis, cell in ((1, rows), (0, columns)))
    y0, y1, x0, x1 = int(in_rows[0]), int(in_rows[-1]) + 1, int(in_columns[0]), int(in_columns[-1]) + 1
    return (x0, y0, x1, y1), part[np.ix_(rows[y0:y1], columns[x0:x1])]


def _cells(shape: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(longest / max(shape), 1.0)
    return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)
