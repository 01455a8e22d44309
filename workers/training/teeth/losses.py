"""The loss of the tooth network: cross-entropy and batch Dice on numbers, focal on centres, L1 on the way to them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows

from workers.networks.tooth_net import CLASSES

_HEAT_WEIGHT = 0.3
_CENTRE = 0.98  # heat above this is a centre


@dataclass(frozen=True, slots=True)
class Loss:
    """The sum to minimise and its parts for the log."""

    total: torch.Tensor
    parts: dict[str, float]


def tooth_loss(
    output: torch.Tensor,
    classes: torch.Tensor,
    heat: torch.Tensor,
    offsets: torch.Tensor,
    centres: int,
    known: torch.Tensor,
) -> Loss:
    """Of output (B, OUTPUTS, h, w) against classes (B, 1, h, w), heat (B, h, w), offsets (B, 2, h, w).

    ``known`` (B, h, w): 0 where nobody knows; nothing there counts.
    """
    log_p = output[:, :CLASSES].log_softmax(1)
    right = log_p.gather(1, classes)
    looked = known[:, None]
    entropy = -(right * looked).sum() / looked.sum().clamp(min=1)
    dice = _dice(log_p, right, classes, looked)
    focal = _focal(output[:, CLASSES], heat, known, centres)
    inside = (classes > 0).float()
    way = ((output[:, CLASSES + 1 :] - offsets).abs() * inside).sum() / (inside.sum() + 1)
    total = entropy + dice + _HEAT_WEIGHT * focal + way
    parts = {"entropy": entropy.item(), "dice": dice.item(), "focal": focal.item(), "offset": way.item()}
    return Loss(total, parts)


def _dice(log_p: torch.Tensor, right: torch.Tensor, classes: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Soft Dice over the batch, without one-hot planes; classes that are absent do not count."""
    flat = classes.flatten()
    both = torch.zeros(CLASSES, device=flat.device).index_add(0, flat, (right.exp() * known).flatten())
    count = torch.bincount(flat, minlength=CLASSES).float()
    dice = (2 * both + 1) / ((log_p.exp() * known).sum((0, 2, 3)) + count + 1)
    present = count > 0
    present[0] = False
    return 1 - dice[present].mean() if bool(present.any()) else log_p.sum() * 0


def _focal(logit: torch.Tensor, heat: torch.Tensor, known: torch.Tensor, centres: int) -> torch.Tensor:
    """Penalty-reduced focal loss of a heat map (Zhou 2019, Objects as Points)."""
    p = logit.sigmoid()
    at_centre = -((1 - p) ** 2) * F.logsigmoid(logit)
    elsewhere = -((1 - heat) ** 4) * p**2 * F.logsigmoid(-logit)
    return (torch.where(heat > _CENTRE, at_centre, elsewhere) * known).sum() / max(centres, 1)
