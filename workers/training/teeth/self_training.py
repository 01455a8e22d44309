"""Films without tooth numbers, numbered by a model that stands, for a next training: self-training (Scudder 1965).

Collections hold films that somebody turned upside down; the way round in which the model is surer is taken as right.
Each film is analysed as it is and as other devices might show it. A tooth keeps its number only where all views agree
and are sure, and only in a jaw where most teeth do; everything else that may be a tooth becomes ``UNKNOWN``, which the
loss ignores. Boxes labelled implant in ``labels/relabelled.csv`` are no teeth.
"""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage

from service.domain.errors import ConfigurationError
from workers.models.panoramic_teeth import LoadedPanoramicTeeth
from workers.training.grey import read_grey
from workers.training.progress import Progress
from workers.training.teeth.panoramics import UNKNOWN, image_of
from workers.training.teeth.surround import Cut, cut_surround

Plane = NDArray[np.float32]
_CLEAR = 0.01  # least lead of one way round over the other, of the sum of both certainties
_AGREE = 0.6  # least IoU of the masks of two views
_SURE = 0.9  # least mean certainty
_JAW_SHARE = 0.6  # of a jaw's teeth that must be sure, or none of it counts
_FEWEST = 4  # sure teeth; a film with fewer teaches nothing
_NO_TOOTH = {"implant"}
_COLUMNS = ("file", "split", "group", "label_file")


@dataclass(frozen=True, slots=True, eq=False)
class Opinion:
    """A tooth as one view shows it; mask bool (rows, columns) of the film."""

    tooth: int
    certainty: float
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled box x0, y0, x1, y1 in pixels of the file, and what it holds."""

    box: tuple[float, float, float, float]
    label: str


def number_films(films: Path, out: Path, model: LoadedPanoramicTeeth, split: str = "train") -> int:
    """Write a data set of the films that could be numbered: ``out``/manifest.csv, images/, labels/.

    Args:
        films: folder with manifest.csv, images/ and, where there are any, labels/boxes.csv and labels/relabelled.csv.
        out: folder for the data set.
        model: that numbers.
        split: of the manifest.

    Returns:
        How many films were kept.

    Raises:
        ConfigurationError: the folder is no such collection.
    """
    rows = [row for row in _read(films / "manifest.csv") if row.get("split") == split]
    if not rows:
        message = f"{films / 'manifest.csv'} has no film of split {split!r}"
        raise ConfigurationError(message)
    marks, progress, kept = _marks(films), Progress(), list[tuple[str, str, str, str]]()
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for done, row in enumerate(rows, 1):
        cut = cut_surround(read_grey(films / row["file"]))
        up = upright(scaled := cut.pixels.astype(np.float32) / np.float32(255), model)
        labels = label_film(np.ascontiguousarray(scaled[::up]), model) if up else None
        if labels is not None:
            name = Path(row["file"]).stem + ".png"
            Picture.fromarray(cut.pixels[::up]).save(out / "images" / name)
            Picture.fromarray(mark(labels[::up], marks[row["file"]], cut)[::up]).save(out / "labels" / name)
            kept.append((f"images/{name}", split, row["group"], f"labels/{name}"))
        progress.tell(f"{done} of {len(rows)} films, {len(kept)} kept")
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_COLUMNS, *kept])
    progress.end(f"{len(kept)} of {len(rows)} films kept")
    return len(kept)


def upright(pixels: Plane, model: LoadedPanoramicTeeth) -> int:
    """1 if a film is upright, -1 if it is upside down, 0 if neither is clear.

    Of 60 films looked at, all below 0 were upside down and all above upright.
    """
    sums = [sum(found.certainty for found in model.analyze(image_of(turned))) for turned in (pixels, pixels[::-1])]
    lead = (sums[0] - sums[1]) / max(sum(sums), 1.0)
    return 0 if abs(lead) < _CLEAR else 1 if lead > 0 else -1


def label_film(pixels: Plane, model: LoadedPanoramicTeeth) -> NDArray[np.uint8] | None:
    """FDI label map of a film (rows, columns; 0..1), UNKNOWN where views differ; None where too little is sure."""
    views = [_numbered(view, model, pixels.shape) for view in _views(pixels)]
    labels = np.zeros(pixels.shape, np.uint8)
    for opinion in (opinion for view in views for opinion in view):
        labels[ndimage.binary_dilation(opinion.mask)] = UNKNOWN
    sure = _sure(views)
    for jaw in ((1, 2), (3, 4)):
        mine = {tooth: mask for tooth, mask in sure.items() if tooth // 10 in jaw}
        if len(mine) < _JAW_SHARE * sum(opinion.tooth // 10 in jaw for opinion in views[0]):
            continue
        for mask in mine.values():  # what one view saw around a sure tooth is its rim
            labels[ndimage.binary_dilation(mask, iterations=2) & (labels == UNKNOWN) & ~_others(views, mask)] = 0
        for tooth, mask in mine.items():
            labels[mask] = tooth
    numbers = np.unique(labels[(labels > 0) & (labels < UNKNOWN)])
    return labels if len(numbers) >= _FEWEST else None


def mark(labels: NDArray[np.uint8], marks: Sequence[Mark], cut: Cut) -> NDArray[np.uint8]:
    """The labels with what is known of boxes: no number for implants, none assumed where a boxed tooth has none."""
    labels = labels.copy()
    for each in marks:
        x0, y0, x1, y1 = (round(v) for v in each.box)
        inside = (
            slice(max(y0 - cut.top, 0), max(y1 - cut.top, 0)),
            slice(max(x0 - cut.left, 0), max(x1 - cut.left, 0)),
        )
        part = labels[inside]
        if each.label in _NO_TOOTH:
            labels[np.isin(labels, _mostly_in(labels, inside))] = 0
            labels[inside] = 0
        elif each.label == "pontic" or (not ((part > 0) & (part < UNKNOWN)).any()):
            labels[np.isin(labels, _mostly_in(labels, inside))] = UNKNOWN
            labels[inside] = np.where(part == 0, UNKNOWN, labels[inside])
    return labels


def _mostly_in(labels: NDArray[np.uint8], inside: tuple[slice, slice]) -> list[int]:
    """Numbers with more than half of their pixels in a box."""
    there, all_there = (np.bincount(plane.ravel(), minlength=256) for plane in (labels[inside], labels))
    return [int(n) for n in np.nonzero((there > all_there / 2) & (all_there > 0))[0] if 0 < n < UNKNOWN]


def _views(pixels: Plane) -> list[Plane]:
    """As it is; with local contrast only; darker and wider."""
    flat = np.clip(0.5 + 0.8 * (pixels - ndimage.gaussian_filter(pixels, pixels.shape[0] / 8)), 0, 1)
    wide = ndimage.zoom(pixels, (1, 1.15), order=1, grid_mode=True, mode="nearest").clip(0, 1) ** np.float32(1.4)
    return [pixels, flat.astype(np.float32), wide.astype(np.float32)]


def _numbered(view: Plane, model: LoadedPanoramicTeeth, shape: tuple[int, ...]) -> list[Opinion]:
    """Teeth of a view, their masks in the pixels of the film."""
    columns = np.arange(shape[1]) * view.shape[1] // shape[1]
    opinions = []
    for found in model.analyze(image_of(view)):
        if found.tooth is None or found.box is None or found.mask is None:
            continue
        x0, y0, x1, y1 = found.box
        mask = np.zeros(view.shape, np.bool_)
        mask[y0:y1, x0:x1] = found.mask
        opinions.append(Opinion(found.tooth, found.certainty, mask[:, columns]))
    return opinions


def _sure(views: list[list[Opinion]]) -> dict[int, NDArray[np.bool_]]:
    """Teeth that all views see in one place under one number and are sure of; where most of them see it."""
    sure = {}
    for first in views[0]:
        same = [first, *(o for view in views[1:] for o in view if o.tooth == first.tooth)]
        agree = len(same) == len(views) and all(_iou(first.mask, other.mask) >= _AGREE for other in same[1:])
        if agree and np.mean([opinion.certainty for opinion in same]) >= _SURE:
            sure[first.tooth] = np.sum([opinion.mask for opinion in same], 0) * 2 > len(same)
    return sure


def _others(views: list[list[Opinion]], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a view sees another tooth than the one of this mask."""
    planes = [opinion.mask for view in views for opinion in view if _iou(opinion.mask, mask) < _AGREE / 2]
    return np.any(planes, 0) if planes else np.zeros_like(mask)


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def _marks(films: Path) -> dict[str, list[Mark]]:
    """Boxes by file; a second look at a box takes the place of its first label."""
    marks: dict[str, dict[tuple[float, ...], str]] = defaultdict(dict)
    for name in ("boxes.csv", "relabelled.csv"):
        path = films / "labels" / name
        for row in _read(path) if path.is_file() else []:
            box = tuple(float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
            marks[row["file"]][box] = row.get("new_label") or row["label"]
    result: dict[str, list[Mark]] = defaultdict(list)
    for file, boxes in marks.items():
        result[file] = [Mark((box[0], box[1], box[2], box[3]), label) for box, label in boxes.items()]
    return result


def _read(path: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}); the folder must hold manifest.csv and images/"
        raise ConfigurationError(message) from error
