"""Spine films with the four corners of each vertebra: a folder with manifest.csv, labels/landmarks.json and images.

``manifest.csv`` has a row per image: file (relative), split, group; where it also has ``labels``, ``cobb_major`` and
``cobb_second``, they are what a measurement is compared with. ``landmarks.json`` maps file to 68 points (x, y) in
pixels, 17 vertebrae from T1 to L5, each top left, top right, bottom left, bottom right.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import ConfigurationError
from workers.models.picture_files import stored_shape
from workers.training import readers
from workers.training.grey import read_grey

VERTEBRAE = 17
Corners = NDArray[np.float32]  # (vertebrae, 4, 2) as (x, y)
_COLUMNS = ("file", "split", "group")
_POINTS = (4 * VERTEBRAE, 2)
_BEYOND = 0.1  # of a side: how far a corner may lie outside a film that cuts a vertebra off
_ANGLES, _MOST = ("cobb_major", "cobb_second"), 180


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One labelled film on disk.

    Attributes:
        image: the file.
        corners: in pixels of the image.
        group: what must stay on one side of a split.
        labels: curve type as the manifest says, empty = it says nothing.
        cobb: major and second angle as the manifest says, degrees; None = it says nothing.
    """

    image: Path
    corners: Corners
    group: str
    labels: str = ""
    cobb: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One film in memory: pixels uint8 (rows, columns) and the corners in its pixels."""

    pixels: NDArray[np.uint8]
    corners: Corners


def read_rows(data: Path, split: str, needed: tuple[str, ...] = _COLUMNS) -> list[dict[str, str]]:
    """The rows of one split. Raises ConfigurationError when the folder is not such a data set."""
    chosen = [row for row in readers.read_rows(data, needed) if row["split"] == split]
    if not chosen:
        message = f"{data / readers.MANIFEST} has no row whose split is {split!r}"
        raise ConfigurationError(message)
    return chosen


def read_manifest(data: Path, split: str) -> list[Record]:
    """The records of one split. Raises ConfigurationError naming what is missing or wrong."""
    rows = read_rows(data, split)
    landmarks = _landmarks(data / "labels" / "landmarks.json")
    return [_record(data, row, landmarks) for row in rows]


def _landmarks(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        message = f"{file} cannot be read ({error.strerror}); it must hold the corners of the vertebrae"
        raise ConfigurationError(message) from error
    except ValueError as error:
        message = f"{file} is not JSON ({error})"
        raise ConfigurationError(message) from error
    if not isinstance(document, dict):
        message = f"{file} must be a JSON object of file to 68 points"
        raise ConfigurationError(message)
    return document


def _record(data: Path, row: dict[str, str], landmarks: dict[str, Any]) -> Record:
    name = row["file"]
    try:
        points = np.array(landmarks[name], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        message = f"labels/landmarks.json has no points for {name}; add them or drop its row from manifest.csv"
        raise ConfigurationError(message) from error
    if points.shape != _POINTS or not np.isfinite(points).all():
        message = f"labels/landmarks.json: {name} needs {_POINTS[0]} points (x, y), it has the shape {points.shape}"
        raise ConfigurationError(message)
    if not (data / name).is_file():
        message = f"{data / name} is named in manifest.csv but is not there"
        raise ConfigurationError(message)
    _check_places(name, points, stored_shape(data / name))
    return Record(data / name, points.reshape(VERTEBRAE, 4, 2), row["group"], row.get("labels", ""), _cobb(row))


def _check_places(name: str, points: NDArray[np.float32], shape: tuple[int, int]) -> None:
    """Raises ConfigurationError for points that are no vertebrae in pixels of this film, from the top down."""
    size = np.array(shape[::-1])
    least, most, half = points.min(0), points.max(0), len(points) // 2
    trouble = ""
    if most.max() <= 1 < size.min():
        trouble = "are fractions; give them in pixels"
    elif (least < -_BEYOND * size).any() or (most > (1 + _BEYOND) * size).any():
        trouble = f"lie outside the film of {size[0]} x {size[1]} pixels; give them in pixels of this picture"
    elif (most - least)[0] > (most - least)[1]:
        trouble = "lie side by side, not above each other; give x, then y, of an upright film"
    elif points[:half, 1].mean() > points[half:, 1].mean():
        trouble = "go from the bottom up; give the topmost vertebra first"
    if trouble:
        message = f"labels/landmarks.json: the points of {name} {trouble}"
        raise ConfigurationError(message)


def _cobb(row: dict[str, str]) -> tuple[float, float] | None:
    """The angles that a row names; an empty second one is 0, an empty major one says that no angle is known."""
    if not (row.get("cobb_major") or "").strip():
        return None
    angles = []
    for column in _ANGLES:
        try:
            angles.append(float(row.get(column) or 0))
        except ValueError as error:
            message = f"manifest.csv: {column} of {row['file']} is {row[column]!r}; write degrees or leave it empty"
            raise ConfigurationError(message) from error
        if not 0 <= angles[-1] <= _MOST:
            message = (
                f"manifest.csv: {column} of {row['file']} is {row[column]!r}; a Cobb angle is 0 to {_MOST} degrees"
            )
            raise ConfigurationError(message)
    return angles[0], angles[1]


def load_films(records: Iterable[Record]) -> list[Film]:
    """All records in memory, a quarter of a megabyte each."""
    return [Film(read_grey(record.image), record.corners) for record in records]
