"""Every layout in which labelled images come, brought into the one that trainings read: a folder with manifest.csv.

Known: manifest.csv (used as it is where it is complete); a folder for each class, with or without train and val above
and patients below; images/ beside labels/ with FDI label maps; COCO boxes with FDI categories (DENTEX); corner files of
vertebrae, boxes of conditions. What is missing is made and written down in ``out/data/NAME``: parts (by group, seeded),
groups (equal bytes are one), pictures of DICOM files, with labels that lie as these lie. The folder of the user is
never written to.
"""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.models.picture_files import PICTURES, is_dicom, read_dicom
from workers.training import coco, corner_files
from workers.training.folds import train_and_val
from workers.training.grey import read_labels
from workers.training.progress import Progress
from workers.training.readers import MANIFEST, read_rows
from workers.training.turned_labels import Turned, carry_over, has_places

ALL = "all"  #: as a split: every image, whatever part it is in
_PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_MAP = "label_file"
_MAPS = frozenset({".png", ".tif", ".tiff", ".bmp"})  # that keep numbers as they are
_BOXES = Path("labels") / "boxes.csv"
_LEFT_BEHIND = frozenset({"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"})
_LONG = 60  # characters; what a film with thirty teeth lists says nothing that parts could be balanced by

Row = dict[str, str]


def prepare(data: Path, out: Path, seed: int, split: str = "", *, boxed: bool = False) -> Path:
    """A folder with a complete manifest: ``data`` itself, or ``out/data/NAME``.

    Args:
        data: the user's folder.
        out: where it is made if need be.
        seed: of the parts, where they must be made.
        split: the part that is wanted; "all" puts every image into one part of that name.
        boxed: the task reads boxes itself (labels/boxes.csv or COCO), so pictures are all that a manifest must name.

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
        if split != ALL and _complete(rows, data):
            return data
        link_beside(data, made)
    else:
        rows = list(_found(data, made, boxed=boxed))
    if not rows:
        raise ConfigurationError(_unknown(data))
    own = not (data / MANIFEST).is_file() and not boxed  # labels that ``_found`` wrote, or none
    source = made if own else data
    again = has_places(source)
    opened = [_opened(row, made, again=again) for row in Progress().through(rows, "reading DICOM files")]
    carry_over(source, made, {old["file"]: at for old, (_, at) in zip(rows, opened, strict=True) if at})
    rows = _grouped([row for row, _ in opened], made)
    return write_manifest(_parted(rows, seed, split), made)


def _complete(rows: Sequence[Row], data: Path) -> bool:
    """An empty split is no lack where others are given: such an image takes no part."""
    parted, grouped = any(row.get("split") for row in rows), all(row.get("group") for row in rows)
    return parted and grouped and not any(is_dicom(data / row["file"]) for row in rows)


def _found(data: Path, made: Path, *, boxed: bool) -> Iterator[Row]:
    """Rows of a folder without a manifest."""
    if boxed:
        link_beside(data, made)
        yield from _boxed(data)
    elif documents := sorted(set(data.glob("*.json")) - {data / corner_files.DOCUMENT}):
        yield from coco.rows(data, documents, made / "labels")
    elif corner_files.present(data):
        yield from corner_files.rows(data, made / "labels")
    elif (data / "images").is_dir() and (data / "labels").is_dir():
        yield from _label_maps(data)
    else:
        yield from _class_folders(data)


def _boxed(data: Path) -> Iterator[Row]:
    """The pictures that COCO files name, with the parts that these are called after, or all beside boxes.csv."""
    if (data / _BOXES).is_file():
        yield from ({"file": str(file.relative_to(data))} for file in _pictures(data))
    else:
        yield from coco.pictures(data, sorted(data.glob("*.json")))


def _label_maps(data: Path) -> Iterator[Row]:
    maps = {path.stem: path for path in _pictures(data / "labels") if path.suffix.lower() in _MAPS}
    pictures, missing = list(_pictures(data / "images")), list[str]()
    for image in pictures:
        found = maps.get(image.name) or maps.get(image.stem)  # a UID has no ending, though it has dots
        if found:
            yield {"file": str(image.resolve()), _MAP: str(found.resolve())}
        else:
            missing.append(image.name)
    if pictures and len(missing) == len(pictures):
        message = (
            f"no label map of {len(maps)} in {data / 'labels'} belongs to a picture of {len(pictures)} in "
            f"{data / 'images'}; call the map of {missing[0]} {Path(missing[0]).stem}.png"
        )
        raise ConfigurationError(message)
    if missing:
        Progress().end(
            f"{len(missing)} of {len(pictures)} pictures are left out: no label map is called like {missing[0]}"
        )


def _class_folders(data: Path) -> Iterator[Row]:
    """``class/file``, ``class/group/file``, or the same below train, val and test."""
    folders = _folders(data)
    parts = [(_PARTS.get(folder.name.lower(), ""), folder) for folder in folders]
    if folders and all(part for part, _ in parts):
        for part, folder in parts:
            yield from (row | {"split": part} for row in _classes(folder))
    else:
        yield from _classes(data)


def _classes(data: Path) -> Iterator[Row]:
    for folder in _folders(data):
        files = list(_pictures(folder))
        if not files:
            message = f"class folder {folder} holds no picture; remove the folder or put pictures into it"
            if any(folder.glob("*.json")):
                message = f"{folder} holds JSON files and no picture; COCO files belong into --data itself, or name it"
            raise ConfigurationError(message)
        for file in files:
            below = file.relative_to(folder).parent
            group = f"{below}" if below != Path() else ""
            yield {"file": str(file.resolve()), "labels": folder.name, "group": group}


def _folders(data: Path) -> list[Path]:
    return [folder for folder in sorted(data.iterdir()) if folder.is_dir() and not _of_the_system(folder.name)]


def _pictures(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if any(_of_the_system(part) for part in file.relative_to(folder).parts) or not file.is_file():
            continue
        if file.suffix.lower() in PICTURES or is_dicom(file):
            yield file


def _of_the_system(name: str) -> bool:
    """What macOS, archives made on it, and network drives put beside pictures, under their names: ._a.jpg, @eaDir."""
    return name.startswith(".") or name in _LEFT_BEHIND


def link_beside(data: Path, made: Path) -> None:
    """Links in ``made`` to all in ``data`` but its manifest, so that relative paths of rows lead there too."""
    made.mkdir(parents=True, exist_ok=True)
    for entry in data.iterdir():
        link = made / entry.name
        if entry.name != MANIFEST and not link.exists():
            link.unlink(missing_ok=True)  # a link that leads nowhere
            link.symlink_to(entry.resolve())


def _opened(row: Row, made: Path, *, again: bool) -> tuple[Row, Turned | None]:
    """A DICOM file becomes a picture as a viewer shows it, 8 bit, its label map turned with it; others stay.

    ``again``: also where the picture is there, because something must be told how it lies.
    """
    file = made / row["file"]
    if not is_dicom(file):
        return row, None
    name = hashlib.sha256(str(file).encode()).hexdigest()[:16]
    target = made / "as-shown" / f"{file.stem}-{name}.png"
    found = row | {"file": str(target.resolve())}
    if target.is_file() and not again and not row.get(_MAP):
        return found, None
    image = read_dicom(file)
    shown = image.pixels if image.colour is None else image.colour
    _save(np.round(shown * 255).astype(np.uint8), target)
    if row.get(_MAP) and (image.flipped_x or image.flipped_y):
        labels = target.with_name(f"{target.stem}-labels.png")
        _save(read_labels(made / row[_MAP])[:: -1 if image.flipped_y else 1, :: -1 if image.flipped_x else 1], labels)
        found |= {_MAP: str(labels.resolve())}
    rows, columns = image.pixels.shape
    return found, Turned(found["file"], (rows, columns), image.flipped_x, image.flipped_y)


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
    known = "a folder for each class, images/ and labels/ with FDI maps, COCO boxes (*.json), boxes.csv, corner files"
    return f"--data {data} holds no labelled images; it may hold {MANIFEST}, {known}"
