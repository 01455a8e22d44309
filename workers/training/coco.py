"""COCO annotations of teeth to FDI label maps: DENTEX (quadrant and tooth as two categories) or FDI numbers as names.

DENTEX (Hamamci 2023) gives ``category_id_1`` (quadrant) and ``category_id_2`` (tooth), each an index into
``categories_1`` and ``categories_2`` whose names count from 1. Its file of diseases (``category_id_3``) is refused: it
outlines ill teeth only, and all others would be taught as background. Deciduous numbers (51 to 85) are background, see
``teeth.panoramics``. Outlines are drawn as they are; a box without one becomes the ellipse inside it, whose tight box
is that box.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from service.domain.errors import ConfigurationError
from workers.models.arch import FDI
from workers.models.picture_files import stored_shape

_FEWEST = 6  # numbers of a polygon: three points
_PARTS = ("train", "val", "test")
_FULL = 16  # teeth in most pictures; where diseases are named and fewer teeth outlined, the sound ones were left out
_COUNTED = frozenset(range(1, 9))  # names of categories that count 1 to 32


@dataclass(frozen=True, slots=True)
class Tooth:
    """One annotated tooth: FDI number, box x, y, width, height in pixels, outline polygons (may be none)."""

    fdi: int
    box: tuple[float, float, float, float]
    outlines: tuple[tuple[float, ...], ...]


def rows(data: Path, documents: Sequence[Path], labels: Path) -> Iterator[dict[str, str]]:
    """Rows of a manifest; draws the label maps into ``labels``.

    Args:
        data: folder in which the pictures lie, at any depth.
        documents: COCO files. A part in a file's name (train, val, test) is the part of its images, where there are
            several files.
        labels: folder for the maps; made if need be.

    Raises:
        ConfigurationError: a file is not COCO, has no FDI categories, outlines ill teeth only, or names a picture that
            is not there.
    """
    near = _near(data)
    for document in documents:
        found, sizes = read_coco(document), _sizes(document)
        for name, teeth in found:
            file = _picture(name, near, document)
            _check_size(file, sizes.get(name), document)
            target = labels / f"{document.stem}-{file.stem}.png"
            draw(file, teeth, target)
            row = {"file": str(file.resolve()), "label_file": str(target.resolve())}
            yield row | _part(document, documents)


def pictures(data: Path, documents: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Rows of a manifest of all pictures that the documents name, annotated or not; see ``rows``."""
    near = _near(data)
    for document in documents:
        try:
            sizes = _sizes(document)
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{document} is not COCO ({type(error).__name__}: {error}); take it out of the folder or mend it"
            raise ConfigurationError(message) from error
        for name, size in sizes.items():
            file = _picture(name, near, document)
            _check_size(file, size, document)
            yield {"file": str(file.relative_to(data))} | _part(document, documents)


def _sizes(document: Path) -> dict[str, object]:
    """Rows and columns of each picture as the document says, by its name."""
    images = json.loads(document.read_text(encoding="utf-8-sig"))["images"]
    return {str(image["file_name"]): (image.get("height"), image.get("width")) for image in images}


def _check_size(file: Path, told: object, document: Path) -> None:
    """Raises ConfigurationError for a picture that was resized or turned after it was annotated."""
    shape = stored_shape(file)
    if told not in {None, (None, None), (0, 0), shape}:
        rows, columns = shape
        message = (
            f"{document} was made for {file.name} of (rows, columns) {told}, the picture has {rows}, {columns}: its "
            "places would be wrong; take the picture as it was annotated"
        )
        raise ConfigurationError(message)


def _part(document: Path, documents: Sequence[Path]) -> dict[str, str]:
    part = next((name for name in _PARTS if name in document.stem.lower()), "")
    return {"split": part} if part and len(documents) > 1 else {}


def _near(data: Path) -> dict[str, list[Path]]:
    """All files below a folder by their names."""
    near: dict[str, list[Path]] = {}
    for path in sorted(data.rglob("*")):
        if path.is_file():
            near.setdefault(path.name, []).append(path)
    return near


def _picture(name: str, near: Mapping[str, Sequence[Path]], document: Path) -> Path:
    """Where the document says, or the one of this name in any folder."""
    name = name.replace("\\", "/")
    told = document.parent / name
    files = [told] if told.is_file() else near.get(Path(name).name, ())
    if not files:
        message = f"{document} names {name}, which is nowhere below {document.parent}; put the picture there"
        raise ConfigurationError(message)
    if len(files) > 1:
        message = f"{document} names {name}, which is {files[0]} or {files[1]}; give file_name with its folder"
        raise ConfigurationError(message)
    return files[0]


def read_coco(document: Path) -> list[tuple[str, list[Tooth]]]:
    """Name and teeth of each picture that has at least one annotated tooth; see ``rows`` for what it raises."""
    try:
        content = json.loads(document.read_text(encoding="utf-8-sig"))
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        number = _numbers(content)
        teeth: dict[Any, list[Tooth]] = {}
        for entry in content["annotations"]:
            fdi = number(entry)
            if fdi in FDI:
                teeth.setdefault(entry["image_id"], []).append(_tooth(fdi, entry))
        found = [(names[image], teeth[image]) for image in names if image in teeth]
    except OSError as error:
        message = f"{document} cannot be read ({error.strerror})"
        raise ConfigurationError(message) from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        message = (
            f"{document} is not COCO with FDI categories ({type(error).__name__}: {error}); take it out of the folder "
            "or put a file of numbered teeth in its place"
        )
        raise ConfigurationError(message) from error
    if not found:
        message = (
            f"{document} has no annotation with an FDI number: DENTEX's category_id_1 and category_id_2, or categories "
            "whose names are 11 to 48"
        )
        raise ConfigurationError(message)
    _check_complete(document, content, found)
    return found


def _check_complete(document: Path, content: dict[str, Any], found: Sequence[tuple[str, list[Tooth]]]) -> None:
    """Raises ConfigurationError for a file of diseases, in which sound teeth have no outline."""
    diseases = any("category_id_3" in entry for entry in content["annotations"])
    usual = median(len(teeth) for _, teeth in found)
    if diseases and usual < _FULL:
        message = (
            f"{document} names diseases and outlines {usual:g} teeth in most pictures: only the ill ones, so sound "
            "teeth would be taught as background; take it out of the folder and use the file in which all teeth are "
            "numbered (DENTEX: quadrant and enumeration); diseases are read by the task conditions"
        )
        raise ConfigurationError(message)


def _numbers(content: dict[str, Any]) -> Any:  # noqa: ANN401 - a function from an annotation to its number
    if "categories_1" in content and "categories_2" in content:
        quadrant = {c["id"]: int(c["name"]) for c in content["categories_1"]}
        tooth = {c["id"]: int(c["name"]) for c in content["categories_2"]}
        return lambda entry: 10 * quadrant[entry["category_id_1"]] + tooth[entry["category_id_2"]]
    digits = {c["id"]: "".join(filter(str.isdigit, str(c["name"]))) for c in content["categories"]}
    plain = {key: int(text) for key, text in digits.items() if text}
    if set(plain.values()) >= _COUNTED:
        message = "its categories count 1 to 32; name them by FDI number, 11 to 48"
        raise ValueError(message)
    return lambda entry: plain.get(entry["category_id"], 0)


def _tooth(fdi: int, entry: dict[str, Any]) -> Tooth:
    x, y, width, height = (float(value) for value in entry["bbox"])
    shapes = entry.get("segmentation")
    outlines = [tuple(float(v) for v in shape) for shape in shapes] if isinstance(shapes, list) else []
    drawn = tuple(shape for shape in outlines if len(shape) >= _FEWEST)
    if not drawn and not (width > 0 and height > 0):
        message = f"tooth {fdi} of image {entry['image_id']} has neither an outline nor a box with a size"
        raise ValueError(message)
    return Tooth(fdi, (x, y, width, height), drawn)


def draw(file: Path, teeth: Sequence[Tooth], target: Path) -> None:
    """The FDI label map of a picture as PNG, of the same size."""
    canvas = Picture.fromarray(np.zeros(stored_shape(file), np.uint8))
    pen = ImageDraw.Draw(canvas)
    for tooth in teeth:
        for outline in tooth.outlines:
            pen.polygon(list(outline), fill=tooth.fdi)
        if not tooth.outlines:
            x, y, width, height = tooth.box
            pen.ellipse([x, y, x + width - 1, y + height - 1], fill=tooth.fdi)
    target.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(target, optimize=True)
