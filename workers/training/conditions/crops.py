"""Training crops: as the model will cut them, around teeth that the tooth model found, and around labelled boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from workers.models.panoramic_teeth import LoadedPanoramicTeeth
from workers.models.tooth_crops import Jaws, Place, overlap
from workers.pixels import Image
from workers.regions import Detection
from workers.training.conditions.labels import Box, Film, healthy, merged
from workers.training.images.samples import Sample
from workers.training.progress import Progress
from workers.training.teeth.surround import cut_surround

SAME = 0.4  # overlap of a labelled box and a found tooth
_APART = 0.15  # less overlap with every box: a tooth without a label
_EMPTY = 6  # places without any tooth, of each film
_TRIES = 60


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A film, the teeth found on it, and its jaws."""

    film: Film
    teeth: tuple[Detection, ...]
    jaws: Jaws

    @property
    def image(self) -> Image:
        """As the pixel reader hands it on."""
        return image_of(self.film.pixels)


def image_of(pixels: NDArray[np.uint8]) -> Image:
    """An oriented image of a film."""
    return Image(pixels.astype(np.float32) / np.float32(255), Dataset(), flipped_x=False, flipped_y=False, notes=())


def without_surround(film: Film) -> Film:
    """The same film where the white around it is filled with what lies beside it; what was nowhere white stays."""
    cut = cut_surround(film.pixels)
    rows, columns = film.pixels.shape
    below, right = rows - cut.top - cut.pixels.shape[0], columns - cut.left - cut.pixels.shape[1]
    return replace(film, pixels=np.pad(cut.pixels, ((cut.top, below), (cut.left, right)), mode="edge"))


def find_teeth(films: Sequence[Film], model: LoadedPanoramicTeeth) -> list[Case]:
    """Run the tooth model over films."""
    progress, cases = Progress(), []
    for done, film in enumerate(films, 1):
        image = image_of(film.pixels)
        teeth = tuple(d for d in model.analyze(image) if d.kind == "tooth")
        cases.append(Case(film, teeth, Jaws(image.pixels, teeth)))
        progress.tell(f"teeth of {done} of {len(films)} films")
    progress.end(f"{sum(len(case.teeth) for case in cases)} teeth on {len(films)} films")
    return cases


def matches(case: Case) -> tuple[list[int | None], list[list[int]]]:
    """For each box the tooth around which it lies (None: not found), and for each tooth its boxes."""
    boxes, teeth = [b.box for b in case.film.boxes], [d.box for d in case.teeth if d.box is not None]
    of_box: list[int | None] = [None] * len(boxes)
    of_tooth: list[list[int]] = [[] for _ in teeth]
    if boxes and teeth:
        shared = overlap(boxes, teeth)
        for k, row in enumerate(shared):
            best = int(row.argmax())
            if row[best] >= SAME:
                of_box[k] = best
                of_tooth[best].append(k)
    return of_box, of_tooth


def training_samples(case: Case, size: int, rng: np.random.Generator) -> list[Sample]:
    """Crops of one film: boxes as drawn, the teeth they mean, teeth without a box, and places without a tooth."""
    of_box, of_tooth = matches(case)
    boxes, name = case.film.boxes, case.film.name
    samples = []

    def add(place: Place, labels: NDArray[np.float32], group: str) -> None:
        if not np.isnan(labels).all():
            samples.append(Sample(case.jaws.crop(place, size), labels, f"{name}#{group}", name))

    for k, labelled in enumerate(boxes):
        mine = of_box[k]
        together = [labelled.labels] if mine is None else [boxes[i].labels for i in of_tooth[mine]]
        add(Place(labelled.box), merged(together), f"b{k}" if mine is None else f"t{mine}")
    for k, tooth in enumerate(case.teeth):
        if tooth.box is None:
            continue
        if of_tooth[k]:
            labels = merged([boxes[i].labels for i in of_tooth[k]])
        elif boxes and overlap([tooth.box], [b.box for b in boxes]).max() >= _APART:
            continue
        else:
            labels = healthy()
        add(Place(tooth.box, tooth.mask, tooth.tooth), labels, f"t{k}")
    for k, box in enumerate(_empty(case, rng)):
        add(Place(box), healthy(), f"e{k}")
    return samples


def _empty(case: Case, rng: np.random.Generator) -> list[Box]:
    """Boxes of a tooth's size around the arch that meet no tooth and no label."""
    there = [tuple(b.box) for b in case.film.boxes] + [tuple(d.box) for d in case.teeth if d.box is not None]
    frame, rows, columns = case.jaws.frame, case.jaws.rows, case.jaws.columns
    found: list[Box] = []
    for _ in range(_TRIES):
        high = rows * frame.half_height * rng.uniform(0.3, 0.6)
        wide = high * rng.uniform(0.35, 0.9)
        x = columns * (frame.x + frame.half_width * rng.uniform(-1, 1))
        y = rows * (frame.y + frame.half_height * rng.uniform(-0.9, 0.9))
        box = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
        inside = box[0] >= 0 and box[1] >= 0 and box[2] <= columns and box[3] <= rows
        if inside and (not there or overlap([box], there).max() < _APART):
            found.append(box)
        if len(found) == _EMPTY:
            break
    return found
