"""Boxes and corners that lie on DICOM files, carried over to the pictures that were made of these: names and places.

They are given in pixels as stored; a picture is as a viewer shows it, perhaps mirrored. Coordinates are those of edges:
0 is the left or upper edge of the first pixel, the number of columns or rows the right or lower edge of the last.
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import ConfigurationError
from workers.training.readers import table_of

TABLES, CORNERS = ("boxes.csv", "relabelled.csv"), "landmarks.json"  #: below labels/, by the name of the picture
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FOUR = 4  # corners of a vertebra: top left, top right, bottom left, bottom right

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Turned:
    """A picture that was made of a DICOM file: its name, rows and columns, and what was flipped."""

    name: str
    shape: tuple[int, int]
    flipped_x: bool
    flipped_y: bool

    def points(self, stored: Points) -> Points:
        """(..., 2) as (x, y) in pixels of the file to those of the picture."""
        rows, columns = self.shape
        x, y = stored[..., 0], stored[..., 1]
        return np.stack([columns - x if self.flipped_x else x, rows - y if self.flipped_y else y], -1)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Sides of a box."""
        ends = self.points(np.array([[x0, y0], [x1, y1]], np.float64))
        (left, top), (right, bottom) = ends.min(0).tolist(), ends.max(0).tolist()
        return left, top, right, bottom

    def corners(self, stored: Points) -> Points:
        """(4 n, 2) of vertebrae, again top to bottom, each top left, top right, bottom left, bottom right."""
        moved = self.points(stored).reshape(-1, _FOUR, 2)
        if self.flipped_x:
            moved = moved[:, [1, 0, 3, 2]]
        if self.flipped_y:
            moved = moved[:, [2, 3, 0, 1]]
        heights = moved[..., 1].mean(1)
        return (moved[::-1] if self.flipped_y and heights[0] > heights[-1] else moved).reshape(-1, 2)


def has_places(data: Path) -> bool:
    """Whether a folder holds such labels."""
    return any((data / "labels" / name).is_file() for name in (*TABLES, CORNERS)) or any(data.glob("*.json"))


def carry_over(data: Path, made: Path, turned: Mapping[str, Turned]) -> None:
    """Write labels that fit the pictures into ``made``; those of the user stay as they are.

    Args:
        data: folder that holds labels/boxes.csv, labels/landmarks.json or COCO files; may be ``made``.
        made: folder that is read from then on; what links to such a file there becomes a file of its own.
        turned: by the name of the DICOM file in the manifest.

    Raises:
        ConfigurationError: a file of labels is not what it should be.
    """
    changes = {data / "labels" / name: _table for name in TABLES} | {data / "labels" / CORNERS: _landmarks}
    changes |= dict.fromkeys(sorted(data.glob("*.json")), _coco)
    for file, change in changes.items():
        target = made / file.relative_to(data)
        stale = data != made and target.is_file() and not target.is_symlink() and not target.parent.is_symlink()
        if not file.is_file() or not (turned or stale):  # stale: written when some were DICOM files
            continue
        try:
            text = change(file.read_text(encoding="utf-8-sig"), turned)
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            message = f"{file} does not hold places in pictures as it should ({type(error).__name__}: {error}); mend it"
            raise ConfigurationError(message) from error
        _own_folder(target.parent, made)
        target.unlink(missing_ok=True)
        target.write_text(text, encoding="utf-8")


def _own_folder(folder: Path, made: Path) -> None:
    """A link to a folder of the user becomes a folder of links, in which files can be put beside them."""
    if folder == made or not folder.is_symlink():
        return
    source = folder.resolve()
    folder.unlink()
    folder.mkdir()
    for entry in source.iterdir():
        (folder / entry.name).symlink_to(entry)


def _table(text: str, turned: Mapping[str, Turned]) -> str:
    """Rows of file, ..., xmin, ymin, xmax, ymax, ..."""
    (columns, rows), written = table_of(text), io.StringIO()
    writer = csv.DictWriter(written, columns)
    writer.writeheader()
    for row in rows:
        at = turned.get(row["file"])
        writer.writerow(row | _moved(row, at) if at else row)
    return written.getvalue()


def _moved(row: Mapping[str, str], at: Turned) -> dict[str, str]:
    x0, y0, x1, y1 = (float(row[side]) for side in _SIDES)
    sides = zip(_SIDES, at.box(x0, y0, x1, y1), strict=True)
    return {"file": at.name} | {side: repr(value) for side, value in sides}


def _landmarks(text: str, turned: Mapping[str, Turned]) -> str:
    """An object of file to points."""
    document = {}
    for name, points in json.loads(text).items():
        at = turned.get(name)
        document[at.name if at else name] = at.corners(np.array(points, np.float64)).tolist() if at else points
    return json.dumps(document)


def _coco(text: str, turned: Mapping[str, Turned]) -> str:
    """Images with file_name, annotations with bbox and outlines; pictures are found by the last part of their name."""
    document = json.loads(text)
    if "images" not in document or "annotations" not in document:
        return text  # something else that lies there
    by_name = {Path(name).name: at for name, at in turned.items()}
    moved: dict[Any, Turned] = {}
    for image in document["images"]:
        if at := by_name.get(Path(str(image["file_name"])).name):
            moved[image["id"]] = at
            image["file_name"] = Path(at.name).name
    for entry in document["annotations"]:
        if at := moved.get(entry["image_id"]):
            x, y, width, height = (float(value) for value in entry["bbox"])
            left, top, right, bottom = at.box(x, y, x + width, y + height)
            entry["bbox"] = [left, top, right - left, bottom - top]
            if isinstance(entry.get("segmentation"), list):
                outlines = [np.array(outline, np.float64).reshape(-1, 2) for outline in entry["segmentation"]]
                entry["segmentation"] = [at.points(outline).ravel().tolist() for outline in outlines]
    return json.dumps(document)
