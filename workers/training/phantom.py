"""A procedural panoramic: jaw bone, smile curve, 32 tooth shapes, gaps, restorations, noise.

It is a schematic drawing, not an anatomy: it lets a machine without any patient image show the whole path, and tests
know exactly which teeth are in it. Anatomical sizes after Ash & Nelson, Dental Anatomy (millimetres).
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit
from skimage.draw import polygon

from workers.training.phantom_teeth import LOWER, UPPER, Place, draw_tooth, place_teeth

Plane = NDArray[np.float32]
# From the chin along the lower border, up the ramus, over condyle, notch and coronoid process, down to the teeth:
# x from the midline in half widths, y in heights.
_LOWER_BORDER = ((0, 0.93), (0.2, 0.925), (0.42, 0.89), (0.62, 0.82), (0.76, 0.71), (0.82, 0.58), (0.85, 0.40))
_CONDYLE = ((0.875, 0.28), (0.90, 0.21), (0.88, 0.165), (0.83, 0.17), (0.80, 0.23), (0.76, 0.29))
_CORONOID = (
    (0.70, 0.25),
    (0.66, 0.215),
    (0.62, 0.27),
    (0.60, 0.40),
    (0.58, 0.46),
    (0.40, 0.50),
    (0.2, 0.50),
    (0, 0.50),
)
_DRAWN_ROWS = 752  # drawn at this height at most and enlarged: nothing in a panoramic is sharper


@dataclass(frozen=True, slots=True)
class Phantom:
    """A drawn panoramic.

    Attributes:
        pixels: uint16 (rows, columns), 12 bit, bone and teeth bright, patient's right at the image's left.
        labels: uint8 (rows, columns), FDI number of the tooth at each pixel, 0 elsewhere.
        missing: FDI numbers of the teeth left out, ascending.
    """

    pixels: NDArray[np.uint16]
    labels: NDArray[np.uint8]
    missing: tuple[int, ...]


def panoramic_phantom(
    seed: int,
    rows: int = 1504,
    columns: int = 2880,
    missing: Collection[int] | None = None,
    restorations: bool = True,  # noqa: FBT001, FBT002 - reads well at every call: restorations=False
) -> Phantom:
    """Draw the phantom of a seed; the same arguments give the same pixels.

    Args:
        seed: of everything random: anatomy, positioning, exposure, noise.
        rows, columns: size of the image in pixels.
        missing: FDI numbers to leave out; None draws them at random, () leaves none out.
        restorations: draw fillings, crowns and root fillings on some teeth.
    """
    rng = np.random.default_rng(seed)
    absent = frozenset(_random_missing(rng) if missing is None else missing)
    shrink = min(1.0, _DRAWN_ROWS / rows)
    height, width = round(rows * shrink), round(columns * shrink)
    places = place_teeth(rng, height, width, absent)
    image = _head(rng, height, width, places)
    labels = np.zeros((height, width), np.uint8)
    for place in places.values():
        draw_tooth(rng, image, labels, place, restored=restorations)
    image = ndimage.gaussian_filter(image, height / 900 * rng.uniform(0.7, 1.5)).astype(np.float32)
    image = _exposure(rng, image)
    if (height, width) != (rows, columns):
        image = ndimage.zoom(image, (rows / height, columns / width), order=1, grid_mode=True, mode="nearest")
        labels = labels[(np.arange(rows) * height // rows)[:, None], (np.arange(columns) * width // columns)[None]]
    grain = rng.standard_normal((rows, columns), np.float32) * np.float32(rng.uniform(0.006, 0.02))
    pixels = np.clip((image + grain) * 3700 + 150, 0, 4095).astype(np.uint16)
    return Phantom(pixels, labels, tuple(sorted(absent & {*UPPER, *LOWER})))


def _random_missing(rng: np.random.Generator) -> set[int]:
    """Third molars missing often, single teeth sometimes, a run of neighbours now and then."""
    absent = {fdi for fdi in (18, 28, 38, 48) if rng.random() < 0.35}  # noqa: PLR2004 - see the chances below
    kind = rng.random()
    if kind < 0.35:  # noqa: PLR2004 - about a third keep all others
        return absent
    absent |= set(rng.choice(UPPER + LOWER, size=int(rng.integers(1, 6)), replace=False).tolist())
    if kind > 0.8:  # noqa: PLR2004 - a fifth lose a run of neighbours too
        arch = UPPER if rng.random() < 0.5 else LOWER  # noqa: PLR2004 - either jaw
        start = int(rng.integers(0, 12))
        absent |= set(arch[start : start + int(rng.integers(3, 8))])
    return absent


def _head(rng: np.random.Generator, height: int, width: int, places: dict[int, Place]) -> Plane:
    """Everything but the teeth: soft tissue, bone, sinuses, air and the shadow of the spine."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = (x / width - 0.5) * 2, y / height
    image = 0.20 + 0.06 * np.exp(-((u / 0.9) ** 2)) - 0.12 * np.clip((v - 0.88) * 8, 0, 1)
    image = image + 0.22 * np.exp(-(((np.abs(u) - 1.0) / 0.06) ** 2))  # spine at both edges
    bone = _mandible(rng, height, width) * _below_necks(height, width, places)
    maxilla = _maxilla(height, width, places)
    soft = ndimage.gaussian_filter(bone, height / 170)
    rim = np.clip(ndimage.gaussian_gradient_magnitude(bone, height / 160) * height / 60, 0, 1)
    image = image + (0.16 + rng.uniform(-0.03, 0.03)) * soft + 0.17 * rim
    image = image + 0.13 * ndimage.gaussian_filter(maxilla, height / 60)
    image = image + _trabeculae(rng, height, width) * (0.25 + np.clip(soft + maxilla, 0, 1))
    for side in (-1, 1):  # maxillary sinus: dark with a thin bright floor
        ring = ((u - side * 0.36) / 0.19) ** 2 + ((v - 0.27) / 0.11) ** 2
        image = image - 0.10 * expit((1 - ring) * 9) + 0.10 * np.exp(-(((ring - 1) / 0.12) ** 2))
    nose = (u / 0.13) ** 2 + ((v - 0.20) / 0.16) ** 2
    image = image - 0.10 * expit((1 - nose) * 6) + 0.10 * np.exp(-((u / 0.012) ** 2)) * (v < 0.33)  # noqa: PLR2004
    palate = np.exp(-(((v - 0.335 - 0.02 * u**2) / 0.008) ** 2)) * (np.abs(u) < 0.5)  # noqa: PLR2004 - half the width
    image = image + 0.14 * palate
    canal = np.exp(-(((v - 0.80 + 0.22 * u**2) / 0.008) ** 2)) * (np.abs(u) > 0.26) * (np.abs(u) < 0.7)  # noqa: PLR2004
    image = image - 0.06 * canal * soft
    airway = np.exp(-(((v - 0.36 - 0.05 * np.abs(u)) / 0.03) ** 2)) * (np.abs(u) > 0.45)  # noqa: PLR2004 - behind the teeth
    ghost = np.exp(-((u / rng.uniform(0.14, 0.22)) ** 4)) * np.clip((v - 0.3) * 2, 0, 1)
    head: Plane = (image - 0.10 * airway + rng.uniform(0.03, 0.12) * ghost).astype(np.float32)
    return head


def _mandible(rng: np.random.Generator, height: int, width: int) -> Plane:
    """1 inside the lower jaw with both rami, condyles and coronoid processes, else 0."""
    sag, wide = rng.uniform(-0.015, 0.02), rng.uniform(0.96, 1.04)
    half = np.array(_LOWER_BORDER + _CONDYLE + _CORONOID)
    x = np.concatenate([half[:, 0] * wide, -half[::-1, 0] * wide])
    y = np.concatenate([half[:, 1], half[::-1, 1]]) + sag
    bone = np.zeros((height, width), np.float32)
    rr, cc = polygon(y * height, (x / 2 + 0.5) * width, bone.shape)
    bone[rr, cc] = 1
    return bone


def _necks(width: int, places: dict[int, Place], *, upper: bool) -> Plane | None:
    """Row of the bone's edge at each column, along the necks of one jaw's teeth; None where no tooth stands."""
    teeth = sorted((p for p in places.values() if p.upper == upper), key=lambda p: p.x)
    if not teeth:
        return None
    columns = np.arange(width, dtype=np.float32)
    edge = [p.y + (-1 if upper else 1) * 1.12 * p.crown for p in teeth]
    smooth: Plane = ndimage.gaussian_filter1d(np.interp(columns, [p.x for p in teeth], edge), width / 60)
    return smooth.astype(np.float32)


def _maxilla(height: int, width: int, places: dict[int, Place]) -> Plane:
    """1 where the upper alveolar bone is: from the palate down to the necks of the teeth that stand there."""
    necks = _necks(width, places, upper=True)
    edge = necks if necks is not None else np.full(width, 0.45 * height, np.float32)
    edge = _rise(edge, 0.30 * height, 0.27, 0.35)
    rows = np.arange(height)[:, None]
    inside = (rows > 0.30 * height) & (rows < edge[None])
    return inside.astype(np.float32)


def _below_necks(height: int, width: int, places: dict[int, Place]) -> Plane:
    """0 above the necks of the lower teeth, between the rami; else 1."""
    necks = _necks(width, places, upper=False)
    edge = necks if necks is not None else np.full(width, 0.68 * height, np.float32)
    edge = _rise(edge, 0.0, 0.25, 0.345)
    return (np.arange(height)[:, None] >= edge[None]).astype(np.float32)


def _rise(edge: Plane, to: float, begin: float, end: float) -> Plane:
    """Let an edge over the columns curve to another row between two distances from the midline (fractions)."""
    away = np.abs(np.arange(len(edge)) / len(edge) - 0.5)
    share = np.clip((away - begin) / (end - begin), 0, 1) ** 2
    risen: Plane = (edge * (1 - share) + to * share).astype(np.float32)
    return risen


def _trabeculae(rng: np.random.Generator, height: int, width: int) -> Plane:
    fine = ndimage.gaussian_filter(rng.standard_normal((height, width), np.float32), height / 420)
    coarse = ndimage.gaussian_filter(rng.standard_normal((height // 4, width // 4), np.float32), height / 200)
    coarse = ndimage.zoom(coarse, (height / (height // 4), width / (width // 4)), order=1)[:height, :width]
    bone: Plane = 0.022 * fine / fine.std() + 0.030 * coarse / coarse.std()
    return bone


def _exposure(rng: np.random.Generator, image: Plane) -> Plane:
    """Uneven exposure and the tone curve of the device."""
    field = ndimage.zoom(rng.standard_normal((3, 4)), (image.shape[0] / 3, image.shape[1] / 4), order=1)
    field = field[: image.shape[0], : image.shape[1]]
    bright = np.clip(image * (1 + 0.05 * field) * rng.uniform(1.0, 1.25) + rng.uniform(-0.03, 0.05), 0, 1.05)
    toned: Plane = (bright ** rng.uniform(0.8, 1.25)).astype(np.float32)
    return toned
