"""Panoramics with a box around each tooth that has a condition: manifest.csv, labels/boxes.csv, labels/relabelled.csv.

The first labels mix conditions (filling or crown, root canal or implant); the second look at a part of the boxes tells
them apart. A box states one condition, the tooth may have more: what a label leaves open is NaN, and neither trains nor
counts.
"""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import UnidentifiedImageError

from service.domain.errors import ConfigurationError
from workers.models.conditions import HEADS

Box = tuple[float, float, float, float]
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_SURE = "high"
_OPEN = float("nan")
_FIRST = ("filling_or_crown", "rct_or_implant", "caries_destroyed", "impacted")

#: What a label says of each head: 1 yes, 0 no, absent = left open.
_SAYS: dict[str, dict[str, int]] = {
    "filling": {"filling": 1, "crown": 0, "pontic": 0},
    "crown": {"filling": 0, "crown": 1, "pontic": 0},
    "pontic": {"filling": 0, "crown": 0, "pontic": 1, "root-canal-treated": 0, "destroyed-crown": 0},
    "filling_or_crown": {},
    "rct": {"root-canal-treated": 1, "implant": 0, "pontic": 0},
    "implant": {"root-canal-treated": 0, "implant": 1, "pontic": 0, "filling": 0},
    "rct_or_implant": {},
    "caries_destroyed": {"destroyed-crown": 1, "pontic": 0, "implant": 0, "impacted": 0},
    "impacted": {"impacted": 1, "filling": 0, "crown": 0, "pontic": 0, "implant": 0, "root-canal-treated": 0},
}
#: What the annotators would have called otherwise: a tooth boxed for one thing is not boxed for these.
_BESIDES: dict[str, tuple[str, ...]] = {
    "filling_or_crown": ("root-canal-treated", "implant", "impacted", "destroyed-crown"),
    "rct_or_implant": ("impacted", "destroyed-crown"),
    "caries_destroyed": (),
    "impacted": ("destroyed-crown",),
}
_SECOND = {"root_stump": "caries_destroyed", "caries_in_crown": "caries_destroyed"}


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A box and what it says of each of ``HEADS``: float32 (heads,), 1 yes, 0 no, NaN open; ``name``: its label."""

    box: Box
    labels: NDArray[np.float32]
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """A panoramic: uint8 (rows, columns), its boxes, and the group that must stay together."""

    pixels: NDArray[np.uint8]
    boxes: tuple[Labelled, ...]
    group: str
    name: str


def read_films(data: Path, split: str) -> list[Film]:
    """The films of a part of the manifest.

    Raises:
        ConfigurationError: a file is missing or not what it should be, or a group lies in two splits; says which.
    """
    manifest = _table(data / "manifest.csv", ("file", "split", "group"))
    splits = defaultdict[str, set[str]](set)
    for row in manifest:
        splits[row["group"]].add(row["split"])
    torn = sorted(group for group, found in splits.items() if len(found) > 1)
    if torn:
        message = f"{data / 'manifest.csv'}: group {torn[0]} lies in {' and '.join(sorted(splits[torn[0]]))}"
        raise ConfigurationError(message)
    boxes = _boxes(data)
    films = [
        Film(_pixels(data / row["file"]), tuple(boxes.get(row["file"], ())), row["group"], row["file"])
        for row in manifest
        if row["split"] == split
    ]
    if not films:
        message = f"{data / 'manifest.csv'} has no images in split {split!r}"
        raise ConfigurationError(message)
    return films


def statement(first: str, second: str | None, confidence: str | None) -> tuple[str, NDArray[np.float32]]:
    """The name and the labels of a box.

    Args:
        first: the label of boxes.csv.
        second, confidence: of relabelled.csv; None = nobody looked again.
    """
    name = first
    if second is not None:
        known = _SECOND.get(second, second)
        name = known if confidence == _SURE and known in _SAYS else f"{second}?"
    says = _SAYS.get(name, {})
    labels = np.full(len(HEADS), _OPEN, np.float32)
    for head in _BESIDES[first]:
        labels[HEADS.index(head)] = 0
    for head, value in says.items():
        labels[HEADS.index(head)] = value
    return name, labels


def healthy() -> NDArray[np.float32]:
    """What the lack of a box says of a tooth: nothing special, weakly."""
    return np.zeros(len(HEADS), np.float32)


def merged(labels: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What several boxes around one tooth say together: a yes counts before a no, a no before nothing."""
    stacked = np.where(np.isnan(np.stack(labels)), -1, np.stack(labels)).max(0)
    return np.where(stacked < 0, np.nan, stacked).astype(np.float32)


def _boxes(data: Path) -> dict[str, list[Labelled]]:
    again = data / "labels" / "relabelled.csv"
    columns = ("file", "label", *_SIDES)
    second = {
        tuple(row[c] for c in columns): (row["new_label"], row["confidence"])
        for row in (_table(again, (*columns, "new_label", "confidence")) if again.exists() else [])
    }
    boxes = defaultdict[str, list[Labelled]](list)
    file = data / "labels" / "boxes.csv"
    for row in _table(file, columns):
        if row["label"] not in _FIRST:
            message = f"{file}: label {row['label']!r} is none of {', '.join(_FIRST)}"
            raise ConfigurationError(message)
        name, labels = statement(row["label"], *second.get(tuple(row[c] for c in columns), (None, None)))
        try:
            x0, y0, x1, y1 = (float(row[side]) for side in _SIDES)
        except ValueError:
            message = f"{file}: a box of {row['file']} is no four numbers"
            raise ConfigurationError(message) from None
        boxes[row["file"]].append(Labelled((x0, y0, x1, y1), labels, name))
    return boxes


def _table(file: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            lacking = [c for c in columns if c not in (reader.fieldnames or ())]
            rows = list(reader)
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
    if lacking:
        message = f"{file} lacks the columns {', '.join(lacking)}"
        raise ConfigurationError(message)
    return rows


def _pixels(file: Path) -> NDArray[np.uint8]:
    try:
        with Picture.open(file) as picture:
            return np.asarray(picture.convert("L"), np.uint8)
    except (OSError, UnidentifiedImageError) as error:
        message = f"{file} cannot be read as an image"
        raise ConfigurationError(message) from error
