"""Small data sets in the layouts in which people have them; nothing in them but noise and shapes."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture


def picture(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> Path:
    """Grey noise of (columns, rows); another seed, other bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Picture.fromarray(rng.integers(0, 255, (size[1], size[0]), np.uint8)).save(path)
    return path


def class_folders(data: Path, classes: Sequence[str] = ("ill", "well"), count: int = 10) -> Path:
    """A folder for each class with ``count`` pictures."""
    for k, name in enumerate(classes):
        for i in range(count):
            picture(data / name / f"{name}-{i}.png", 1000 * k + i)
    return data


def manifest(data: Path, rows: Sequence[dict[str, str]]) -> Path:
    """``manifest.csv``; makes each picture that a row names."""
    data.mkdir(parents=True, exist_ok=True)
    for i, row in enumerate(rows):
        if not (data / row["file"]).exists():
            picture(data / row["file"], i)
    with (data / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return data


def rows_of(data: Path) -> list[dict[str, str]]:
    """The rows of a manifest."""
    with (data / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


def labelled_rows(count: int = 12) -> list[dict[str, str]]:
    """Two classes, three quarters for training, each picture its own group."""
    parts = ["val" if i % 4 == 3 else "train" for i in range(count)]
    return [
        {"file": f"images/{i}.png", "split": part, "group": f"g{i}", "labels": ("ill", "well")[i % 3 == 0]}
        for i, part in enumerate(parts)
    ]
