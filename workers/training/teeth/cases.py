"""Labelled images to measure on: films in their true shape, drawn phantoms, and windows of both."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from workers.training.grey import read_grey, read_labels
from workers.training.phantom import panoramic_phantom
from workers.training.teeth.panoramics import UNKNOWN, Record, permanent, read_manifest, to_classes, true_aspect
from workers.training.teeth.stress import other_scanner
from workers.training.teeth.windows import draw_window

PHANTOM_SPLIT = "phantom"
_PHANTOM_SEEDS = range(5000, 5040)  # none of them in training
_TRIES = 20
_FEWEST = {False: 3, True: 5}  # teeth at least half of which a window shows; fewer are no film anyone takes


@dataclass(frozen=True, slots=True)
class Case:
    """One image to measure on.

    Attributes:
        pixels: float32 (rows, columns), 0..1.
        labels: FDI numbers of permanent teeth, the same shape; UNKNOWN where nobody knows, else 0.
        group: images of one group are not independent.
        name: of the file.
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.uint8]
    group: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class WindowCase:
    """A part of a film, as an intra-oral film might show it.

    Attributes:
        case: pixels, labels and group of the part.
        bitewing: both jaws; otherwise most of one.
        cut: numbers of teeth of which the window shows less than half, and UNKNOWN; what lies there counts neither as
            found nor as missed.
    """

    case: Case
    bitewing: bool
    cut: frozenset[int]


def cases(data: Path, split: str, *, stress: bool) -> tuple[int, Iterator[Case]]:
    """How many images a split has, and the images one by one."""
    change: Callable[[Case, int], Case] = _other if stress else lambda case, _: case
    if split == PHANTOM_SPLIT:
        return len(_PHANTOM_SEEDS), (change(phantom_case(seed), seed) for seed in _PHANTOM_SEEDS)
    records = read_manifest(data, split)
    return len(records), (change(_case(record), i) for i, record in enumerate(records))


def windows_of(case: Case, rng: np.random.Generator, count: int = 3) -> Iterator[WindowCase]:
    """Up to ``count`` random windows of a film: three or more teeth, or five or more where both jaws show."""
    classes = to_classes(case.labels)
    rows, columns = classes.shape
    area = np.bincount(case.labels.ravel(), minlength=256)
    for _ in range(_TRIES):
        window = draw_window(classes, rng)
        if window is None or count < 1:
            continue
        x0, y0, x1, y1 = window.box
        part = (
            slice(max(round(y0 * rows), 0), min(round(y1 * rows), rows)),
            slice(max(round(x0 * columns), 0), min(round(x1 * columns), columns)),
        )
        labels = case.labels[part]
        seen = np.bincount(labels.ravel(), minlength=256)
        cut = frozenset(int(n) for n in np.nonzero(seen)[0] if n and 2 * seen[n] < area[n]) | {UNKNOWN}
        if len(set(np.unique(labels).tolist()) - {0} - cut) < _FEWEST[window.bitewing]:
            continue
        count -= 1
        yield WindowCase(Case(case.pixels[part], labels, case.group), window.bitewing, cut)


def _case(record: Record) -> Case:
    """A labelled film in its true shape: what was stretched to a square is widened again."""
    pixels, truth = read_grey(record.image), permanent(read_labels(record.labels))
    size = (round(pixels.shape[0] * true_aspect(*pixels.shape)), pixels.shape[0])
    wide = Picture.fromarray(pixels).resize(size, Picture.Resampling.BILINEAR)
    names = Picture.fromarray(truth).resize(size, Picture.Resampling.NEAREST)
    return Case(np.asarray(wide, np.float32) / np.float32(255), np.asarray(names), record.group, record.image.name)


def phantom_case(seed: int) -> Case:
    """A drawn panoramic with its labels."""
    phantom = panoramic_phantom(seed, rows=752, columns=1440)
    return Case(
        phantom.pixels.astype(np.float32) / np.float32(4095), phantom.labels, f"phantom-{seed}", f"phantom {seed}"
    )


def _other(case: Case, number: int) -> Case:
    pixels, labels = other_scanner(case.pixels, case.labels, np.random.default_rng(number))
    return replace(case, pixels=pixels, labels=labels)
