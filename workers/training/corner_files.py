"""Corners of vertebrae in the layouts in which they are handed out, to rows of a manifest and ``landmarks.json``.

AASCE 2019 (Wang 2021): filenames.csv, and landmarks.csv with 136 numbers a row, first all x, then all y, as fractions
of the picture. SpineWeb 16 (Wu 2017): a MATLAB file ``NAME.mat`` beside or below, with ``p2`` of 68 points in pixels.
Our own: ``landmarks.json``, an object of file to 68 points in pixels; a file is named from the folder of the data, from
that of landmarks.json, or by its name alone.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from service.domain.errors import ConfigurationError
from workers.models.picture_files import PICTURES, is_dicom, stored_shape

_POINTS = 68
_ENDS = ("", ".jpg", ".png", ".dcm")  # that a name may lack
DOCUMENT = "landmarks.json"  #: our own layout
_NAMES, _LANDMARKS = "filenames.csv", "landmarks.csv"


def present(data: Path) -> bool:
    """Whether such files lie in the folder, at any depth."""
    return any(True for pattern in (_LANDMARKS, DOCUMENT, "*.mat") for _ in data.rglob(pattern))


def rows(data: Path, labels: Path) -> Iterator[dict[str, str]]:
    """Rows of a manifest; writes ``labels/landmarks.json`` when the last was taken.

    Raises:
        ConfigurationError: a file does not hold what it should, or a picture is missing.
    """
    corners: dict[str, list[list[float]]] = {}
    for file, points in _read(data):
        corners[str(file.resolve())] = points.round(2).tolist()
        yield {"file": str(file.resolve())}
    labels.mkdir(parents=True, exist_ok=True)
    (labels / DOCUMENT).write_text(json.dumps(corners), encoding="utf-8")


def _read(data: Path) -> Iterator[tuple[Path, NDArray[np.float64]]]:
    files = [path for path in sorted(data.rglob("*")) if path.is_file()]
    pictures = {path.name: path for path in files if path.suffix.lower() in PICTURES or is_dicom(path)}
    for table in sorted(data.rglob(_LANDMARKS)):
        yield from _table(table, pictures)
    for document in sorted(data.rglob(DOCUMENT)):
        yield from _listed(document, data, pictures)
    for file in sorted(data.rglob("*.mat")):
        points = _matlab(file)
        yield _picture(file.name.removesuffix(".mat"), pictures, file), points


def _table(table: Path, pictures: dict[str, Path]) -> Iterator[tuple[Path, NDArray[np.float64]]]:
    try:
        names = [
            row[0] for row in csv.reader((table.parent / _NAMES).read_text(encoding="utf-8-sig").splitlines()) if row
        ]
        numbers = np.loadtxt(table, delimiter=",", ndmin=2)
    except (OSError, ValueError, csv.Error) as error:
        message = f"{table}: it and {_NAMES} beside it must hold a row for each picture ({error})"
        raise ConfigurationError(message) from error
    if numbers.shape != (len(names), 2 * _POINTS):
        message = (
            f"{table} has {numbers.shape[0]} rows of {numbers.shape[1]} for {len(names)} names; {2 * _POINTS} wanted"
        )
        raise ConfigurationError(message)
    for name, row in zip(names, numbers, strict=True):
        file = _picture(name, pictures, table)
        height, width = stored_shape(file)
        yield file, row.reshape(2, _POINTS).T * (width, height)


def _listed(document: Path, data: Path, pictures: dict[str, Path]) -> Iterator[tuple[Path, NDArray[np.float64]]]:
    try:
        listed = json.loads(document.read_text(encoding="utf-8-sig"))
        corners = {str(name): np.array(points, np.float64) for name, points in listed.items()}
    except (OSError, AttributeError, TypeError, ValueError) as error:
        message = f"{document} must be a JSON object of file to {_POINTS} points (x, y) ({error})"
        raise ConfigurationError(message) from error
    for name, points in corners.items():
        if points.shape != (_POINTS, 2) or not np.isfinite(points).all():
            message = f"{document}: {name} has points of shape {points.shape}, not ({_POINTS}, 2) finite numbers"
            raise ConfigurationError(message)
        near = [folder / name for folder in (data, document.parent) if (folder / name).is_file()]
        yield near[0] if near else _picture(name, pictures, document), points


def _matlab(file: Path) -> NDArray[np.float64]:
    try:
        points = np.asarray(loadmat(file)["p2"], np.float64)
    except Exception as error:  # damaged files raise MatReadError, zlib.error, TypeError and others
        message = f"{file} holds no p2 ({type(error).__name__}); save it as MATLAB 5 or 7, {_POINTS} points (x, y)"
        raise ConfigurationError(message) from error
    if points.shape != (_POINTS, 2):
        message = f"{file}: p2 has shape {points.shape}, not ({_POINTS}, 2)"
        raise ConfigurationError(message)
    return points


def _picture(name: str, pictures: dict[str, Path], source: Path) -> Path:
    found = next((pictures[each] for end in _ENDS if (each := f"{Path(name).name}{end}") in pictures), None)
    if found is None:
        message = f"{source} names {name}, which is nowhere in the folder; put the picture there"
        raise ConfigurationError(message)
    return found
