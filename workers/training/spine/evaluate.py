"""Measure a bundle on spine films by the very code that serves.

With corners (``labels/landmarks.json``) points, angles and types are measured; with labels alone (``labels`` of normal
and scoliosis, ``curve`` of single and double) the types. Of films with corners whose manifest names no type or angles
they follow from the corners by rule.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import ConfigurationError
from workers.models.cobb import curves_of, tilts_of, two_largest
from workers.models.spine import Column, LoadedSpine, Spine
from workers.training.grey import read_grey
from workers.training.leakage import Leakage, with_leakage
from workers.training.progress import Progress
from workers.training.report import learning_curves, write_report
from workers.training.spine.films import Corners, read_manifest, read_rows
from workers.training.spine.page import Worst, spine_page
from workers.training.spine.scoring import Score, leanings, summary, three_angles, truth_of
from workers.training.spine.stress import other_device
from workers.training.task import Evaluation

_LABELS = ("normal", "scoliosis", "single", "double")
_STRESSED = "as another device might make them (cut or bordered, other tones, less sharp)"
_STRESS_SEED = 20  # of ``stress.other_device``, with the number of the film


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One film to measure on.

    Attributes:
        name, group: of the film.
        pixels: float32 (rows, columns), 0 to 1.
        truth: label, see ``scoring.Score``.
        corners: where they are known.
        cobb: major and second angle, where corners are known.
    """

    name: str
    group: str
    pixels: NDArray[np.float32]
    truth: str
    corners: Corners | None = None
    cobb: tuple[float, float] | None = None


def cases(data: Path, split: str) -> tuple[int, Iterator[Case]]:
    """How many films, and the films one by one. Raises ConfigurationError."""
    if (data / "labels" / "landmarks.json").is_file():
        records = read_manifest(data, split)

        def cornered() -> Iterator[Case]:
            for record in records:
                cobb = record.cobb or two_largest(curves_of(record.corners))
                truth = truth_of(record.labels if record.labels in _LABELS else "", cobb)
                yield Case(record.image.name, record.group, _grey(record.image), truth, record.corners, cobb)

        return len(records), cornered()
    rows = [row for row in read_rows(data, split, ("file", "split", "group", "labels")) if row["labels"] in _LABELS]
    if not rows:
        message = (
            f"{data} has neither labels/landmarks.json nor a film of split {split!r} labelled {', '.join(_LABELS)}"
        )
        raise ConfigurationError(message)

    def labelled() -> Iterator[Case]:
        for row in rows:
            truth = truth_of(row["labels"], None, row.get("curve", ""))
            yield Case(row["file"], row["group"], _grey(data / row["file"]), truth)

    return len(rows), labelled()


def evaluate(order: Evaluation, log: Path | None = None, leakage: Leakage | None = None) -> dict[str, Any]:
    """Measure; writes report.json and report.html.

    Args:
        order: what to measure on what.
        log: log.jsonl of a training, for its curves in the report.
        leakage: what the check of the parts found, for the report.

    Raises:
        ConfigurationError: the data or the bundle are not what they should be.
    """
    model = Spine(order.bundle).load("auto")
    count, films = cases(order.data, order.split)
    scores, worst, progress, seconds = list[Score](), Worst(), Progress(), 0.0
    for done, film in enumerate(_stressed(films) if order.stress else films, 1):
        started = time.perf_counter()
        column = model.see(film.pixels)
        seconds += time.perf_counter() - started
        scores.append(score_film(film, column, model))
        worst.add(scores[-1], film.pixels, column.corners, film.corners)
        progress.tell(f"{done} of {count} films")
    report = summary(scores) | {"seconds_per_film": round(seconds / max(count, 1), 3)}
    facts = {
        "data": f"{order.data.name}, split {order.split}, {_STRESSED if order.stress else 'as they are'}",
        "model": f"{model.algorithm.name} {model.algorithm.version}, weights {model.algorithm.weights_sha256[:12]}",
    }
    curves = learning_curves(log) if log else None
    page = spine_page(report, scores, facts, [*worst.block(), *([curves] if curves else [])])
    page = with_leakage(page, leakage) if leakage else page
    write_report(order.out, page)
    progress.end(page.headline)
    return report | {"headline": page.headline}


def score_film(film: Case, column: Column, model: LoadedSpine) -> Score:
    """One film against its labels; a film that the model refuses counts as wrong."""
    refused = model.refusal(column) != ""
    complete = film.corners is not None and len(film.corners) == len(column.corners)
    points = tilt = three = three_found = None
    if complete and film.corners is not None:
        points = float(np.linalg.norm(column.corners - film.corners, axis=2).mean())
        tilt = float(np.abs(column.tilts - tilts_of(film.corners)).mean())
    if film.corners is not None and len(column.tilts):
        three, three_found = three_angles(film.corners), three_angles(column.corners, column.tilts)
    return Score(
        name=film.name,
        group=film.group,
        truth=film.truth,
        said=None if refused else column.type,
        cobb=film.cobb,
        found=(0.0, 0.0) if refused else column.cobb,
        height=film.pixels.shape[0],
        vertebrae=len(column.corners),
        points=points,
        tilt=tilt,
        three=three,
        three_found=three_found,
        certainty=0.0 if refused else model.certainty(column),
        leans=None if refused else leanings(*column.cobb, column.least),
    )


def _stressed(films: Iterator[Case]) -> Iterator[Case]:
    for number, film in enumerate(films):
        pixels, corners = other_device(film.pixels, film.corners, np.random.default_rng((_STRESS_SEED, number)))
        yield replace(film, pixels=pixels, corners=corners)


def _grey(file: Path) -> NDArray[np.float32]:
    return read_grey(file).astype(np.float32) / np.float32(255)
