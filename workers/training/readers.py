"""Labelled images from ``manifest.csv``: the one layout that trainings read; ``layouts`` brings every other into it.

A row for each image: ``file`` (relative to the folder, or absolute), ``split`` (train, val, ...), ``group`` (what must
stay on one side of a split: a patient, a film and its copies), and the labels: a column ``labels`` with names joined by
``|``, or a column of 0 and 1 for each class (empty or -1: unknown).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import ConfigurationError
from workers.training.outcome import UNKNOWN

MANIFEST = "manifest.csv"
_MARKS = {"0": 0, "1": 1, "": UNKNOWN, "-1": UNKNOWN}
_FILES = ("file", "label_file")
_OWN = {"file", "split", "group", "labels"}


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled image: file, part, group, and for each class 1, 0 or -1 (unknown)."""

    file: Path
    split: str
    group: str
    truth: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """Images with labels.

    Attributes:
        folder: where it comes from, for messages.
        classes: names, sorted.
        records: the images.
        exclusive: every image has exactly one class, so they exclude each other.
    """

    folder: Path
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    exclusive: bool

    def part(self, split: str) -> "Collection":
        """The images of one part. Raises ConfigurationError where there are none."""
        chosen = tuple(record for record in self.records if record.split == split)
        if not chosen:
            known = ", ".join(sorted({record.split for record in self.records}))
            message = f"{self.folder / MANIFEST} has no image of split {split!r}; it has {known}"
            raise ConfigurationError(message)
        return replace(self, records=chosen)

    @property
    def truth(self) -> NDArray[np.int8]:
        """(n, k)."""
        return np.array([record.truth for record in self.records], np.int8).reshape(-1, len(self.classes))


def table_of(text: str) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a table as spreadsheets of any language save it, without the blanks around fields.

    Fields stand apart by commas, semicolons or tabs, whichever the first line has most of; empty rows are left out; in
    columns that name files the folders of Windows become ours.

    Raises:
        ValueError: a row has more fields than there are columns, or the text is no CSV.
    """
    first = text.partition("\n")[0]
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count)))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    columns = [name.strip() for name in lines[0]] if lines else []
    rows = list[dict[str, str]]()
    for number, line in enumerate(lines[1:], 2):
        fields = [field.strip() for field in line]
        if any(fields[len(columns) :]):
            message = f"line {number} has more fields than there are columns; quote fields that hold a comma"
            raise ValueError(message)
        if any(fields):
            row = dict.fromkeys(columns, "") | dict(zip(columns, fields, strict=False))
            rows.append(row | {name: row[name].replace("\\", "/") for name in _FILES if name in row})
    return columns, rows


def read_rows(data: Path, needed: Sequence[str] = ("file",)) -> list[dict[str, str]]:
    """All rows of the manifest. Raises ConfigurationError naming the file, the columns or the row that is wrong."""
    manifest = data / MANIFEST
    try:
        text = manifest.read_text(encoding="utf-8-sig")  # a spreadsheet puts a mark in front
    except OSError as error:
        message = f"{manifest} cannot be read ({error.strerror}); --data must name a folder with {MANIFEST}"
        raise ConfigurationError(message) from error
    except UnicodeDecodeError as error:
        message = f"{manifest} is not UTF-8; save it as CSV UTF-8"
        raise ConfigurationError(message) from error
    try:
        _, rows = table_of(text)
    except ValueError as error:
        message = f"{manifest}: {error}"
        raise ConfigurationError(message) from error
    if not rows:
        message = f"{manifest} has no rows; write one for each image below a line of column names"
        raise ConfigurationError(message)
    if lacking := [name for name in needed if name not in rows[0]]:
        message = f"{manifest} lacks the column {', '.join(lacking)}; it has {', '.join(rows[0])}"
        raise ConfigurationError(message)
    return rows


def read_collection(data: Path) -> Collection:
    """The labelled images of a folder with ``manifest.csv``.

    Raises:
        ConfigurationError: the manifest is missing or odd; names the file, the column and the mend.
    """
    rows = read_rows(data, ("file", "split", "group"))
    named = "labels" in rows[0]
    classes = _named(rows) if named else _marked(rows)
    if not classes:
        what = "its column labels is empty" if named else "it has neither labels nor a column of 0 and 1 for each class"
        message = f"{data / MANIFEST} says of no image what it shows: {what}"
        raise ConfigurationError(message)
    truths = [_truth_of(row, classes, named=named) for row in rows]
    records = tuple(
        Record(data / row["file"], row["split"], row["group"] or row["file"], truth)
        for row, truth in zip(rows, truths, strict=True)
    )
    return Collection(data, classes, records, all(t.count(1) == 1 and UNKNOWN not in t for t in truths))


def labels_of(row: dict[str, str]) -> list[str]:
    """The names in the column ``labels``."""
    return [name.strip() for name in row["labels"].split("|") if name.strip()]


def _named(rows: Sequence[dict[str, str]]) -> tuple[str, ...]:
    return tuple(sorted({name for row in rows for name in labels_of(row)}))


def _marked(rows: Sequence[dict[str, str]]) -> tuple[str, ...]:
    names = [name for name in rows[0] if name not in _OWN]
    return tuple(name for name in names if all(row[name].strip() in _MARKS for row in rows))


def _truth_of(row: dict[str, str], classes: Sequence[str], *, named: bool) -> tuple[int, ...]:
    if not named:
        return tuple(_MARKS[row[name].strip()] for name in classes)
    present = set(labels_of(row))
    return tuple(int(name in present) for name in classes)
