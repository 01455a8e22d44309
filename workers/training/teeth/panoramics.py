"""Panoramics with one FDI number per tooth pixel: a folder with manifest.csv, images/ and labels/, or drawn phantoms.

``manifest.csv`` has a row per image: file (relative), split, group, label_file. Label maps hold FDI numbers of
permanent teeth, 0 elsewhere, and 255 where nobody knows; the loss ignores that. Images stretched to a square are taken
as 16:9, the shape of the devices they came from.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.domain.errors import ConfigurationError
from workers.models.arch import CLASS_OF, FDI
from workers.pixels import Image
from workers.training.phantom import panoramic_phantom

STRETCHED_ASPECT = 16 / 9  # columns to rows of what was stretched to a square
UNKNOWN = 255  # in a label map
IGNORED = len(FDI) + 1  # class of what is unknown
_SIDE = 512  # training samples are kept as squares of this size; geometry undoes it
_COLUMNS = ("file", "split", "group", "label_file")


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled image on disk."""

    image: Path
    labels: Path
    split: str
    group: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One image in memory for training.

    Attributes:
        pixels: uint8 (rows, columns), resized without regard to shape.
        classes: uint8, the same size, 0 background, 1..32 as ``arch.FDI``.
        aspect: columns to rows of the true image.
        surround: how often to hide what lies outside the inscribed ellipse, because it was made up.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    aspect: float
    surround: float = 0.0


def read_manifest(data: Path, split: str) -> list[Record]:
    """The records of one split. Raises ConfigurationError when the folder is not such a data set."""
    manifest = data / "manifest.csv"
    try:
        rows = list(csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        message = f"{manifest} cannot be read ({error.strerror}); --data must name a folder with manifest.csv"
        raise ConfigurationError(message) from error
    if not rows or any(column not in rows[0] for column in _COLUMNS):
        message = f"{manifest} lacks rows or one of the columns {', '.join(_COLUMNS)}"
        raise ConfigurationError(message)
    chosen = [
        Record(data / r["file"], data / r["label_file"], r["split"], r["group"]) for r in rows if r["split"] == split
    ]
    if not chosen:
        message = f"{manifest} has no image of split {split!r}"
        raise ConfigurationError(message)
    return chosen


def to_classes(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """FDI label map to classes 0..32 and IGNORED; numbers that are no permanent tooth become background."""
    table = np.zeros(256, np.uint8)
    table[UNKNOWN] = IGNORED
    table[list(FDI)] = [CLASS_OF[fdi] for fdi in FDI]
    return table[labels]


def load_pixels(path: Path) -> NDArray[np.uint8]:
    """Grey image as stored."""
    with Picture.open(path) as picture:
        return np.asarray(picture.convert("L"))


def image_of(pixels: NDArray[np.float32]) -> Image:
    """An upright image of which nothing else is known."""
    return Image(pixels=np.ascontiguousarray(pixels), header=Dataset(), flipped_x=False, flipped_y=False, notes=())


def true_aspect(rows: int, columns: int) -> float:
    """Columns to rows of the film; a square is a stretched one."""
    return STRETCHED_ASPECT if rows == columns else columns / rows


def load_samples(records: Iterable[Record], surround: float = 0.0) -> list[Sample]:
    """All records as squares of 512 pixels; ``surround`` as in ``Sample``."""
    samples = []
    for record in records:
        pixels, labels = load_pixels(record.image), load_pixels(record.labels)
        square = _square(pixels, Picture.Resampling.BOX)
        samples.append(Sample(square, _square(to_classes(labels)), true_aspect(*pixels.shape), surround))
    return samples


def phantom_samples(seeds: Iterable[int]) -> list[Sample]:
    """Drawn panoramics of some seeds, in the aspect of real devices."""
    samples = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        columns = round(_SIDE * rng.uniform(1.75, 2.1))
        phantom = panoramic_phantom(seed, rows=_SIDE, columns=columns)
        pixels = (phantom.pixels >> 4).astype(np.uint8)
        samples.append(
            Sample(_square(pixels, Picture.Resampling.BOX), _square(to_classes(phantom.labels)), columns / _SIDE)
        )
    return samples


def _square(plane: NDArray[np.uint8], how: Picture.Resampling = Picture.Resampling.NEAREST) -> NDArray[np.uint8]:
    return np.asarray(Picture.fromarray(plane).resize((_SIDE, _SIDE), how))
