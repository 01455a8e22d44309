"""Fit certainties and limits of a bundle, and measure it, by the very code that serves."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.models import mouth
from workers.models.oral_photo import LoadedOralPhoto, OralPhoto
from workers.training.bundles import write_json
from workers.training.calibration import best_threshold, fit_platt
from workers.training.outcome import UNKNOWN, Outcome
from workers.training.photos.pictures import colours_of
from workers.training.progress import Progress
from workers.training.readers import Collection, Record

HEALTHY = "healthy"
_REFUSED = 0.003  # share of the labelled photographs that the network may call no mouth
_SLACK = 0.1  # of the way from there to the middle: below it, for photographs unlike these
_LEAST_THRESHOLD, _MOST_THRESHOLD = 0.15, 0.7  # of few images a wilder one is chance


Colours = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What the networks said of photographs: logits (n, classes), of a mouth (n,), and why pixels were refused (n)."""

    logits: NDArray[np.float64]
    mouth: NDArray[np.float64]
    refusals: tuple[str, ...]


def read(
    model: LoadedOralPhoto, records: Sequence[Record], change: Callable[[Colours, int], Colours] | None = None
) -> Readings:
    """Let a model look at photographs, refused or not; ``change``: of a photograph with its number."""
    logits, mouths, refusals, progress = [], [], [], Progress()
    for done, record in enumerate(records, 1):
        colour = colours_of(record)
        colour = colour if change is None else change(colour, done)
        seen = model.see(colour)
        refused = mouth.refuse(colour) or ("no mouth" if seen.mouth < model.settings.least_mouth else "")
        logits.append(seen.logits.astype(np.float64))
        mouths.append(seen.mouth)
        refusals.append(refused)
        progress.tell(f"{done} of {len(records)} photographs", done / len(records))
    return Readings(np.stack(logits), np.array(mouths), tuple(refusals))


def calibrate(collection: Collection, bundle: Path) -> None:
    """Fit slopes, offsets, thresholds and ``least_mouth`` on labelled photographs and write them into a bundle.

    A slope and an offset for each class, and thresholds held within bounds: few enough that measuring on the same
    photographs flatters little; but it does.
    """
    model = OralPhoto(bundle).load("auto")
    readings = read(model, collection.records)
    file = bundle / "configs" / "inference.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    for k, truth in enumerate(_columns(collection, model.settings.classes).T):
        known = truth != UNKNOWN
        logits, right = readings.logits[known, k], truth[known] == 1
        slope, offset = fit_platt(logits, right)
        slope = max(slope, 0.05)  # a class that is anticorrelated on few images must not be turned round
        scores = 1 / (1 + np.exp(-(slope * logits + offset)))
        threshold = float(np.clip(best_threshold(scores, right), _LEAST_THRESHOLD, _MOST_THRESHOLD))
        for key, value in (("slopes", slope), ("offsets", offset), ("thresholds", threshold)):
            settings[key][k] = round(float(value), 4)
    lowest, middle = np.quantile(readings.mouth, (_REFUSED, 0.5))
    settings["least_mouth"] = round(float(lowest - _SLACK * (middle - lowest)), 3)
    write_json(file, settings)


def outcome_of(model: LoadedOralPhoto, collection: Collection, readings: Readings) -> Outcome:
    """Certainties beside the labels, in the order of the bundle's classes."""
    slopes, offsets = np.array(model.settings.slopes), np.array(model.settings.offsets)
    return Outcome(
        classes=model.settings.classes,
        scores=1 / (1 + np.exp(-(readings.logits * slopes + offsets))),
        truth=_columns(collection, model.settings.classes),
        groups=[record.group for record in collection.records],
        names=[record.file.name for record in collection.records],
        exclusive=False,
        thresholds=model.settings.thresholds,
        pictures=lambda index: np.round(colours_of(collection.records[index]) * 255).astype(np.uint8),
    )


def among_findings(outcome: Outcome) -> Outcome:
    """The findings among themselves: without the class "healthy" and without the photographs filed there.

    Healthy photographs come from another source, which a model may tell by its style alone.
    """
    if HEALTHY not in outcome.classes:
        return outcome
    healthy = outcome.classes.index(HEALTHY)
    ill = np.flatnonzero(outcome.truth[:, healthy] != 1)
    kept = [k for k in range(len(outcome.classes)) if k != healthy]
    pictures = outcome.pictures
    return Outcome(
        classes=tuple(outcome.classes[k] for k in kept),
        scores=outcome.scores[ill][:, kept],
        truth=outcome.truth[ill][:, kept],
        groups=[outcome.groups[i] for i in ill],
        names=[outcome.names[i] for i in ill],
        exclusive=False,
        thresholds=tuple(outcome.thresholds[k] for k in kept),
        pictures=None if pictures is None else lambda index: pictures(int(ill[index])),
    )


def _columns(collection: Collection, classes: Sequence[str]) -> NDArray[np.int8]:
    """Truth (n, classes) in another order of the classes; unknown where the labels lack one."""
    truth = np.full((len(collection.records), len(classes)), UNKNOWN, np.int8)
    for k, name in enumerate(classes):
        if name in collection.classes:
            truth[:, k] = collection.truth[:, collection.classes.index(name)]
    return truth
