"""Random changes of a whole batch at once, in torch; all randomness comes from the generator that is handed in."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows

from workers.training.images.plan import Augmentation

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_COLOURS = 3
_MOST_PATCHES = 3


def augment(
    pixels: torch.Tensor, size: tuple[int, int], how: Augmentation, rng: np.random.Generator, masks: int = 0
) -> torch.Tensor:
    """Changed pictures.

    Args:
        pixels: uint8 (B, channels, rows, columns); grey, colour, or either with masks behind.
        size: rows and columns of the result.
        how: which changes and how far.
        rng: decides.
        masks: this many of the last channels keep their values.

    Returns:
        float32 (B, channels, *size), 0 to 1; black where it looks beyond the picture.
    """
    moved = F.grid_sample(
        pixels.float() / 255, _grid(pixels, size, how, rng), align_corners=False, padding_mode="zeros"
    )
    seen = moved.shape[1] - masks
    picture = _tones(moved[:, :seen], how, rng)
    if seen == _COLOURS and how.colour:
        picture = _colours(picture, how, rng)
    picture = _coarser(picture, how, rng)
    if how.noise:
        deviation = _column(rng.uniform(0, how.noise, len(picture)))
        picture = picture + deviation * torch.from_numpy(rng.standard_normal(picture.shape, np.float32))
    picture = _erase(picture.clamp(0, 1), how, rng)
    return torch.cat([picture, moved[:, seen:]], 1) if masks else picture


def _column(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]


def _grid(pixels: torch.Tensor, size: tuple[int, int], how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Sampling grid (B, rows, columns, 2)."""
    count, aspect = len(pixels), pixels.shape[3] / pixels.shape[2]
    turn = np.deg2rad(rng.uniform(-how.rotation, how.rotation, count))
    scale = np.exp(rng.uniform(-how.zoom, how.zoom, count))
    stretch = np.exp(rng.uniform(-how.stretch, how.stretch, count))
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0) if how.flip else np.ones(count)  # noqa: PLR2004 - a coin
    across, down = scale * stretch, scale / stretch
    theta = np.zeros((count, 2, 3))
    theta[:, 0, 0], theta[:, 0, 1] = mirror * across * np.cos(turn), -mirror * down * np.sin(turn) / aspect
    theta[:, 1, 0], theta[:, 1, 1] = across * np.sin(turn) * aspect, down * np.cos(turn)
    theta[:, :, 2] = rng.uniform(-2 * how.shift, 2 * how.shift, (count, 2))
    shape = [count, pixels.shape[1], *size]
    return F.affine_grid(torch.from_numpy(theta.astype(np.float32)), shape, align_corners=False)


def _tones(x: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    gamma = _column(np.exp(rng.uniform(-how.gamma, how.gamma, len(x))))
    contrast = _column(np.exp(rng.uniform(-how.contrast, how.contrast, len(x))))
    offset = _column(rng.uniform(-how.brightness, how.brightness, len(x)))
    if how.invert:
        negative = _column((rng.random(len(x)) < how.invert).astype(np.float64))
        x = x + negative * (1 - 2 * x)
    return ((x.clamp(min=1e-4) ** gamma - 0.5) * contrast + 0.5 + offset).clamp(0, 1)


def _colours(x: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    gain = np.exp(rng.uniform(-how.colour, how.colour, (len(x), _COLOURS))).astype(np.float32)
    grey = (x * torch.tensor(_LUMINANCE)[None, :, None, None]).sum(1, keepdim=True)
    saturation = _column(1 + rng.uniform(-2 * how.colour, 2 * how.colour, len(x)))
    return (torch.lerp(grey, x, saturation) * torch.from_numpy(gain)[:, :, None, None]).clamp(0, 1)


def _coarser(x: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    hit = np.nonzero(rng.random(len(x)) < how.blur)[0]
    if not len(hit):
        return x
    x = x.clone()
    some = x[hit]
    small = tuple(round(length * float(rng.uniform(0.3, 0.8))) for length in x.shape[-2:])
    reduced = F.interpolate(some, small, mode="bilinear", antialias=True)
    x[hit] = F.interpolate(reduced, x.shape[-2:], mode="bilinear")
    return x


def _erase(x: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Paint patches over; the picture is a fresh tensor already."""
    rows, columns = x.shape[-2:]
    for index in np.nonzero(rng.random(len(x)) < how.erasing)[0]:
        for _ in range(int(rng.integers(1, _MOST_PATCHES + 1))):
            high = max(int(rows * rng.uniform(0.05, how.erased)), 1)
            wide = max(int(columns * rng.uniform(0.05, how.erased)), 1)
            top, left = int(rng.integers(0, rows - high + 1)), int(rng.integers(0, columns - wide + 1))
            x[index, :, top : top + high, left : left + wide] = float(rng.choice([0.0, 1.0, rng.random()]))
    return x
