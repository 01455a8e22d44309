"""Dense targets of an example: heat of centres and corners, the way of each body pixel to the corners, the tilt."""

from dataclasses import dataclass

import numpy as np
import torch

from workers.networks.spine_net import OFFSET_UNIT, STEP, TILT_UNIT
from workers.training.spine.films import Corners

_CENTRE_SPREAD, _CORNER_SPREAD = 2.2, 1.5  # of the heats, output pixels
_BODY = 0.85  # part of a body, from its centre out, whose pixels vote
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Targets:
    """heats (5, h, w) 0..1; ways (8, h, w) in OFFSET_UNIT; tilt (1, h, w) in TILT_UNIT; votes (1, h, w) weights."""

    heats: torch.Tensor
    ways: torch.Tensor
    tilt: torch.Tensor
    votes: torch.Tensor


def dense_targets(corners: Corners, size: tuple[int, int]) -> Targets:
    """From corners (vertebrae, 4, 2) on a canvas (rows, columns); what lies outside gets no heat."""
    h, w = size[0] // STEP, size[1] // STEP
    points = torch.from_numpy(np.ascontiguousarray(corners))
    centre = points.mean(1)
    heat = torch.stack([_heat(centre, (h, w), _CENTRE_SPREAD)])
    marks = torch.stack([_heat(points[:, k], (h, w), _CORNER_SPREAD) for k in range(points.shape[1])])
    y, x = torch.meshgrid(STEP * (torch.arange(h) + 0.5), torch.arange(w) * STEP + STEP / 2, indexing="ij")
    across = (points[:, 1] + points[:, 3] - points[:, 0] - points[:, 2]) / 4  # centre to the middle of the right side
    down = (points[:, 2] + points[:, 3] - points[:, 0] - points[:, 1]) / 4
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    u = (dx * down[:, 1, None, None] - dy * down[:, 0, None, None]) / area[:, None, None]
    v = (dy * across[:, 0, None, None] - dx * across[:, 1, None, None]) / area[:, None, None]
    away, owner = torch.maximum(u.abs(), v.abs()).min(0)
    votes = (away < _BODY).float() * (1 - 0.7 * away)
    ways = points[owner] - torch.stack([x, y], -1)[:, :, None]  # (h, w, 4, 2)
    tilt = torch.atan2(across[:, 1], across[:, 0])[owner] / TILT_UNIT
    return Targets(
        torch.cat([heat, marks]), ways.flatten(2).permute(2, 0, 1) / OFFSET_UNIT, tilt[None], votes.clamp(min=0)[None]
    )


def _heat(points: torch.Tensor, shape: tuple[int, int], spread: float) -> torch.Tensor:
    """Gaussians about the nearest output pixel of each point (n, 2), the largest counts."""
    at = (points / STEP - 0.5).round()
    inside = (at >= 0).all(1) & (at[:, 0] < shape[1]) & (at[:, 1] < shape[0])
    at = at[inside]
    if not len(at):
        return torch.zeros(shape)
    rows, columns = torch.arange(shape[0]).float(), torch.arange(shape[1]).float()
    along = torch.exp(-((rows - at[:, 1:]) ** 2) / (2 * spread**2))
    across = torch.exp(-((columns - at[:, :1]) ** 2) / (2 * spread**2))
    heat = (along[:, :, None] * across[:, None, :]).amax(0)
    return torch.where(heat < _LEAST, 0.0, heat)
