"""Panoramics with a box around each tooth that has a condition, from manifest.csv and labels/boxes.csv or COCO.

Labels may be final (crown) or mixed, as collections have them (filling or crown, root canal or implant); of mixed ones
labels/relabelled.csv, a second look at a part of the boxes, may tell which it is. A box states one condition, the tooth
may have more: what a label leaves open is NaN, and neither trains nor counts.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import ConfigurationError
from workers.models.conditions import CONDITIONS, HEADS
from workers.training.conditions import coco_boxes
from workers.training.grey import read_grey
from workers.training.readers import MANIFEST, read_rows, table_of

Box = tuple[float, float, float, float]
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_SURE = "high"
_OPEN = float("nan")

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
    "caries": {"pontic": 0, "implant": 0},  # of which size is open, so nothing is said of a destroyed crown
    "periapical_lesion": {"pontic": 0},
}
#: What the annotators would have called otherwise: a tooth boxed for one thing is not boxed for these.
_BESIDES: dict[str, tuple[str, ...]] = {
    "filling_or_crown": ("root-canal-treated", "implant", "impacted", "destroyed-crown"),
    "rct_or_implant": ("impacted", "destroyed-crown"),
    "impacted": ("destroyed-crown",),
}
_MIXED = {"filling": "filling_or_crown", "crown": "filling_or_crown", "pontic": "filling_or_crown",
          "rct": "rct_or_implant", "implant": "rct_or_implant"}  # fmt: skip
_SYNONYMS = {
    "root_canal_treated": "rct", "root_canal_treatment": "rct", "root_canal_filling": "rct", "root_canal": "rct",
    "endodontic_treatment": "rct", "dental_implant": "implant", "impacted_tooth": "impacted",
    "destroyed_crown": "caries_destroyed", "destroyed": "caries_destroyed", "root_stump": "caries_destroyed",
    "residual_root": "caries_destroyed", "retained_root": "caries_destroyed", "caries_in_crown": "caries_destroyed",
    "deep_caries": "caries", "apical_lesion": "periapical_lesion",
}  # fmt: skip


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

    Boxes come from labels/boxes.csv, or, without it, from COCO files beside the manifest.

    Raises:
        ConfigurationError: a file is missing or not what it should be, or a group lies in two splits; says which.
    """
    rows = read_rows(data, ("file", "split", "group"))
    splits = defaultdict[str, set[str]](set)
    for row in rows:
        splits[row["group"]].add(row["split"])
    torn = sorted(group for group, found in splits.items() if group and len(found) > 1)
    if torn:
        message = f"{data / MANIFEST}: group {torn[0]} lies in {' and '.join(sorted(splits[torn[0]]))}"
        raise ConfigurationError(message)
    boxes = _boxes(data, rows)
    films = [
        Film(read_grey(data / row["file"]), tuple(boxes.get(row["file"], ())), row["group"] or row["file"], row["file"])
        for row in rows
        if row["split"] == split
    ]
    if not films:
        message = f"{data / MANIFEST} has no images in split {split!r}"
        raise ConfigurationError(message)
    return films


def examples(films: Sequence[Film]) -> tuple[str, ...]:
    """The heads that at least one box says yes to."""
    labels = np.stack([box.labels for film in films for box in film.boxes] or [np.zeros(len(HEADS), np.float32)])
    return tuple(head for head, some in zip(HEADS, (labels == 1).any(0), strict=True) if some)


def answered(train: Sequence[Film], held: Sequence[Film]) -> tuple[str, ...]:
    """The heads that can be learnt and whose thresholds can be set: with an example in both parts.

    Raises:
        ConfigurationError: no condition has them.
    """
    learnt, checked = examples(train), examples(held)
    both = tuple(head for head in learnt if head in checked)
    if not set(both) & set(CONDITIONS):
        message = (
            f"no condition has a box in both split train ({', '.join(learnt) or 'none'}) and split val "
            f"({', '.join(checked) or 'none'}); label boxes of {', '.join(CONDITIONS)} in both"
        )
        raise ConfigurationError(message)
    return both


def statement(first: str, second: str | None, confidence: str | None) -> tuple[str, NDArray[np.float32]]:
    """The name and the labels of a box.

    Args:
        first: its label; spelling and synonyms do not matter.
        second, confidence: of relabelled.csv; None = nobody looked again.
    """
    name = known = _plain(first)
    if second is not None:
        name = _plain(second) if confidence == _SURE and _plain(second) in _SAYS else f"{second}?"
    labels = np.full(len(HEADS), _OPEN, np.float32)
    for head in _BESIDES.get(_MIXED.get(known, known), ()):
        labels[HEADS.index(head)] = 0
    for head, value in _SAYS.get(name, {}).items():
        labels[HEADS.index(head)] = value
    return name, labels


def _plain(label: str) -> str:
    """``Root-canal treated`` -> ``rct``."""
    spelt = re.sub(r"[\s_/-]+", "_", label.strip().lower())
    return _SYNONYMS.get(spelt, spelt)


def healthy() -> NDArray[np.float32]:
    """What the lack of a box says of a tooth: nothing special, weakly."""
    return np.zeros(len(HEADS), np.float32)


def merged(labels: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What several boxes around one tooth say together: a yes counts before a no, a no before nothing."""
    stacked = np.where(np.isnan(np.stack(labels)), -1, np.stack(labels)).max(0)
    return np.where(stacked < 0, np.nan, stacked).astype(np.float32)


def _boxes(data: Path, rows: Sequence[dict[str, str]]) -> dict[str, list[Labelled]]:
    """By the name of the film in the manifest."""
    table, documents = data / "labels" / "boxes.csv", sorted(data.glob("*.json"))
    boxes = defaultdict[str, list[Labelled]](list)
    if table.is_file():
        for file, labelled in _of_table(table, data / "labels" / "relabelled.csv"):
            boxes[file].append(labelled)
    elif documents:
        files = {Path(row["file"]).name: row["file"] for row in rows}
        if len(files) < len(rows):
            message = f"{data} has pictures of one name in several folders; COCO boxes find them by it: rename them"
            raise ConfigurationError(message)
        for document in documents:
            for picture, label, box in coco_boxes.read(document):
                boxes[files.get(picture, picture)].append(_labelled(document, picture, label, box))
    else:
        message = f"{data} has no boxes; write labels/boxes.csv (file, label, {', '.join(_SIDES)}) or add a COCO file"
        raise ConfigurationError(message)
    if not boxes.keys() & {row["file"] for row in rows}:
        source = table if table.is_file() else data
        message = f"no box of {source} lies on an image of {data / MANIFEST}; give images the same names in both"
        raise ConfigurationError(message)
    return boxes


def _of_table(table: Path, again: Path) -> Iterator[tuple[str, Labelled]]:
    columns = ("file", "label", *_SIDES)
    second = {
        tuple(row[c] for c in columns): (row["new_label"], row["confidence"])
        for row in (_table(again, (*columns, "new_label", "confidence")) if again.exists() else [])
    }
    for row in _table(table, columns):
        looked = second.get(tuple(row[c] for c in columns), (None, None))
        try:
            x0, y0, x1, y1 = (float(row[side]) for side in _SIDES)
        except ValueError:
            message = f"{table}: a box of {row['file']} is no four numbers"
            raise ConfigurationError(message) from None
        yield row["file"], _labelled(table, row["file"], row["label"], (x0, y0, x1, y1), *looked)


def _labelled(
    source: Path, picture: str, label: str, box: Box, second: str | None = None, confidence: str | None = None
) -> Labelled:
    if _plain(label) not in _SAYS:
        message = f"{source}: label {label!r} is none of {', '.join(_SAYS)}"
        raise ConfigurationError(message)
    if not (box[0] < box[2] and box[1] < box[3]):
        message = f"{source}: a box of {picture} has its sides the wrong way round or no size ({label})"
        raise ConfigurationError(message)
    name, labels = statement(label, second, confidence)
    return Labelled(box, labels, name)


def _table(file: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        named, rows = table_of(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        message = f"{file} cannot be read as CSV in UTF-8 ({error})"
        raise ConfigurationError(message) from error
    if lacking := [column for column in columns if column not in named]:
        message = f"{file} lacks the columns {', '.join(lacking)}; it has {', '.join(named)}"
        raise ConfigurationError(message)
    return rows
