"""Drawn spine films: vertebrae with known corners on a body with lungs, ribs and pelvis.

They show that the machinery works where no data may be kept, and give curves that no film of a data set has.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import draw

from workers.training.spine.films import VERTEBRAE, Corners

_MARGIN = (0.06, 0.10)  # of the rows, above T1 and below L5
_ASPECT = 0.42  # columns to rows
_WAIST, _RIBS = 0.5, 0.2  # of the rows: where the belly begins, how far ribs reach

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SpinePhantom:
    """A drawn film: pixels uint8 (rows, columns), bright = dense; corners (17, 4, 2) as (x, y) in its pixels."""

    pixels: NDArray[np.uint8]
    corners: Corners


def spine_phantom(seed: int, tilts: Floats | None = None, rows: int = 640) -> SpinePhantom:
    """A drawn spine.

    Args:
        seed: of everything that is drawn by chance.
        tilts: of the 17 vertebrae in degrees, positive = the image's right side is lower; None = some curves by chance.
        rows: of the film.
    """
    rng = np.random.default_rng(seed)
    corners = _corners(random_tilts(rng) if tilts is None else np.asarray(tilts, float), rows, rng)
    shape = (rows, max(round(rows * _ASPECT), int(np.ceil(np.ptp(corners[..., 0]) + rows * 0.2))))
    corners[..., 0] += shape[1] / 2 - (corners[..., 0].min() + corners[..., 0].max()) / 2
    plane = _body(shape, corners, rng)
    for k in range(VERTEBRAE):
        _draw_vertebra(plane, corners[k], rng)
    plane = ndimage.gaussian_filter(plane, rows / 900) + rng.normal(0, 0.015, shape)
    return SpinePhantom(np.round(plane.clip(0, 1) * 255).astype(np.uint8), corners.astype(np.float32))


def random_tilts(rng: np.random.Generator) -> Floats:
    """Tilts of a straight spine, or of one with one to three curves, degrees."""
    level = np.arange(VERTEBRAE)
    tilts = np.full(VERTEBRAE, rng.normal(0, 2.0))
    if rng.random() < 0.8:  # noqa: PLR2004 - most have curves
        waves, phase, size = rng.uniform(0.5, 1.6), rng.uniform(0, 2 * np.pi), rng.uniform(2, 32)
        tilts += size * np.sin(2 * np.pi * waves * level / VERTEBRAE + phase)
    jitter: Floats = tilts + rng.normal(0, 0.8, VERTEBRAE)
    return jitter


def _corners(tilts: Floats, rows: int, rng: np.random.Generator) -> Floats:
    """Vertebrae hung below each other along their mean tilt."""
    top, bottom = _MARGIN
    grow = np.linspace(1.0, rng.uniform(1.5, 1.9), VERTEBRAE)
    step = grow / grow.sum()
    width = rng.uniform(0.065, 0.08) * np.linspace(0.85, 1.3, VERTEBRAE)
    share = rng.uniform(0.7, 0.78)  # of a step that is bone
    angle = np.radians(tilts)
    across, down = np.stack([np.cos(angle), np.sin(angle)], 1), np.stack([-np.sin(angle), np.cos(angle)], 1)
    centres = np.cumsum(step[:, None] * down, 0) - step[:, None] * down / 2
    scale = (1 - top - bottom) * rows / np.ptp(centres[:, 1])
    half = across * width[:, None] / 2, down * (share * step)[:, None] / 2
    quads = [centres + sx * half[0] + sy * half[1] for sy in (-1, 1) for sx in (-1, 1)]
    corners: Floats = np.stack(quads, 1)
    corners = (corners - [0, centres[:, 1].min()]) * [scale, scale]
    corners[..., 1] += top * rows
    return corners


def _body(shape: tuple[int, int], corners: Floats, rng: np.random.Generator) -> Floats:
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns] / rows
    centres = corners.mean(1) / rows
    middle = np.interp(y[:, 0], centres[:, 1], centres[:, 0])
    off = x - middle[:, None]
    plane = (
        0.30
        + 0.16 * np.exp(-((off / 0.07) ** 2))
        + 0.06 * (y > _WAIST)
        + 0.05 * ndimage.gaussian_filter(rng.normal(0, 1, shape), rows / 20) * rows / 20
    )
    for side in (-1, 1):  # lungs
        lung = ((off - side * 0.13) / 0.085) ** 2 + ((y - 0.3) / 0.21) ** 2 < 1
        plane -= 0.16 * ndimage.gaussian_filter(lung.astype(float), rows / 80)
    for k in range(12):  # ribs
        centre = corners[k].mean(0) / rows
        fall = 0.25 + 0.05 * k
        rib = np.abs(y - centre[1] - fall * np.abs(off) ** 1.3 - 0.01) < rng.uniform(0.004, 0.006)
        plane += 0.07 * (rib & (np.abs(off) < _RIBS))
    pelvis = corners[-1].mean(0) / rows
    for side in (-1, 1):
        wing = ((x - pelvis[0] - side * 0.14) / 0.1) ** 2 + ((y - pelvis[1] - 0.1) / 0.1) ** 2 < 1
        plane += 0.12 * ndimage.gaussian_filter(wing.astype(float), rows / 150)
    darkness: Floats = plane * rng.uniform(0.85, 1.1)
    return darkness


def _draw_vertebra(plane: Floats, corners: Floats, rng: np.random.Generator) -> None:
    """Body with bright end plates and waisted sides, two pedicles and a spinous process."""
    centre = corners.mean(0)
    waist = (corners[[0, 1]] + corners[[2, 3]]) / 2
    waist = centre + 0.9 * (waist - centre)
    ring = np.stack([corners[0], corners[1], waist[1], corners[3], corners[2], waist[0]])
    inside = draw.polygon(ring[:, 1], ring[:, 0], plane.shape)
    plane[inside] += rng.uniform(0.10, 0.15)
    inner = centre + 0.86 * (ring - centre)
    plane[draw.polygon(inner[:, 1], inner[:, 0], plane.shape)] -= rng.uniform(0.04, 0.07)
    size = float(np.linalg.norm(corners[1] - corners[0]))
    for u, v, part in ((-0.3, -0.12, 0.09), (0.3, -0.12, 0.09), (0.0, 0.2, 0.07)):
        across = (corners[1] - corners[0] + corners[3] - corners[2]) / 2
        down = (corners[2] - corners[0] + corners[3] - corners[1]) / 2
        at = centre + u * across + v * down
        spot = draw.ellipse(at[1], at[0], 1.3 * part * size, part * size, plane.shape)
        plane[spot] += rng.uniform(0.03, 0.07)
