"""What the object network shall see: a random view of a film, heat of the boxes' centres, their sizes."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.arch import Frame
from workers.models.objects import object_canvas, object_frame
from workers.models.tooth_crops import Jaws
from workers.networks.object_net import KINDS
from workers.training.conditions.labels import Labelled

#: Label of a box -> kind of object; a box that is not here is left out of the loss.
KIND_OF: dict[str, str] = {
    "implant": "implant", "implant?": "implant", "impacted": "impacted",
    "caries_destroyed": "destroyed", "root_stump?": "destroyed", "unclear?": "destroyed",
    "filling": "restored", "filling?": "restored", "crown": "restored", "crown?": "restored", "rct": "restored",
    "rct?": "restored", "pontic": "restored", "pontic?": "restored", "filling_or_crown": "restored",
}  # fmt: skip
_SPREAD = 0.11  # of the heat, of the box's height and width


@dataclass(frozen=True, slots=True)
class View:
    """Grey float32 (rows, columns) 0 to 1, and (KINDS + 3, rows / 2, columns / 2): heat, log size, weight of size."""

    pixels: NDArray[np.float32]
    targets: NDArray[np.float32]


def draw_view(jaws: Jaws, boxes: tuple[Labelled, ...], size: tuple[int, int], rng: np.random.Generator | None) -> View:
    """A view of a film; ``rng`` None: the one that the model takes."""
    frame, mirrored = object_frame(jaws), False
    if rng is not None:
        frame, mirrored = _shaken(frame, rng), bool(rng.random() < 0.5)  # noqa: PLR2004 - a fair coin
    pixels, targets = object_canvas(jaws, frame, size), _targets(boxes, frame, (jaws.rows, jaws.columns), size)
    if mirrored:
        pixels, targets = pixels[:, ::-1], targets[:, :, ::-1]
    return View(pixels, targets)


def _shaken(frame: Frame, rng: np.random.Generator) -> Frame:
    zoom, shape = rng.uniform(-0.2, 0.2), rng.uniform(-0.12, 0.12)
    return Frame(
        x=frame.x + frame.half_width * rng.uniform(-0.15, 0.15),
        y=frame.y + frame.half_height * rng.uniform(-0.15, 0.15),
        half_width=frame.half_width * math.exp(zoom + shape),
        half_height=frame.half_height * math.exp(zoom - shape),
    )


def _targets(
    boxes: tuple[Labelled, ...], frame: Frame, shape: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.float32]:
    rows, columns = size[0] // 2, size[1] // 2
    targets = np.zeros((len(KINDS) + 3, rows, columns), np.float32)
    down, across = np.arange(rows)[:, None] + 0.5, np.arange(columns)[None] + 0.5
    scale = np.array([columns / (2 * frame.half_width * shape[1]), rows / (2 * frame.half_height * shape[0])])
    corner = np.array([(frame.x - frame.half_width) * shape[1], (frame.y - frame.half_height) * shape[0]])
    for labelled in boxes:
        (x0, y0), (x1, y1) = (np.array(labelled.box).reshape(2, 2) - corner) * scale
        row, column = int((y0 + y1) / 2), int((x0 + x1) / 2)
        kind = KIND_OF.get(labelled.name)
        if kind is None or not (0 <= row < rows and 0 <= column < columns):
            continue
        spread = (max(_SPREAD * (y1 - y0), 0.8), max(_SPREAD * (x1 - x0), 0.8))
        heat = np.exp(-(((down - row - 0.5) / spread[0]) ** 2 + ((across - column - 0.5) / spread[1]) ** 2) / 2)
        plane = targets[KINDS.index(kind)]
        np.maximum(plane, heat, out=plane)
        near = (slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2))
        targets[(len(KINDS), *near)] = math.log(max(y1 - y0, 1))
        targets[(len(KINDS) + 1, *near)] = math.log(max(x1 - x0, 1))
        targets[(len(KINDS) + 2, *near)] = 1
    return targets
