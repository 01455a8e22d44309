"""What no model should see: pictures too dark, empty, tiny, or not what their header says. Runs before the models.

Tests of grey values and colours only, so that the reason can be named and checked by eye. Their limits stand outside
what 3258 real images of six sets have (panoramics, spines, limbs, photographs): none of those is refused.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from service.domain.finding import Algorithm
from workers.models.film import cut, film_box
from workers.models.header import text
from workers.pixels import Image
from workers.regions import Detection

NAME = "image_gate"
NO_TEETH = "no teeth are seen in it; jaws without teeth cannot be told from an image that shows no jaws"
NO_CLEAR_TEETH = "nothing in it is more likely a tooth than not; it may show no jaws, or too little can be seen of them"
UPSIDE_DOWN = (
    "it seems to lie upside down, and does not say where up is; send it upright, or with its Patient Orientation"
)
NOTE_EDGE = "teeth touch the edge of the image, so the arch may be cut off and numbers may be wrong"
_RADIOGRAPHS = {"PX", "IO", "DX", "CR", "DR", "RG", "RF"}
_SIDE = 1024  # pixels of the longer side at which letters are looked for
_INK = (0.4, 0.6)  # darker than the first, or brighter than the second
_LETTER = (4, 0.04)  # height: pixels at least, share of the longer side at most
_FILLED = 0.2  # share of its box that a letter covers at least


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the gate closes; in brackets the most extreme of the 3258 real images.

    Attributes:
        least_side: pixels [33]; less shows nothing.
        least_bright: the 99th percentile of an image that is not too dark [0.29].
        least_contrast: of the grey scale between the 1st and 99th percentile [0.26].
        least_middle: share of pixels, wide borders left out, that are neither black nor white [0.064]; less is a page
            or a drawing.
        most_ground: share of white or of black pixels [0.80] of an image with ``most_letters``.
        most_letters: spots of the size of letters on such ground [49]; more is a page of text.
        most_colour: mean saturation of an X-ray [0, photographs 0.077 and more].
        least_tooth: certainty of a panoramic's surest tooth [0.77 of 151; photographs in grey at most 0.45].
        most_cut: teeth of a panoramic that touch its edge [0 of 350 images].
    """

    least_side: int = 32
    least_bright: float = 0.2
    least_contrast: float = 0.15
    least_middle: float = 0.05
    most_ground: float = 0.55
    most_letters: int = 100
    most_colour: float = 0.06
    least_tooth: float = 0.5
    most_cut: int = 2


LIMITS = Limits()
ALGORITHM = Algorithm(
    name=NAME,
    version="1.1.0",
    weights_sha256=hashlib.sha256(repr(sorted(asdict(LIMITS).items())).encode()).hexdigest(),
    manufacturer="Dentgate",
    research=False,
)


def refuse(image: Image) -> str:
    """Why no model should see an image, in words for the user; empty if nothing speaks against it."""
    rows, columns = image.pixels.shape
    if min(rows, columns) < LIMITS.least_side:
        return f"the image is too small ({columns} x {rows} pixels)"
    grey = _reduced(image.pixels)
    low, high = np.percentile(grey, (1, 99))
    if high < LIMITS.least_bright:
        return "the image is too dark"
    if high - low < LIMITS.least_contrast:
        return "the image is nearly blank"
    return _not_an_xray(image, grey)


def _not_an_xray(image: Image, grey: NDArray[np.float32]) -> str:
    """Pages, drawings, and photographs that came as X-rays."""
    white, black = float((grey > 0.97).mean()), float((grey < 0.03).mean())  # noqa: PLR2004 - of the grey scale
    film = cut(grey, film_box(grey))
    middle = float(((film > 0.15) & (film < 0.85)).mean())  # noqa: PLR2004 - of the grey scale
    if middle < LIMITS.least_middle:
        return "it is a page or a drawing in black and white, not an X-ray or a photograph"
    if max(white, black) > LIMITS.most_ground and _letters(grey) > LIMITS.most_letters:
        return "it is a page of text, not an X-ray or a photograph"
    if image.colour is not None and text(image.header, "Modality") in _RADIOGRAPHS:
        saturation = image.colour.max(2) - image.colour.min(2)
        if saturation.mean() > LIMITS.most_colour:
            return "it is a colour picture, but came as an X-ray"
    return ""


def judge_teeth(teeth: Sequence[Detection], *, panoramic: bool) -> str:
    """Why an image whose teeth were looked for cannot be read; empty if it can.

    "No teeth found" would be said of a spine, a photograph or a page as well, and be read as "this patient has none".
    A film may show one tooth whose number is open; on a panoramic some tooth is clear.
    """
    certainties = [tooth.certainty for tooth in teeth if tooth.kind == "tooth"]
    if not certainties:
        return NO_TEETH
    return NO_CLEAR_TEETH if panoramic and max(certainties) < LIMITS.least_tooth else ""


def judge_arch(teeth: Sequence[Detection], shape: tuple[int, ...]) -> tuple[str, tuple[str, ...]]:
    """Whether a panoramic cuts off the dental arch.

    Args:
        teeth: as found, in the oriented image.
        shape: rows and columns of that image.

    Returns:
        Why the image cannot be read (empty: it can), and notes for the reader.
    """
    boxes = [tooth.box for tooth in teeth if tooth.kind == "tooth" and tooth.box is not None]
    cut = sum(x0 <= 1 or y0 <= 1 or x1 >= shape[1] - 1 or y1 >= shape[0] - 1 for x0, y0, x1, y1 in boxes)
    if cut > LIMITS.most_cut:
        return f"the dental arch is cut off: {cut} teeth touch the edge of the image", ()
    return "", (NOTE_EDGE,) if cut else ()


def _reduced(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image with means of blocks, its longer side at most ``_SIDE``."""
    step = -(-max(pixels.shape) // _SIDE)
    if step == 1:
        return pixels
    rows, columns = (side // step for side in pixels.shape)
    blocks = pixels[: rows * step, : columns * step].reshape(rows, step, columns, step)
    lines = functools.reduce(np.add, np.moveaxis(blocks, 3, 0))  # what blocks.mean((1, 3)) gives, four times as quickly
    sums: NDArray[np.float32] = functools.reduce(np.add, np.moveaxis(lines, 1, 0))
    return sums / np.float32(step * step)


def _letters(grey: NDArray[np.float32]) -> int:
    """Spots of the size of letters, dark or bright, whichever are more."""
    most = _LETTER[1] * max(grey.shape)
    counts = []
    for ink in (grey < _INK[0], grey > _INK[1]):
        labels, _ = ndimage.label(ink)
        sizes = np.bincount(labels.ravel())[1:]
        count = 0
        for (down, across), size in zip(ndimage.find_objects(labels), sizes, strict=True):
            height, width = down.stop - down.start, across.stop - across.start
            letter = _LETTER[0] <= height <= most and width <= 1.5 * most  # "m" is wider than high
            count += letter and size >= _FILLED * height * width
        counts.append(count)
    return max(counts)
