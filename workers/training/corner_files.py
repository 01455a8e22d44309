"""Corners of vertebrae in the layouts in which they are handed out, to rows of a manifest and ``landmarks.json``.

AASCE 2019 (Wang 2021): filenames.csv, and landmarks.csv with 136 numbers a row, first all x, then all y, as fractions
of the picture. SpineWeb 16 (Wu 2017): a MATLAB file ``NAME.mat`` beside or below, with ``p2`` of 68 points in pixels.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy.io import loadmat

from service.domain.errors import ConfigurationError

_POINTS = 68
_NAMES, _LANDMARKS = "filenames.csv", "landmarks.csv"


def present(data: Path) -> bool:
    """Whether such files lie in the folder, at any depth."""
    return any(True for pattern in (_LANDMARKS, "*.mat") for _ in data.rglob(pattern))


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
    (labels / "landmarks.json").write_text(json.dumps(corners), encoding="utf-8")


def _read(data: Path) -> Iterator[tuple[Path, NDArray[np.float64]]]:
    pictures = {path.name: path for path in sorted(data.rglob("*")) if path.suffix.lower() in {".jpg", ".jpeg", ".png"}}
    for table in sorted(data.rglob(_LANDMARKS)):
        yield from _table(table, pictures)
    for file in sorted(data.rglob("*.mat")):
        points = _matlab(file)
        yield _picture(file.name.removesuffix(".mat"), pictures, file), points


def _table(table: Path, pictures: dict[str, Path]) -> Iterator[tuple[Path, NDArray[np.float64]]]:
    try:
        names = [row[0] for row in csv.reader((table.parent / _NAMES).read_text(encoding="utf-8").splitlines()) if row]
        numbers = np.loadtxt(table, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        message = f"{table}: it and {_NAMES} beside it must hold a row for each picture ({error})"
        raise ConfigurationError(message) from error
    if numbers.shape != (len(names), 2 * _POINTS):
        message = (
            f"{table} has {numbers.shape[0]} rows of {numbers.shape[1]} for {len(names)} names; {2 * _POINTS} wanted"
        )
        raise ConfigurationError(message)
    for name, row in zip(names, numbers, strict=True):
        file = _picture(name, pictures, table)
        with Picture.open(file) as picture:
            width, height = picture.size
        yield file, row.reshape(2, _POINTS).T * (width, height)


def _matlab(file: Path) -> NDArray[np.float64]:
    try:
        points = np.asarray(loadmat(file)["p2"], np.float64)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        message = f"{file} holds no p2 ({type(error).__name__}); save it as MATLAB 5 or 7, {_POINTS} points (x, y)"
        raise ConfigurationError(message) from error
    if points.shape != (_POINTS, 2):
        message = f"{file}: p2 has shape {points.shape}, not ({_POINTS}, 2)"
        raise ConfigurationError(message)
    return points


def _picture(name: str, pictures: dict[str, Path], source: Path) -> Path:
    found = pictures.get(Path(name).name) or pictures.get(f"{name}.jpg") or pictures.get(f"{name}.png")
    if found is None:
        message = f"{source} names {name}, which is nowhere in the folder; put the picture there"
        raise ConfigurationError(message)
    return found
