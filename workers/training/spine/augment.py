"""From a film to a training example: where the spine lies, how the patient stands and bends, how the device draws it.

All randomness comes from the generator that is handed in. The bend is an elastic one, so that the network sees curves
that no film of the data shows; the corners go with it exactly.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows

from workers.training.spine.appearance import appearance, standardize
from workers.training.spine.films import Corners, Film

MIRRORED = (1, 0, 3, 2)  # corners of a mirrored film
_WIDE_SHARE = 0.3  # of the examples show more than the spine, as the first look of the model does
_BEND_SHARE = 0.6
_KNOTS = (6, 3)  # rows and columns of the elastic bend
_ROUNDS = 6  # of the fixed point that carries corners through the bend


@dataclass(frozen=True, slots=True)
class Example:
    """What the network sees: pixels (1, 1, rows, columns) in 0..1; corners (vertebrae, 4, 2) in its pixels."""

    pixels: torch.Tensor
    corners: Corners


@dataclass(frozen=True, slots=True)
class _Warp:
    """Canvas to film: ``at + matrix @ (q + bend(q) - middle)``; bend (1, 2, rows, columns) in canvas pixels."""

    at: torch.Tensor
    matrix: torch.Tensor
    bend: torch.Tensor
    size: tuple[int, int]

    def grid(self, film: tuple[int, ...]) -> torch.Tensor:
        """Sampling grid (1, rows, columns, 2) over a film (rows, columns)."""
        rows, columns = self.size
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        q = torch.stack([x, y], -1) + self.bend[0].permute(1, 2, 0)
        p = (q - self._middle()) @ self.matrix.T + self.at
        return (2 * p / torch.tensor([film[1], film[0]]) - 1)[None]

    def corners(self, points: Corners) -> Corners:
        """Points of the film (..., 2) on the canvas."""
        straight = (torch.from_numpy(points) - self.at) @ torch.linalg.inv(self.matrix).T + self._middle()
        bent = straight
        for _ in range(_ROUNDS):
            where = 2 * bent / torch.tensor([self.size[1], self.size[0]]) - 1
            shift = F.grid_sample(self.bend, where.view(1, 1, -1, 2), align_corners=False, padding_mode="border")
            bent = straight - shift[0, :, 0].T.view(straight.shape)
        carried: Corners = bent.numpy()
        return carried

    def _middle(self) -> torch.Tensor:
        return torch.tensor([self.size[1], self.size[0]]) / 2


def augment(film: Film, size: tuple[int, int], rng: np.random.Generator) -> Example:
    """One random example of ``size`` (rows, columns) from a film."""
    mirrored = bool(rng.random() < 0.5)  # noqa: PLR2004 - a fair coin
    warp = _warp(film, size, rng, mirrored=mirrored)
    pixels = torch.tensor(film.pixels).float()[None, None] / 255
    padding = "zeros" if rng.random() < 0.6 else "border"  # noqa: PLR2004 - devices and croppers differ
    pixels = F.grid_sample(pixels, warp.grid(film.pixels.shape), align_corners=False, padding_mode=padding)
    corners = warp.corners(film.corners)
    if mirrored:
        corners = corners[:, MIRRORED]
    return Example(appearance(standardize(pixels), rng), corners)


def _warp(film: Film, size: tuple[int, int], rng: np.random.Generator, *, mirrored: bool) -> _Warp:
    wide = rng.random() < _WIDE_SHARE
    low, high = film.corners.min((0, 1)), film.corners.max((0, 1))
    share = rng.uniform(0.45, 0.85) if wide else rng.uniform(0.8, 0.98)
    scale = float(high[1] - low[1]) / (share * size[0])
    slack = max(1 - share, 0.06)
    at = (low + high) / 2 + np.array([size[1] * rng.normal(0, 0.07), size[0] * rng.uniform(-0.5, 0.5) * slack]) * scale
    turn = np.deg2rad(rng.normal(0, 5.0))
    aspect, shear = np.exp(rng.normal(0, 0.06)), rng.normal(0, 0.04)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    form = np.array([[aspect, shear], [0.0, 1.0]])
    matrix = scale * rotation @ form @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    bend = torch.zeros(1, 2, *size)
    if rng.random() < _BEND_SHARE:
        knots = rng.normal(0, 1, (1, 2, *_KNOTS)) * np.array([0.04 * size[1], 0.011 * size[0]])[None, :, None, None]
        knots = torch.from_numpy((knots * rng.uniform(0.2, 1.2)).astype(np.float32))
        bend = F.interpolate(knots, size, mode="bicubic", align_corners=True)
    return _Warp(torch.tensor(at).float(), torch.tensor(matrix).float(), bend, size)
