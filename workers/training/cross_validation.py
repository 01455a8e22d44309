"""Grouped k-fold: k trainings, each measured on the groups that it did not see, and one report over all of them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import ConfigurationError
from workers.models.picture_files import read_picture
from workers.training.aims import aim_of, numbers_of
from workers.training.checks import check_manifest
from workers.training.classifier_report import classifier_page
from workers.training.folds import grouped_folds
from workers.training.layouts import link_beside, write_manifest
from workers.training.leakage import Leakage, Member, find_leakage, with_leakage
from workers.training.outcome import Outcome
from workers.training.readers import MANIFEST, read_rows
from workers.training.report import OUTCOME, REPORT, Page, Table, write_report
from workers.training.task import Evaluation, Task, Training

_LONG = 60  # characters of labels beyond which folds are not balanced by them
_USED = ("train", "val")  # parts that are dealt anew; a test part stays out
_ORDER = "fold.json"  # what a fold was begun with; another order or other data begin it anew
_FREE = {"data", "out", "device", "threads", "resume"}  # of an order: may differ when it is resumed


def cross_validate(task: Task, order: Training, count: int, *, labelled: bool = False) -> dict[str, Any]:
    """Train and measure ``count`` times.

    Each fold lies in ``order.out/fold-N`` with its own bundle and report. The report in ``order.out`` pools what each
    bundle said of the images held out from it (classifiers), or sets the folds side by side with mean and deviation.
    With ``order.resume`` folds that were measured are taken as they are, and those that were begun are gone on with.

    Args:
        task: what to train.
        order: ``data`` with a complete manifest; ``minutes`` are those of each fold.
        count: folds, at least two.
        labelled: images carry classes.

    Raises:
        ConfigurationError: there are too few groups, a fold cannot be trained on; or as the task raises it.
    """
    folders = deal(order, count)
    for number, data in enumerate(folders):
        _check(data, number, labelled=labelled)
    for number, data in enumerate(folders):
        _run(task, order, data, order.out / f"fold-{number}")
    reports = [order.out / f"fold-{number}" / "held-out" for number in range(count)]
    outcomes = [Outcome.load(folder / OUTCOME) for folder in reports if (folder / OUTCOME).is_file()]
    if len(outcomes) == count and len({outcome.classes for outcome in outcomes}) == 1:
        page = _pooled(task, order, outcomes, folders)
    else:
        page = _beside(task, order, [json.loads((folder / REPORT).read_text(encoding="utf-8")) for folder in reports])
    page = with_leakage(page, _leakage(folders))
    write_report(order.out, page)
    return {"headline": page.headline, **page.figures}


def _check(data: Path, number: int, *, labelled: bool) -> None:
    """Raises ConfigurationError where a fold cannot be trained on: the last one would tell hours later."""
    try:
        check_manifest(data, labelled=labelled)
    except ConfigurationError as error:
        message = f"fold {number} cannot be trained on: {error}; or take another number of --folds or another --seed"
        raise ConfigurationError(message) from error


def _run(task: Task, order: Training, data: Path, out: Path) -> None:
    """One fold; what is there of it is used where the order says so and fits."""
    held_out, told = out / "held-out", out / _ORDER
    digest = hashlib.sha256((data / MANIFEST).read_bytes()).hexdigest()
    kept = {key: value for key, value in asdict(order).items() if key not in _FREE}
    text = json.dumps(kept | {"images": digest}, indent=2, default=str)
    same = order.resume and told.is_file() and told.read_text(encoding="utf-8") == text
    if same and (held_out / REPORT).is_file():
        return
    for name in (REPORT, OUTCOME):
        (held_out / name).unlink(missing_ok=True)
    begun = same and any(out.rglob("*.pt"))
    told.write_text(text, encoding="utf-8")
    bundle = task.train(replace(order, data=data, out=out, resume=begun))
    task.evaluate(Evaluation(data, held_out, "val", bundle))


def _leakage(folders: Sequence[Path]) -> Leakage:
    """Between the folds, whose groups are apart but whose images may look alike."""
    held_out = [(f"fold {n}", data, row) for n, data in enumerate(folders) for row in _held_out(data)]
    return find_leakage([Member(data / row["file"], fold, row["group"] or row["file"]) for fold, data, row in held_out])


def _held_out(data: Path) -> list[dict[str, str]]:
    return [row for row in read_rows(data) if row["split"] == "val"]


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


def _pooled(task: Task, order: Training, outcomes: Sequence[Outcome], folders: Sequence[Path]) -> Page:
    caveats = (
        "Each image was judged by the bundle that had not seen its group; thresholds are the means of the folds'.",
        "Scores of several trainings are pooled: ranking suffers where the folds are calibrated differently.",
        "Where a fold's thresholds and calibration were fitted on its held-out part, its figures flatter a little.",
    )
    outcome = replace(pool(outcomes), pictures=_pictures(outcomes, folders))
    return classifier_page(f"Task {task.name}, {len(outcomes)} folds", outcome, _facts(order), caveats=caveats)


def _pictures(outcomes: Sequence[Outcome], folders: Sequence[Path]) -> Callable[[int], NDArray[np.uint8]] | None:
    """The images of the pooled outcome, which lists them in the order of the manifests; None where it does not."""
    files = list[Path]()
    for outcome, data in zip(outcomes, folders, strict=True):
        held_out = iter([data / row["file"] for row in _held_out(data)])
        files += [file for name in outcome.names if (file := next((f for f in held_out if f.name == name), None))]
    if len(files) != sum(len(outcome.names) for outcome in outcomes):
        return None
    return lambda index: np.round(read_picture(files[index]) * 255).astype(np.uint8)


def _beside(task: Task, order: Training, reports: Sequence[dict[str, Any]]) -> Page:
    folds = [numbers_of(report) for report in reports]
    shared = [key for key in folds[0] if all(key in fold for fold in folds) and not _is_count(key, folds)]
    rows: list[list[object]] = []
    figures: dict[str, Any] = {}
    for key in shared:
        values = [fold[key] for fold in folds]
        mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
        figures[key] = {"mean": round(mean, 4), "deviation": round(deviation, 4), "folds": values}
        rows.append([key, mean, deviation, *values])
    columns = ["figure", "mean", "standard deviation", *(f"fold {number}" for number in range(len(folds)))]
    headline = f"{_main(reports, figures)}{len(folds)} folds by group, each measured on what it did not see"
    table = Table("Folds", columns, rows, "The deviation is that of the folds, not the error of the mean.")
    return Page(f"Task {task.name}, {len(folds)} folds", headline, _facts(order), [table], (), {"folds": figures})


def _is_count(key: str, folds: Sequence[dict[str, float]]) -> bool:
    """How many images or teeth there were, and how long they took, says nothing of the model."""
    return "seconds" in key or all(isinstance(fold[key], int) for fold in folds)


def _main(reports: Sequence[dict[str, Any]], figures: dict[str, Any]) -> str:
    """The figure that matters, with its deviation; empty where the reports have none."""
    try:
        name, _ = aim_of(reports[0])
    except ConfigurationError:
        return ""
    found = figures.get(name)
    return f"{name} {found['mean']:.3f}, standard deviation {found['deviation']:.3f}: " if found else ""


def _facts(order: Training) -> dict[str, str]:
    return {"data": order.data.name, "minutes of each fold": f"{order.minutes:g}", "seed": str(order.seed)}
