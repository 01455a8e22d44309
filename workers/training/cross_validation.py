"""Grouped k-fold: k trainings, each measured on the groups that it did not see, and one report over all of them."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from service.domain.errors import ConfigurationError
from workers.training.classifier_report import classifier_page
from workers.training.folds import grouped_folds
from workers.training.layouts import link_beside, write_manifest
from workers.training.outcome import Outcome
from workers.training.readers import MANIFEST, read_rows
from workers.training.report import OUTCOME, Page, Table, write_report
from workers.training.task import Evaluation, Task, Training

_LONG = 60  # characters of labels beyond which folds are not balanced by them
_USED = ("train", "val")  # parts that are dealt anew; a test part stays out


def cross_validate(task: Task, order: Training, count: int) -> dict[str, Any]:
    """Train and measure ``count`` times.

    Each fold lies in ``order.out/fold-N`` with its own bundle and report. The report in ``order.out`` pools what each
    bundle said of the images held out from it (classifiers), or sets the folds side by side with mean and deviation.

    Args:
        task: what to train.
        order: ``data`` with a complete manifest; ``minutes`` are those of each fold.
        count: folds, at least two.

    Raises:
        ConfigurationError: there are too few groups; or as the task raises it.
    """
    reports, outcomes = list[dict[str, Any]](), list[Outcome]()
    for number, data in enumerate(deal(order, count)):
        out = order.out / f"fold-{number}"
        bundle = task.train(replace(order, data=data, out=out))
        held_out = out / "held-out"
        reports.append(task.evaluate(Evaluation(data, held_out, "val", bundle)))
        if (held_out / OUTCOME).is_file():
            outcomes.append(Outcome.load(held_out / OUTCOME))
    page = _pooled(task, order, outcomes) if len(outcomes) == count else _beside(task, order, reports)
    write_report(order.out, page)
    return {"headline": page.headline, **page.figures}


def deal(order: Training, count: int) -> list[Path]:
    """Folders of the folds: the same files, another column split. Raises ConfigurationError."""
    rows = [row for row in read_rows(order.data, ("file", "split", "group")) if row["split"] in _USED]
    groups = [row["group"] or row["file"] for row in rows]
    labels = [row.get("labels", "") if len(row.get("labels", "")) < _LONG else "" for row in rows]
    if not 2 <= count <= len(set(groups)):  # noqa: PLR2004 - one to train on, one to measure on
        message = (
            f"--folds {count}: there are {len(set(groups))} groups in {order.data / MANIFEST}; take 2 to that many"
        )
        raise ConfigurationError(message)
    fold_of = grouped_folds(groups, labels, count, np.random.default_rng(order.seed))
    folders = []
    for number in range(count):
        made = order.out / f"fold-{number}" / "data" / order.data.name
        link_beside(order.data, made)
        parts = ["val" if fold == number else "train" for fold in fold_of]
        folders.append(write_manifest([row | {"split": part} for row, part in zip(rows, parts, strict=True)], made))
    return folders


def pool(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome of several over other images of the same classes; thresholds are the means."""
    first = outcomes[0]
    return Outcome(
        classes=first.classes,
        scores=np.concatenate([outcome.scores for outcome in outcomes]),
        truth=np.concatenate([outcome.truth for outcome in outcomes]),
        groups=[group for outcome in outcomes for group in outcome.groups],
        names=[name for outcome in outcomes for name in outcome.names],
        exclusive=first.exclusive,
        thresholds=tuple(np.mean([outcome.thresholds for outcome in outcomes], 0).tolist()),
    )


def _pooled(task: Task, order: Training, outcomes: Sequence[Outcome]) -> Page:
    caveats = (
        "Each image was judged by the bundle that had not seen its group; thresholds are the means of the folds'.",
        "Scores of several trainings are pooled: ranking suffers where the folds are calibrated differently.",
        "Where a fold's thresholds and calibration were fitted on its held-out part, its figures flatter a little.",
    )
    return classifier_page(f"Task {task.name}, {len(outcomes)} folds", pool(outcomes), _facts(order), caveats=caveats)


def _beside(task: Task, order: Training, reports: Sequence[dict[str, Any]]) -> Page:
    folds = [numbers_of(report) for report in reports]
    shared = [key for key in folds[0] if all(key in fold for fold in folds)]
    rows: list[list[object]] = []
    figures: dict[str, Any] = {}
    for key in shared:
        values = [fold[key] for fold in folds]
        mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
        figures[key] = {"mean": round(mean, 4), "deviation": round(deviation, 4), "folds": values}
        rows.append([key, mean, deviation, *values])
    columns = ["figure", "mean", "standard deviation", *(f"fold {number}" for number in range(len(folds)))]
    headline = f"{len(folds)} folds by group, each measured on what it did not see"
    table = Table("Folds", columns, rows, "The deviation is that of the folds, not the error of the mean.")
    return Page(f"Task {task.name}, {len(folds)} folds", headline, _facts(order), [table], (), {"folds": figures})


def _facts(order: Training) -> dict[str, str]:
    return {"data": order.data.name, "minutes of each fold": f"{order.minutes:g}", "seed": str(order.seed)}


def numbers_of(report: dict[str, Any], inside: str = "") -> dict[str, float]:
    """The finite numbers of a report by their dotted place; lists are left out."""
    found: dict[str, float] = {}
    for key, value in json.loads(json.dumps(report, default=str)).items():
        place = f"{inside}{key}"
        if isinstance(value, dict):
            found |= numbers_of(value, f"{place}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[place] = float(value)
    return found
