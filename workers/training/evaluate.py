"""Measure a model on labelled images by the very code that serves: one analysis per image, boxes from masks."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.domain.errors import ConfigurationError
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.pixels import Image
from workers.training.panoramics import load_pixels, read_manifest, true_aspect
from workers.training.phantom import panoramic_phantom
from workers.training.progress import Progress
from workers.training.scoring import ImageScore, f1_interval, score_image, summary, truths_of
from workers.training.stress import other_scanner

PHANTOM_SPLIT = "phantom"
_PHANTOM_SEEDS = range(5000, 5040)  # none of them in training
_FULL = 28  # teeth; the split of the figures


@dataclass(frozen=True, slots=True)
class Case:
    """One image to measure on: pixels float32 0..1 and FDI label map, both (rows, columns)."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.uint8]
    group: str


def evaluate(
    task: str, data: Path, out: Path, split: str = "val", bundle: Path | None = None, *, stress: bool = False
) -> dict[str, Any]:
    """Measure, print a table and write ``out/report.json``.

    Args:
        task: "teeth".
        data: folder with manifest.csv, images/, labels/; not read for the split "phantom".
        out: folder for the report; made if need be.
        split: of the manifest, or "phantom": forty drawn panoramics that took no part in training.
        bundle: another bundle than the one that ships.
        stress: crop, stretch and re-tone each image as another scanner might.

    Returns:
        The report.
    """
    if task != "teeth":
        message = f"no evaluation for task {task!r}; known: teeth"
        raise ConfigurationError(message)
    model = PanoramicTeeth(bundle).load("auto")
    scores, progress = list[ImageScore](), Progress()
    started = time.perf_counter()
    count, images = cases(data, split, stress=stress)
    for done, case in enumerate(images, 1):
        image = Image(pixels=case.pixels, header=Dataset(), flipped_x=False, flipped_y=False, notes=())
        scores.append(score_image(model.analyze(image), truths_of(case.labels), case.group))
        progress.tell(f"{done} of {count} images, {time.perf_counter() - started:.0f} s")
    report = {
        "task": task,
        "split": split,
        "other_scanner": stress,
        "groups": len({score.group for score in scores}),
        "seconds_per_image": round((time.perf_counter() - started) / len(scores), 3),
        "weights_sha256": model.algorithm.weights_sha256,
        "f1_interval_95": f1_interval(scores),
        "all": summary(scores),
        "28_teeth_or_more": summary([s for s in scores if s.true >= _FULL]),
        "fewer_than_28": summary([s for s in scores if s.true < _FULL]),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    progress.end(table(report))
    return report


def cases(data: Path, split: str, *, stress: bool) -> tuple[int, Iterator[Case]]:
    """How many images a split has, and the images one by one."""
    change: Callable[[Case, int], Case] = _other if stress else lambda case, _: case
    if split == PHANTOM_SPLIT:
        return len(_PHANTOM_SEEDS), (change(_phantom(seed), seed) for seed in _PHANTOM_SEEDS)
    records = read_manifest(data, split)
    return len(records), (change(_case(r.image, r.labels, r.group), i) for i, r in enumerate(records))


def _case(image: Path, labels: Path, group: str) -> Case:
    """A labelled film in its true shape: what was stretched to a square is widened again."""
    pixels, truth = load_pixels(image), load_pixels(labels)
    size = (round(pixels.shape[0] * true_aspect(*pixels.shape)), pixels.shape[0])
    wide = Picture.fromarray(pixels).resize(size, Picture.Resampling.BILINEAR)
    names = Picture.fromarray(truth).resize(size, Picture.Resampling.NEAREST)
    return Case(np.asarray(wide, np.float32) / np.float32(255), np.asarray(names), group)


def _phantom(seed: int) -> Case:
    phantom = panoramic_phantom(seed, rows=752, columns=1440)
    return Case(phantom.pixels.astype(np.float32) / np.float32(4095), phantom.labels, f"phantom-{seed}")


def _other(case: Case, number: int) -> Case:
    pixels, labels = other_scanner(case.pixels, case.labels, np.random.default_rng(number))
    return Case(pixels, labels, case.group)


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    columns = ("all", "28_teeth_or_more", "fewer_than_28")
    lines = [f"{'':32}" + "".join(f"{name:>18}" for name in columns)]
    lines += [f"{key:32}" + "".join(f"{report[name][key]:18.4g}" for name in columns) for key in report["all"]]
    low, high = report["f1_interval_95"]
    lines.append(f"F1 {report['all']['f1']:.3f}, 95 % interval {low:.3f} to {high:.3f} over {report['groups']} groups")
    lines.append(f"weights {report['weights_sha256'][:16]}, {report['seconds_per_image']:.2f} s an image")
    return "\n".join(lines)
