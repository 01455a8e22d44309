"""A classifier of whole images from a bundle: probabilities, and what of the image spoke for each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from service.domain.errors import Declined
from workers.inference import Runner, alone, open_network
from workers.models.bundle import broken, load_bundle
from workers.models.canvas import canvas_of, off_canvas
from workers.models.film import film_box
from workers.models.grad_cam import class_maps, grad_cam, hot_box, to_heat
from workers.pixels import Image
from workers.regions import Detection

_COLOURS = 3
Maps = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Settings:
    """configs/inference.json.

    Attributes:
        size: rows and columns of the canvas.
        channels: 1 grey; 3 colour, or grey three times over where the image has none.
        percentiles: of the grey values, brought to 0 and 1; None = as they are.
        mean, deviation: of the canvas.
        classes: names, in the order of the network's answers.
        exclusive: exactly one class holds.
        thresholds: least probability at which a class is said to hold.
        calibration: slope and offset for each class, applied to the logits.
        mirrored: the mirror image is looked at as well.
        findings: class to key of ``service.domain.codes.FINDINGS``; a class that is not named is no finding.
    """

    size: tuple[int, int]
    channels: int
    percentiles: tuple[float, float] | None
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    classes: tuple[str, ...]
    exclusive: bool
    thresholds: tuple[float, ...]
    calibration: tuple[tuple[float, float], ...]
    mirrored: bool
    findings: dict[str, str]

    @classmethod
    def of(cls, bundle: Path, settings: dict[str, Any]) -> "Settings":
        """From the JSON object. Raises ConfigurationError naming the bundle where something is missing or odd."""
        try:
            rows, columns = (int(value) for value in settings["size"])
            percentiles = settings["percentiles"]
            result = cls(
                size=(rows, columns),
                channels=int(settings["channels"]),
                percentiles=None if percentiles is None else (float(percentiles[0]), float(percentiles[1])),
                mean=tuple(float(value) for value in settings["mean"]),
                deviation=tuple(float(value) for value in settings["deviation"]),
                classes=tuple(str(name) for name in settings["classes"]),
                exclusive=bool(settings["exclusive"]),
                thresholds=tuple(float(value) for value in settings["thresholds"]),
                calibration=tuple((float(slope), float(offset)) for slope, offset in settings["calibration"]),
                mirrored=bool(settings["mirrored"]),
                findings=dict(settings["findings"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise broken(bundle, f"configs/inference.json is not that of an image classifier ({error})") from error
        if {len(result.thresholds), len(result.calibration)} != {len(result.classes)}:
            raise broken(bundle, "configs/inference.json needs one threshold and calibration for each class")
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the network says of an image.

    Attributes:
        probabilities: float64 (classes,), calibrated.
        maps: float32 (classes, h, w), what each part of the image adds to a class; a coarse grid over the image.
    """

    probabilities: NDArray[np.float64]
    maps: Maps


class ImageClassifier:
    """An image classifier with its weights."""

    def __init__(self, path: Path, device: str, engine: str = "auto") -> None:
        """Read the bundle ``path`` and open its network; ``engine`` as in ``open_network``. ConfigurationError."""
        bundle = load_bundle(path)
        self.algorithm = bundle.algorithm
        self.settings = Settings.of(path, bundle.settings)
        exact = class_maps(bundle.network)
        shape = (self.settings.channels, *self.settings.size)
        self._exact = exact is not None
        self.network = bundle.network
        self._runner: Runner = open_network(exact or bundle.network, shape, device, engine)

    def analyze(self, image: Image, _before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """Findings over their threshold, each with its heat map and a box around the hot part."""
        reading = self.read(image.pixels if image.colour is None else image.colour)
        return tuple(self.detections(reading, image.pixels.shape))

    def detections(self, reading: Reading, shape: tuple[int, ...]) -> list[Detection]:
        """The findings of a reading of an image of ``shape`` (rows, columns)."""
        found = []
        for index in self.said(reading.probabilities):
            kind = self.settings.findings.get(self.settings.classes[index])
            if kind is None:
                continue
            heat = to_heat(reading.maps[index])
            certainty = round(float(reading.probabilities[index]), 3)
            found.append(Detection(kind, None, certainty, hot_box(heat, (shape[0], shape[1])), heat=heat))
        return found

    def said(self, probabilities: NDArray[np.float64]) -> list[int]:
        """Which classes are said to hold: those over their threshold; of exclusive ones the one most over it."""
        over = probabilities - np.array(self.settings.thresholds)
        if self.settings.exclusive:
            return [int(over.argmax())]
        return np.nonzero(over >= 0)[0].tolist()

    def read(self, pixels: Maps) -> Reading:
        """Probabilities and maps of an oriented image, (rows, columns) or (rows, columns, 3), 0 to 1.

        Raises:
            Declined: the network works on colours and the image has none that it could take.
        """
        canvas = self.canvas(pixels)
        mean, deviation = (
            np.array(v, np.float32)[:, None, None] for v in (self.settings.mean, self.settings.deviation)
        )
        views = [canvas, canvas[..., ::-1]] if self.settings.mirrored else [canvas]
        batch = np.ascontiguousarray((np.stack(views) - mean) / deviation, np.float32)
        logits, maps = self._run(batch)
        maps = maps if len(maps) == 1 else np.stack([maps[0], maps[1][..., ::-1]])
        slope, offset = np.array(self.settings.calibration).T
        calibrated = slope * logits.mean(0) + offset
        plane = maps.mean(0)
        shape, film = (pixels.shape[0], pixels.shape[1]), film_box(pixels)
        on_image = np.stack([off_canvas(m, shape, self.settings.size, film) for m in plane])
        return Reading(np.asarray((softmax if self.settings.exclusive else expit)(calibrated)), on_image)

    def canvas(self, pixels: Maps) -> Maps:
        """What the network sees before normalisation, (channels, *size)."""
        colour = pixels.ndim == _COLOURS
        if self.settings.channels == _COLOURS and not colour:
            pixels = np.repeat(pixels[..., None], _COLOURS, axis=2)
        elif self.settings.channels == 1 and colour:
            message = "it is in colour, the model was made for grey images"
            raise Declined(message)
        return canvas_of(pixels, self.settings.size, self.settings.percentiles)

    def _run(self, batch: Maps) -> tuple[NDArray[np.float64], Maps]:
        output = self._runner(batch)
        if self._exact:
            return output.mean((2, 3), dtype=np.float64), output
        with alone(self._runner):
            return output.astype(np.float64), grad_cam(self.network, batch)
