"""Dense targets of an example: centre heat and the way of each tooth pixel to its centre."""

from dataclasses import dataclass

import torch

from workers.networks.tooth_net import CLASSES, OFFSET_UNIT
from workers.training.teeth.panoramics import IGNORED

_SPREAD = (2.5, 1.3)  # of a centre's heat along rows and columns, output pixels: teeth are tall and narrow
_SMALLEST = 12  # output pixels; less of a tooth at the edge gets no centre


@dataclass(frozen=True, slots=True)
class Targets:
    """classes (1, h, w) int64; heat (h, w) 0..1; offsets (2, h, w) as (y, x) in OFFSET_UNIT; centres: how many.

    known (h, w): 1 where the classes are known, 0 where the loss must not look; background stands there.
    """

    classes: torch.Tensor
    heat: torch.Tensor
    offsets: torch.Tensor
    centres: int
    known: torch.Tensor


def dense_targets(classes: torch.Tensor) -> Targets:
    """From classes (1, h, w), which may hold IGNORED."""
    known = (classes[0] != IGNORED).float()
    classes = torch.where(classes == IGNORED, 0, classes)
    y = classes[0]
    h, w = y.shape
    rows, columns = torch.arange(h).float()[:, None], torch.arange(w).float()[None]
    flat = y.flatten()
    n = torch.bincount(flat, minlength=CLASSES).float()
    mean_y = torch.bincount(flat, rows.expand(h, w).flatten(), CLASSES) / n.clamp(min=1)
    mean_x = torch.bincount(flat, columns.expand(h, w).flatten(), CLASSES) / n.clamp(min=1)
    offsets = (torch.stack([mean_y[y] - rows, mean_x[y] - columns]) / OFFSET_UNIT).float()
    keep = torch.nonzero(n[1:] >= _SMALLEST).flatten() + 1
    if not len(keep):
        return Targets(classes, torch.zeros(h, w), offsets, 0, known)
    along = torch.exp(-((rows.T - mean_y[keep, None].round()) ** 2) / (2 * _SPREAD[0] ** 2))
    across = torch.exp(-((columns - mean_x[keep, None].round()) ** 2) / (2 * _SPREAD[1] ** 2))
    heat = (along[:, :, None] * across[:, None, :]).amax(0).float()
    return Targets(classes, heat, offsets, len(keep), known)
