"""Every layout in which labelled images come, brought into the one that trainings read: a folder with manifest.csv.

Known: manifest.csv (used as it is where it is complete); a folder for each class, with or without train and val above
and patients below; images/ beside labels/ with FDI label maps; COCO boxes with FDI categories (DENTEX); corner files of
vertebrae. What is missing is made and written down in ``out/data/NAME``: parts (by group, seeded), groups (equal bytes
are one), pictures of DICOM files. The folder of the user is never written to.
"""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from service.domain.errors import ConfigurationError, Declined
from workers import pixels
from workers.training import coco, corner_files
from workers.training.folds import train_and_val
from workers.training.grey import read_labels
from workers.training.readers import MANIFEST, read_rows

ALL = "all"  #: as a split: every image, whatever part it is in
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
_DICOM = frozenset({".dcm", ".dicom"})
_PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_MAP = "label_file"
_NAMED = ("boxes.csv", "landmarks.json")  # labels by the name of the picture: of the tasks conditions and spine
_LONG = 60  # characters; what a film with thirty teeth lists says nothing that parts could be balanced by

Row = dict[str, str]


def prepare(data: Path, out: Path, seed: int, split: str = "") -> Path:
    """A folder with a complete manifest: ``data`` itself, or ``out/data/NAME``.

    Args:
        data: the user's folder.
        out: where it is made if need be.
        seed: of the parts, where they must be made.
        split: the part that is wanted; "all" puts every image into one part of that name.

    Raises:
        ConfigurationError: there is no such folder, or nothing known in it.
    """
    if not data.is_dir():
        message = f"--data {data}: there is no such folder"
        raise ConfigurationError(message)
    made = out / "data" / data.resolve().name
    if data.resolve() != made.resolve() and out.resolve().is_relative_to(data.resolve()):
        message = f"--out {out} lies in --data {data}; name a folder outside, or it would be taken for data"
        raise ConfigurationError(message)
    if (data / MANIFEST).is_file():
        rows = read_rows(data)
        if split != ALL and _complete(rows):
            return data
        link_beside(data, made)
    else:
        rows = list(_found(data, made))
    if not rows:
        raise ConfigurationError(_unknown(data))
    _refuse_named_labels(rows, made)
    rows = _grouped([_opened(row, made) for row in rows], made)
    return write_manifest(_parted(rows, seed, split), made)


def _complete(rows: Sequence[Row]) -> bool:
    """An empty split is no lack where others are given: such an image takes no part."""
    parted, grouped = any(row.get("split") for row in rows), all(row.get("group") for row in rows)
    return parted and grouped and not any(_is_dicom(Path(row["file"])) for row in rows)


def _found(data: Path, made: Path) -> Iterator[Row]:
    """Rows of a folder without a manifest."""
    if documents := sorted(set(data.glob("*.json")) - {data / corner_files.DOCUMENT}):
        yield from coco.rows(data, documents, made / "labels")
    elif corner_files.present(data):
        yield from corner_files.rows(data, made / "labels")
    elif (data / "images").is_dir() and (data / "labels").is_dir():
        yield from _label_maps(data)
    else:
        yield from _class_folders(data)


def _label_maps(data: Path) -> Iterator[Row]:
    maps = {path.stem: path for path in (data / "labels").glob("*.png")}
    for image in _pictures(data / "images"):
        if image.stem in maps:
            yield {"file": str(image.resolve()), _MAP: str(maps[image.stem].resolve())}


def _class_folders(data: Path) -> Iterator[Row]:
    """``class/file``, ``class/group/file``, or the same below train, val and test."""
    folders = [folder for folder in sorted(data.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    parts = [(_PARTS.get(folder.name.lower(), ""), folder) for folder in folders]
    if folders and all(part for part, _ in parts):
        for part, folder in parts:
            yield from (row | {"split": part} for row in _classes(folder))
    else:
        yield from _classes(data)


def _classes(data: Path) -> Iterator[Row]:
    for folder in sorted(data.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        files = list(_pictures(folder))
        if not files:
            message = f"class folder {folder} holds no picture; remove the folder or put pictures into it"
            raise ConfigurationError(message)
        for file in files:
            below = file.relative_to(folder).parent
            group = f"{below}" if below != Path() else ""
            yield {"file": str(file.resolve()), "labels": folder.name, "group": group}


def _pictures(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and (file.suffix.lower() in PICTURES or _is_dicom(file)):
            yield file


def _is_dicom(file: Path) -> bool:
    return file.suffix.lower() in _DICOM


def link_beside(data: Path, made: Path) -> None:
    """Links in ``made`` to all in ``data`` but its manifest, so that relative paths of rows lead there too."""
    made.mkdir(parents=True, exist_ok=True)
    for entry in data.iterdir():
        link = made / entry.name
        if entry.name != MANIFEST and not link.exists():
            link.unlink(missing_ok=True)  # a link that leads nowhere
            link.symlink_to(entry.resolve())


def _refuse_named_labels(rows: Sequence[Row], made: Path) -> None:
    """Boxes and corners are found by the name of the picture, which a DICOM file loses, and lie as its pixels lie."""
    named = {row["file"] for row in rows if _is_dicom(Path(row["file"]))}
    for file in (made / "labels" / name for name in _NAMED if named and (made / "labels" / name).is_file()):
        text = file.read_text(encoding="utf-8", errors="replace")
        if lost := next((name for name in sorted(named) if name in text), ""):
            message = (
                f"{file} holds places in {lost}, which would become a picture of another name, perhaps turned; save "
                "the DICOM files as PNG and name these in the manifest and there"
            )
            raise ConfigurationError(message)


def _opened(row: Row, made: Path) -> Row:
    """A DICOM file becomes a picture as a viewer shows it, 8 bit, its label map turned with it; others stay."""
    file = made / row["file"]
    if not _is_dicom(file):
        return row
    name = hashlib.sha256(str(file).encode()).hexdigest()[:16]
    target = made / "as-shown" / f"{file.stem}-{name}.png"
    found = row | {"file": str(target.resolve())}
    if target.is_file() and not row.get(_MAP):
        return found
    try:
        with file.open("rb") as stream:
            image = pixels.load(stream)
    except (OSError, Declined) as error:
        message = f"{file} cannot be read: {error}; remove it or put a sound file in its place"
        raise ConfigurationError(message) from error
    shown = image.pixels if image.colour is None else image.colour
    _save(np.round(shown * 255).astype(np.uint8), target)
    if row.get(_MAP) and (image.flipped_x or image.flipped_y):
        labels = target.with_name(f"{target.stem}-labels.png")
        _save(read_labels(made / row[_MAP])[:: -1 if image.flipped_y else 1, :: -1 if image.flipped_x else 1], labels)
        found |= {_MAP: str(labels.resolve())}
    return found


def _save(values: NDArray[np.uint8], file: Path) -> None:
    """Complete or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    Picture.fromarray(np.ascontiguousarray(values)).save(part, "PNG")
    part.replace(file)


def _grouped(rows: Sequence[Row], made: Path) -> list[Row]:
    """Every image has a group; without one, images of the same bytes are one group and share their labels."""
    if all(row.get("group") for row in rows):
        return list(rows)
    digests = [_digest(made / row["file"]) for row in rows]
    given = {digest: row["group"] for row, digest in zip(rows, digests, strict=True) if row.get("group")}
    merged: dict[str, Row] = {}
    for row, digest in zip(rows, digests, strict=True):
        if row.get("group"):
            merged[row["file"]] = row
        elif digest in merged and "labels" in row and merged[digest].get("split") == row.get("split"):
            labels = {*merged[digest]["labels"].split("|"), *row["labels"].split("|")} - {""}
            merged[digest] |= {"labels": "|".join(sorted(labels))}
        else:
            key = digest if digest not in merged else f"{digest}-{row['file']}"
            merged[key] = row | {"group": given.get(digest, f"sha256-{digest[:16]}")}
    return list(merged.values())


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        message = f"{file} cannot be read ({error.strerror}); mend the manifest or put the file back"
        raise ConfigurationError(message) from error


def _parted(rows: list[Row], seed: int, split: str) -> list[Row]:
    if split == ALL:
        return [row | {"split": ALL} for row in rows]
    if all("split" in row for row in rows) and any(row["split"] for row in rows):
        return rows
    labels = [row.get("labels", "") if len(row.get("labels", "")) < _LONG else "" for row in rows]
    parts = train_and_val([row["group"] for row in rows], labels, np.random.default_rng(seed))
    return [row | {"split": part} for row, part in zip(rows, parts, strict=True)]


def write_manifest(rows: Sequence[Row], made: Path) -> Path:
    """Write ``made/manifest.csv``; gives the folder."""
    made.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(["file", "split", "group", *(key for row in rows for key in row)]))
    with (made / MANIFEST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return made


def _unknown(data: Path) -> str:
    known = "a folder for each class, images/ and labels/ with FDI maps, COCO boxes (*.json), corner files"
    return f"--data {data} holds no labelled images; it may hold {MANIFEST}, {known}"
