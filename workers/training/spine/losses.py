"""The loss of the vertebra network: focal on the heats, L1 on the ways to the corners and on the tilt."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows

from workers.networks.spine_net import CORNER, OFFSET, TILT

_CENTRE_WEIGHT, _CORNER_WEIGHT, _TILT_WEIGHT, _SLOPE_WEIGHT = 0.15, 0.25, 1.0, 1.0
_PEAK = 0.98  # heat above this is a point


@dataclass(frozen=True, slots=True)
class Loss:
    """The sum to minimise and its parts for the log."""

    total: torch.Tensor
    parts: dict[str, float]


def spine_loss(
    output: torch.Tensor, heats: torch.Tensor, ways: torch.Tensor, tilt: torch.Tensor, votes: torch.Tensor
) -> Loss:
    """Of output (B, OUTPUTS, h, w) against what ``targets.dense_targets`` makes, each with a batch in front."""
    output = output.float()
    centre = _focal(output[:, :1], heats[:, :1])
    corner = _focal(output[:, CORNER], heats[:, 1:])
    weight = votes / votes.sum().clamp(min=1)
    wrong = output[:, OFFSET] - ways
    way = (wrong.abs() * weight).sum() / wrong.shape[1]
    # what the tilt of a body is made of: the right side's height against the left side's
    slope = ((wrong[:, 3:4] + wrong[:, 7:8] - wrong[:, 1:2] - wrong[:, 5:6]).abs() * weight).sum() / 2
    turn = ((output[:, TILT] - tilt).abs() * weight).sum()
    total = _CENTRE_WEIGHT * centre + _CORNER_WEIGHT * corner + way + _SLOPE_WEIGHT * slope + _TILT_WEIGHT * turn
    parts = {"centre": centre.item(), "corner": corner.item(), "way": way.item(), "slope": slope.item()}
    return Loss(total, parts | {"tilt": turn.item()})


def _focal(logit: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """Penalty-reduced focal loss of a heat map (Zhou 2019, Objects as Points), per point."""
    p = logit.sigmoid()
    at_point = -((1 - p) ** 2) * F.logsigmoid(logit)
    elsewhere = -((1 - heat) ** 4) * p**2 * F.logsigmoid(-logit)
    points = (heat > _PEAK).sum().clamp(min=1)
    return torch.where(heat > _PEAK, at_point, elsewhere).sum() / points
