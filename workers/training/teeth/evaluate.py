"""Measure a model on labelled images by the very code that serves: one analysis per image, boxes from masks."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from workers.models.intraoral_teeth import IntraoralTeeth, LoadedIntraoralTeeth
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.pixels import Image
from workers.regions import Detection
from workers.training.leakage import Leakage, with_leakage
from workers.training.progress import Progress
from workers.training.report import learning_curves, write_report
from workers.training.task import Evaluation
from workers.training.teeth.cases import WindowCase, cases, windows_of
from workers.training.teeth.intervals import confusions, intervals
from workers.training.teeth.mistakes import Worst
from workers.training.teeth.page import page_of
from workers.training.teeth.panoramics import UNKNOWN, image_of
from workers.training.teeth.scoring import (
    ImageScore,
    by_class,
    by_jaw,
    reliability_table,
    score_image,
    summary,
    truths_of,
)

_FULL = 28  # teeth; the split of the figures


def evaluate(order: Evaluation, log: Path | None = None, leakage: Leakage | None = None) -> dict[str, Any]:
    """Measure, print a table, write ``out/report.json`` and ``out/report.html``.

    The split "phantom" takes forty drawn panoramics that took no part in training and reads no data.

    Args:
        order: what to measure.
        log: log.jsonl of the training, for the learning curves.
        leakage: what the check of the splits found.

    Returns:
        The figures of the report.
    """
    model = PanoramicTeeth(order.bundle).load("auto")
    films = IntraoralTeeth(order.bundle).load("auto")
    scores, parts, worst, progress = list[ImageScore](), dict[str, list[ImageScore]](), Worst(), Progress()
    started, busy = time.perf_counter(), 0.0
    count, images = cases(order.data, order.split, stress=order.stress)
    for done, case in enumerate(images, 1):
        begun = time.perf_counter()
        found = model.analyze(image_of(case.pixels))
        busy += time.perf_counter() - begun
        found, truths = _off(found, case.labels, frozenset({UNKNOWN})), truths_of(case.labels)
        scores.append(score_image(found, truths, case.group))
        worst.add(case, found, truths, scores[-1])
        for window in windows_of(case, np.random.default_rng(done)):
            for name, score in _window_scores(films, window):
                parts.setdefault(name, []).append(score)
        progress.tell(f"{done} of {count} images, {time.perf_counter() - started:.0f} s")
    report = _figures(scores, parts) | {
        "split": order.split,
        "other_scanner": order.stress,
        "seconds_per_image": round(busy / len(scores), 3),
        "weights_sha256": model.algorithm.weights_sha256,
        "version": model.algorithm.version,
    }
    curves = learning_curves(log) if log else None
    page = page_of(report, scores, [*([curves] if curves else []), worst.block()])
    write_report(order.out, with_leakage(page, leakage) if leakage else page)
    progress.end(table(report))
    return report


def _figures(scores: Sequence[ImageScore], parts: dict[str, list[ImageScore]]) -> dict[str, Any]:
    """Of whole images and, by name, of windows of them."""
    ranges = intervals(scores)
    return {
        "task": "teeth",
        "groups": len({score.group for score in scores}),
        "f1_interval_95": ranges["f1"],
        "intervals_95": ranges,
        "all": summary(scores),
        "28_teeth_or_more": summary([s for s in scores if s.true >= _FULL]),
        "fewer_than_28": summary([s for s in scores if s.true < _FULL]),
        "jaws": by_jaw(scores),
        "reliability": reliability_table(scores),
        "confusions": confusions(scores),
        "classes": by_class(scores),
        "windows": {name: summary(group) | {"f1_interval_95": intervals(group)["f1"]} for name, group in parts.items()},
    }


def _window_scores(films: LoadedIntraoralTeeth, window: WindowCase) -> list[tuple[str, ImageScore]]:
    """A window without and with jaw and side in its header."""
    truths = [truth for truth in truths_of(window.case.labels) if truth.tooth not in window.cut]
    kind = "bitewing" if window.bitewing else "periapical"
    scores = []
    for name, header in ((kind, Dataset()), (f"{kind}, jaw and side told", header_of(window))):
        image = Image(np.ascontiguousarray(window.case.pixels), header, flipped_x=False, flipped_y=False, notes=())
        found = without_cut(films.analyze(image), window)
        scores.append((name, score_image(found, truths, window.case.group)))
    return scores


def header_of(window: WindowCase) -> Dataset:
    """What a sensor would write about a window: side and jaw of its teeth, both where it shows both."""
    teeth = [truth.tooth for truth in truths_of(window.case.labels) if truth.tooth not in window.cut]
    right, upper = ({tooth // 10 in quadrants for tooth in teeth} for quadrants in ((1, 4), (1, 2)))
    header, region = Dataset(), Dataset()
    header.ImageLaterality = "B" if len(right) > 1 else "R" if True in right else "L"
    region.CodeValue = "661005" if len(upper) > 1 else "70925003" if True in upper else "91609006"
    header.AnatomicRegionSequence = [region]
    return header


def without_cut(found: Sequence[Detection], window: WindowCase) -> tuple[Detection, ...]:
    """What was found, less what lies mostly on a tooth of which too little is to be seen, or where nobody knows."""
    return _off(found, window.case.labels, window.cut)


def _off(found: Sequence[Detection], labels: NDArray[np.uint8], cut: frozenset[int]) -> tuple[Detection, ...]:
    return tuple(detection for detection in found if not lies_on(detection, labels, cut))


def lies_on(detection: Detection, labels: NDArray[np.uint8], numbers: frozenset[int]) -> bool:
    """Whether most of what a detection covers of the labels is one of these numbers."""
    if detection.box is None or detection.mask is None:
        return False
    x0, y0, x1, y1 = detection.box
    inside = labels[y0:y1, x0:x1][detection.mask]
    return bool(2 * np.isin(inside, list(numbers)).sum() > (inside > 0).sum())


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    columns = ("all", "28_teeth_or_more", "fewer_than_28")
    lines = [f"{'':32}" + "".join(f"{name:>18}" for name in columns)]
    lines += [f"{key:32}" + "".join(f"{report[name][key]:18.4g}" for name in columns) for key in report["all"]]
    low, high = report["f1_interval_95"]
    lines.append(f"F1 {report['all']['f1']:.3f}, 95 % interval {low:.3f} to {high:.3f} over {report['groups']} groups")
    lines += [f"jaws, {name}: {j['jaws']}, all right {j['all_right']:.3f}" for name, j in report["jaws"].items()]
    for name, part in report["windows"].items():
        low, high = part["f1_interval_95"]
        lines.append(f"{name}: {part['images']} windows, F1 {part['f1']:.3f} ({low:.3f} to {high:.3f})")
    lines.append(f"weights {report['weights_sha256'][:16]}, {report['seconds_per_image']:.2f} s an image")
    return "\n".join(lines)
