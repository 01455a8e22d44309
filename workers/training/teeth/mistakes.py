"""The films with most wrong numbers as pictures on which a dentist sees what went wrong."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from workers.regions import Detection
from workers.training.report import Block, Gallery, Prose
from workers.training.teeth.cases import Case
from workers.training.teeth.scoring import Box, ImageScore, Truth, located, matches, overlap_of

_WIDTH = 900  # pixels of a picture
_TEXT = 15
_TITLE = "Films with most mistakes"
_NOTE = (
    "Outlines: green, found with the right number; red, found with a wrong number (below it the labelled one); "
    "yellow, labelled and not found; blue, found where none is labelled. Some may be wrong labels."
)
_RIGHT, _WRONG, _MISSED, _EXTRA = (60, 220, 90), (255, 70, 70), (255, 215, 0), (90, 170, 255)
Colour = tuple[int, int, int]


class Worst:
    """Keeps the films with most wrong numbers; of equal ones, those with most teeth missed or too many."""

    def __init__(self, most: int = 8) -> None:
        """``most``: how many are kept."""
        self._most = most
        self._kept: list[tuple[tuple[int, int], str, NDArray[np.uint8]]] = []

    def add(self, case: Case, found: Sequence[Detection], truths: Sequence[Truth], score: ImageScore) -> None:
        """Keep a film if it is among the worst; one without a mistake never is."""
        wrong, missed, extra = len(score.confused), score.true - score.detected, score.found - score.detected
        rank = (wrong, missed + extra)
        if rank == (0, 0) or (len(self._kept) == self._most and rank <= self._kept[-1][0]):
            return
        text = f"{case.name or case.group}: of {score.true} teeth {wrong} with a wrong number, {missed} not found"
        text += f"; {extra} found where none is labelled" if extra else ""
        kept = [*self._kept, (rank, text, drawn(case.pixels, found, truths))]
        self._kept = sorted(kept, key=lambda film: film[0], reverse=True)[: self._most]

    def block(self) -> Block:
        """For the report."""
        if not self._kept:
            return Prose(_TITLE, ["There are none on these images."])
        return Gallery(_TITLE, [(picture, text) for _, text, picture in self._kept], _NOTE, wide=True)


def drawn(pixels: NDArray[np.float32], found: Sequence[Detection], truths: Sequence[Truth]) -> NDArray[np.uint8]:
    """A film (rows, columns; 0..1) with the outlines and numbers of its teeth, uint8 (rows, columns, 3)."""
    scale = _WIDTH / pixels.shape[1]
    size = (_WIDTH, max(round(pixels.shape[0] * scale), 1))
    grey = Picture.fromarray(np.round(pixels * 255).astype(np.uint8)).resize(size, Picture.Resampling.BOX)
    canvas = np.array(grey.convert("RGB"))
    teeth, notes = located(found), list[tuple[Box, str, Colour]]()
    pairs = dict(matches(overlap_of(teeth, truths)))
    seen = set(pairs.values())
    for number, truth in enumerate(truths):
        if number not in seen:
            _outline(canvas, truth.box, truth.mask, scale, _MISSED)
            notes.append((truth.box, f"{truth.tooth}", _MISSED))
    for number, tooth in enumerate(teeth):
        labelled = truths[pairs[number]].tooth if number in pairs else None
        colour = _EXTRA if labelled is None else _RIGHT if labelled == tooth.tooth else _WRONG
        _outline(canvas, tooth.box, tooth.mask, scale, colour)
        if labelled != tooth.tooth:
            text = f"{tooth.tooth}" if labelled is None else f"{tooth.tooth}\n({labelled})"
            notes.append((tooth.box, text, colour))
    return _noted(canvas, notes, scale)


def _outline(canvas: NDArray[np.uint8], box: Box, mask: NDArray[np.bool_], scale: float, colour: Colour) -> None:
    """Draw the rim of a mask that lies in a box, both in pixels of the film, onto a scaled canvas."""
    x, y = round(box[0] * scale), round(box[1] * scale)
    size = (max(round((box[2] - box[0]) * scale), 1), max(round((box[3] - box[1]) * scale), 1))
    whole = np.asarray(Picture.fromarray(mask).resize(size, Picture.Resampling.NEAREST))
    part = canvas[y : y + size[1], x : x + size[0]]
    whole = whole[: part.shape[0], : part.shape[1]]
    part[whole & ~ndimage.binary_erosion(whole, iterations=2)] = colour


def _noted(canvas: NDArray[np.uint8], notes: Sequence[tuple[Box, str, Colour]], scale: float) -> NDArray[np.uint8]:
    """The canvas with a text in the middle of each box, on black so that it can be read on bright teeth."""
    picture = Picture.fromarray(canvas)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT)
    for box, text, colour in notes:
        middle = ((box[0] + box[2]) / 2 * scale, (box[1] + box[3]) / 2 * scale)
        pen.rectangle(pen.textbbox(middle, text, font, anchor="mm", align="center"), fill=(0, 0, 0))
        pen.text(middle, text, colour, font, anchor="mm", align="center")
    return np.asarray(picture)
