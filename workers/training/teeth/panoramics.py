"""Panoramics with one FDI number per tooth pixel: a folder with manifest.csv, images/ and labels/, or drawn phantoms.

``manifest.csv`` has a row per image: file (relative), split, group, label_file. Label maps hold FDI numbers of
permanent teeth, 0 elsewhere, and 255 where nobody knows; the loss ignores that, and a number given there counts neither
as right nor as wrong. Images stretched to a square are taken as 16:9, the shape of the devices they came from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.domain.errors import ConfigurationError
from workers.models.arch import CLASS_OF, FDI
from workers.pixels import Image
from workers.training.checks import check_files
from workers.training.grey import read_grey, read_labels
from workers.training.phantom import panoramic_phantom
from workers.training.progress import Progress
from workers.training.readers import MANIFEST, read_rows

STRETCHED_ASPECT = 16 / 9  # columns to rows of what was stretched to a square
UNKNOWN = 255  # in a label map
IGNORED = len(FDI) + 1  # class of what is unknown
_SIDE = 512  # training samples are kept as squares of this size; geometry undoes it
_COLUMNS = ("file", "split", "group", "label_file")
_DECIDUOUS = tuple(10 * quadrant + number for quadrant in (5, 6, 7, 8) for number in range(1, 6))
_SHOWN = 6  # of many wrong numbers


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
    rows = [row for row in read_rows(data, _COLUMNS) if row["split"] == split]
    if not rows:
        message = f"{data / MANIFEST} has no image of split {split!r}"
        raise ConfigurationError(message)
    if unlabelled := [row["file"] for row in rows if not row["label_file"].strip()]:
        message = (
            f"{data / MANIFEST}: {unlabelled[0]} has no label_file ({len(unlabelled)} such rows in split {split}); "
            "name the map of its teeth or take the row out"
        )
        raise ConfigurationError(message)
    return [
        Record(data / row["file"], data / row["label_file"], row["split"], row["group"] or row["file"]) for row in rows
    ]


def check_films(data: Path, split: str) -> None:
    """Pictures and maps of a split can be read, fit each other and hold what they should. Raises ConfigurationError."""
    records = read_manifest(data, split)
    check_files(data, [row for row in read_rows(data) if row["split"] == split])
    check_labels(records)


def check_labels(records: Sequence[Record]) -> None:
    """Every map of some records holds FDI numbers, and one of them a tooth.

    Deciduous numbers (51 to 85) may stand in a map. They become background, not unknown: a model of permanent teeth
    must learn to leave deciduous ones alone.

    Raises:
        ConfigurationError: names the map, the numbers that are none, and the mend.
    """
    teeth = False
    for record in records:
        numbers = set(np.unique(read_labels(record.labels)).tolist())
        if wrong := sorted(numbers - {0, UNKNOWN, *FDI, *_DECIDUOUS}):
            message = f"{record.labels} holds numbers that are not FDI: {_some(wrong)}; {_wanted(wrong)}"
            raise ConfigurationError(message)
        teeth = teeth or not numbers.isdisjoint(FDI)
    if not teeth:
        first = records[0]
        message = (
            f"no map of split {first.split} ({first.labels} and {len(records) - 1} more) holds a permanent tooth; "
            f"{_wanted([])}"
        )
        raise ConfigurationError(message)


def _wanted(wrong: Sequence[int]) -> str:
    counted = bool(wrong) and max(wrong) <= len(FDI)
    hint = "these look like class indices or Universal numbers 1 to 32; " if counted else ""
    return (
        f"{hint}give each pixel of a tooth its FDI number (11-18, 21-28, 31-38, 41-48), 0 elsewhere and {UNKNOWN} "
        "where nobody knows"
    )


def _some(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return ", ".join(map(str, numbers[:_SHOWN])) + more


def permanent(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A label map with the numbers of permanent teeth and UNKNOWN, all else background."""
    return np.where(np.isin(labels, (*FDI, UNKNOWN)), labels, np.uint8(0))


def to_classes(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """FDI label map to classes 0..32 and IGNORED; numbers that are no permanent tooth become background."""
    table = np.zeros(256, np.uint8)
    table[UNKNOWN] = IGNORED
    table[list(FDI)] = [CLASS_OF[fdi] for fdi in FDI]
    return table[labels]


def image_of(pixels: NDArray[np.float32]) -> Image:
    """An upright image of which nothing else is known."""
    return Image(pixels=np.ascontiguousarray(pixels), header=Dataset(), flipped_x=False, flipped_y=False, notes=())


def true_aspect(rows: int, columns: int) -> float:
    """Columns to rows of the film; a square is a stretched one."""
    return STRETCHED_ASPECT if rows == columns else columns / rows


def load_samples(records: Sequence[Record], surround: float = 0.0) -> list[Sample]:
    """All records as squares of 512 pixels; ``surround`` as in ``Sample``."""
    samples = []
    for record in Progress().through(records, "reading films"):
        pixels, labels = read_grey(record.image), read_labels(record.labels)
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
