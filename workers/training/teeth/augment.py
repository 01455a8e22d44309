"""From a stored sample to a training example: where the arch lies, how the device draws it, which teeth are gone.

All randomness comes from the generator that is handed in. Planes are (1, 1, rows, columns) tensors.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows
from numpy.typing import NDArray

from workers.models.arch import CLASS_OF, FDI, LOWER, MIRRORED, UPPER, WHOLE, Frame, arch_frame
from workers.training.teeth.drift import draw_drifts
from workers.training.teeth.panoramics import IGNORED, Sample
from workers.training.teeth.windows import Window, draw_window

_WHOLE_SHARE = 0.35  # of the examples show the whole image, as the first look of the model does
_WINDOW_SHARE = 0.13  # show a few teeth, as intra-oral films do
_REMOVE_SHARE = 0.4
_DRIFT_SHARE = 0.6
_MOST_DRIFTS = 3
_SURROUND_SHARE = 0.06  # are cropped to an ellipse, as some collections are


@dataclass(frozen=True, slots=True)
class Example:
    """What the network sees: pixels (1, 1, rows, columns) in 0..1; classes int64 (1, 1, rows / 2, columns / 2)."""

    pixels: torch.Tensor
    classes: torch.Tensor


def augment(sample: Sample, size: tuple[int, int], rng: np.random.Generator) -> Example:
    """One random example of ``size`` (rows, columns) from a sample."""
    pixels = torch.tensor(sample.pixels).float()[None, None] / 255
    classes = torch.tensor(sample.classes).float()[None, None]
    mirrored = bool(rng.random() < 0.5)  # noqa: PLR2004 - a fair coin
    window = draw_window(sample.classes, rng) if rng.random() < _WINDOW_SHARE else None
    if window is None and rng.random() < max(_SURROUND_SHARE, sample.surround):
        pixels = surround(pixels, rng)
    grid = _grid(sample, size, rng, window, mirrored=mirrored)
    drifts = draw_drifts(sample.classes, rng, _MOST_DRIFTS) if rng.random() < _DRIFT_SHARE else []
    for drift in drifts:
        x, y = (grid[..., 0] + 1) / 2, (grid[..., 1] + 1) / 2
        grid = torch.stack([2 * drift.source(x, y) - 1, grid[..., 1]], -1)
    padding = "zeros" if rng.random() < 0.6 else "border"  # noqa: PLR2004 - devices and croppers differ
    pixels = F.grid_sample(pixels, grid, align_corners=False, padding_mode=padding)
    classes = F.grid_sample(classes, grid[:, 1::2, 1::2], mode="nearest", align_corners=False).long()
    seen = None if window is None else _seen(window.extent(sample.aspect, size), size)
    pixels = standardize(pixels, seen)
    if drifts:
        pixels, classes = remove_teeth(pixels, classes, [drift.lost for drift in drifts], rng)
    if mirrored:
        classes = torch.tensor((*MIRRORED, IGNORED))[classes]
    if rng.random() < _REMOVE_SHARE:
        pixels, classes = remove_teeth(pixels, classes, _gone(classes, rng), rng)
    pixels = appearance(pixels, rng)
    if seen is not None:
        pixels, classes = pixels * seen, classes * seen[..., 1::2, 1::2].long()
    return Example(pixels, classes)


def standardize(pixels: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
    """First to 99th percentile onto 0..1, clipped, of every fourth pixel for speed; as the model does.

    ``seen``: 1 where the canvas shows the film, 0 beside it; None = everywhere.
    """
    some = pixels[..., ::2, ::2]
    counted = some if seen is None else some[seen[..., ::2, ::2] > 0]
    low, high = np.percentile(counted.numpy(), (1, 99))
    return ((pixels - float(low)) / max(float(high - low), 1e-3)).clamp(0, 1)


def surround(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Cropped to the inscribed ellipse, on white, black or grey."""
    y = torch.linspace(-1, 1, pixels.shape[-2])[:, None]
    x = torch.linspace(-1, 1, pixels.shape[-1])[None]
    value = float(rng.choice([1.0, 1.0, 0.0, 0.0, float(rng.random())]))
    return torch.where(x * x + y * y > 1, value, pixels)


def _seen(extent: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """(1, 1, rows, columns), 1 in the middle of the canvas."""
    seen = torch.zeros(1, 1, *size)
    rows, columns = min(extent[0], size[0]), min(extent[1], size[1])
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    seen[..., top : top + rows, left : left + columns] = 1
    return seen


def _grid(
    sample: Sample, size: tuple[int, int], rng: np.random.Generator, window: Window | None, *, mirrored: bool
) -> torch.Tensor:
    """Sampling grid (1, rows, columns, 2): a frame about the arch or the whole image, shaken, turned, bent."""
    whole = window is None and rng.random() < _WHOLE_SHARE
    if window is not None:
        frame, zoom, shape = window.frame(sample.aspect, size), 0.1, 0.08
    elif whole:
        frame, zoom, shape = WHOLE, 0.28, 0.14
    else:
        frame, zoom, shape = _true_frame(sample.classes), 0.14, 0.09
    half_w = frame.half_width * np.exp(rng.uniform(-zoom, zoom * 0.8) + (s := rng.uniform(-shape, shape)))
    half_h = frame.half_height * np.exp(rng.uniform(-zoom, zoom * 0.8) * 0.9 - s)
    shake = 0.15 if window is None else 0.04
    x = frame.x + frame.half_width * rng.uniform(-shake, shake)
    y = frame.y + frame.half_height * rng.uniform(-shake, shake)
    turn = np.deg2rad(rng.uniform(-6, 6))
    v, u = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    if rng.random() < 0.6:  # noqa: PLR2004 - anatomy and posture bend the arch
        knots = torch.from_numpy(rng.normal(0, 0.03, (1, 2, 4, 6)).astype(np.float32))
        bend = F.interpolate(knots, size, mode="bicubic", align_corners=True)[0]
        smile = float(rng.normal(0, 0.06))
        u, v = u + bend[0], v + bend[1] + smile * (u * u - 0.3)
    across, down = u * float(half_w) * sample.aspect, v * float(half_h)  # in units of image rows
    right = across * float(np.cos(turn)) - down * float(np.sin(turn))
    below = across * float(np.sin(turn)) + down * float(np.cos(turn))
    right = right * (-1 if mirrored else 1)
    return torch.stack([2 * (float(x) + right / sample.aspect) - 1, 2 * (float(y) + below) - 1], -1)[None]


def _true_frame(classes: NDArray[np.uint8]) -> Frame:
    return arch_frame(centres_of(classes))


def centres_of(classes: NDArray[np.uint8]) -> dict[int, tuple[float, float]]:
    """FDI number to the centre of its pixels, as fractions of the plane."""
    rows, columns = classes.shape
    y, x = np.nonzero(classes)
    c = classes[y, x]
    n = np.bincount(c, minlength=33)
    sx, sy = np.bincount(c, x, 33), np.bincount(c, y, 33)
    return {FDI[k - 1]: ((sx[k] / n[k] + 0.5) / columns, (sy[k] / n[k] + 0.5) / rows) for k in range(1, 33) if n[k]}


def _gone(classes: torch.Tensor, rng: np.random.Generator) -> list[int]:
    """Classes to remove: a run of neighbours, several runs, the back teeth of a jaw, or each tooth by chance."""
    kind, gone = rng.random(), set[int]()
    for _ in range(1 if kind < 0.5 else 3):  # noqa: PLR2004 - half the time one run
        arch = UPPER if rng.random() < 0.5 else LOWER  # noqa: PLR2004 - either jaw
        start = int(rng.integers(-1, 16))
        gone |= set(arch[max(start, 0) : start + int(rng.integers(1, 5))])
    if kind > 0.75:  # noqa: PLR2004 - a quarter of the removals are wide
        chance = rng.uniform(0.1, 0.6)
        arch = (UPPER, LOWER, UPPER + LOWER)[int(rng.integers(3))]
        gone |= {fdi for fdi in arch if rng.random() < chance}
    if kind > 0.93:  # noqa: PLR2004 - now and then only some front teeth stay
        gone |= {fdi for fdi in UPPER + LOWER if fdi % 10 > int(rng.integers(3, 6))}
    present = set(classes.unique().tolist())
    return [CLASS_OF[fdi] for fdi in gone if CLASS_OF[fdi] in present]


def remove_teeth(
    pixels: torch.Tensor, classes: torch.Tensor, gone: list[int], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint over the teeth of some classes with their surroundings, and drop their labels."""
    if not gone:
        return pixels, classes
    mask = torch.isin(classes, torch.tensor(gone))
    full = F.interpolate(mask.float(), pixels.shape[-2:], mode="nearest")
    grown = F.max_pool2d(full, 7, 1, 3)
    other = F.interpolate(((classes > 0) & ~mask).float(), pixels.shape[-2:], mode="nearest")
    keep = (1 - grown) * (1 - other) + 1e-3
    fill = _fill(pixels, keep, 16) if rng.random() < 0.6 else _fill(pixels, keep, 32)  # noqa: PLR2004
    texture = (pixels - blur(pixels, 8)).flip(-1) * float(rng.uniform(0.0, 0.5))
    fill = fill + texture + float(rng.uniform(0, 0.03)) * noise(pixels.shape, rng) - float(rng.uniform(-0.02, 0.06))
    soft = blur(grown, 4) * (1 - other)
    return torch.lerp(pixels, fill, soft.clamp(0, 1)), torch.where(mask, 0, classes)


def _fill(pixels: torch.Tensor, keep: torch.Tensor, reach: int) -> torch.Tensor:
    return blur(pixels * keep, reach) / blur(keep, reach).clamp(min=1e-3)


def noise(shape: torch.Size, rng: np.random.Generator) -> torch.Tensor:
    """Standard normal noise from the generator."""
    return torch.from_numpy(rng.standard_normal(shape, np.float32))


def blur(x: torch.Tensor, k: int) -> torch.Tensor:
    """Fast smooth blur of about k pixels by averaging down and interpolating up."""
    return F.interpolate(F.avg_pool2d(x, k, ceil_mode=True, count_include_pad=False), x.shape[-2:], mode="bilinear")


def local_contrast(x: torch.Tensor, k: int) -> torch.Tensor:
    """Local mean and deviation removed, like the adaptive equalization that some devices apply."""
    d = x - blur(x, k)
    return (0.5 + 0.22 * d / (blur(d * d, k).sqrt() + 0.03)).clamp(0, 1)


def appearance(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Tone curve, local contrast, uneven exposure, sharpening or blur, noise, burnt-in marks; result in 0..1."""
    u = rng.uniform
    if rng.random() < 0.4:  # noqa: PLR2004 - chances here are choices, not measurements
        x = torch.lerp(x, local_contrast(x, int(rng.choice([16, 32, 48]))), float(u(0.3, 1.0)))
    if rng.random() < 0.3:  # noqa: PLR2004
        field = torch.from_numpy(rng.normal(0, 0.13, (1, 1, 3, 4)).astype(np.float32))
        x = x + F.interpolate(field, x.shape[-2:], mode="bicubic", align_corners=True)
    x = x.clamp(0, 1) ** float(np.exp(u(-0.6, 0.6)))
    x = (x - 0.5) * float(np.exp(u(-0.5, 0.3))) + 0.5 + float(u(-0.15, 0.15))
    kind = rng.random()
    if kind < 0.2:  # noqa: PLR2004
        x = x + float(u(0.2, 1.0)) * (x - blur(x, 4))
    elif kind < 0.5:  # noqa: PLR2004
        x = torch.lerp(x, blur(x, 2), float(u(0.3, 1.0)))
    if rng.random() < 0.3:  # noqa: PLR2004
        x = x + float(u(0, 0.06)) * noise(x.shape, rng)
    for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.2 else 0):  # noqa: PLR2004
        h, w = int(rng.integers(4, 30)), int(rng.integers(4, 60))
        top, left = int(rng.integers(0, x.shape[-2] - h)), int(rng.integers(0, x.shape[-1] - w))
        x = x.clone()
        x[..., top : top + h, left : left + w] = float(rng.choice([0.0, 1.0]))
    return x.clamp(0, 1)
