"""Training of the object network, from the tooth network's weights: it knows what teeth look like already."""

import copy
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from workers.inference import torch_device
from workers.models.objects import DEVIATION, MEAN
from workers.models.tooth_crops import Jaws
from workers.networks.object_net import KINDS, ObjectNet
from workers.training.conditions.labels import Labelled
from workers.training.conditions.targets import draw_view
from workers.training.images.augment import augment
from workers.training.images.plan import Augmentation
from workers.training.progress import Progress

_TONES = Augmentation(rotation=0, zoom=0, stretch=0, shift=0, flip=False, contrast=0.3, erasing=0.25, erased=0.15)
_BATCH = 4
_RATE, _WARM = 1.2e-3, 0.05
_SIZE_WEIGHT = 0.5
_CENTRE = 0.97  # heat above this is a centre

Marked = tuple[Jaws, tuple[Labelled, ...]]


class Views(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless batches of views, made in the worker process of a DataLoader."""

    def __init__(self, films: Sequence[Marked], size: tuple[int, int], seed: int) -> None:
        """``films``: jaws and boxes of each."""
        self.films, self.size, self.seed = films, size, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pixels (B, 1, rows, columns) and targets."""
        torch.set_num_threads(1)
        rng = np.random.default_rng(self.seed)
        rare = np.array([_weight(boxes) for _, boxes in self.films])
        while True:
            index = rng.choice(len(self.films), _BATCH, p=rare / rare.sum())
            views = [draw_view(jaws, boxes, self.size, rng) for jaws, boxes in (self.films[i] for i in index)]
            raw = torch.from_numpy(np.stack([v.pixels for v in views])[:, None] * 255).round().byte()
            pixels = augment(raw, self.size, _TONES, rng)
            yield (pixels - MEAN) / DEVIATION, torch.from_numpy(np.stack([v.targets for v in views]))


def _weight(boxes: Sequence[Labelled]) -> float:
    """Films with what is rare are seen more often."""
    return 2.0 if any(b.name in {"implant", "impacted", "caries_destroyed"} for b in boxes) else 1.0


def start_from_teeth(net: ObjectNet, teeth: nn.Module) -> ObjectNet:
    """Take over every layer of the tooth network but its head. Raises RuntimeError where the shapes differ."""
    own = net.state_dict()
    net.load_state_dict(own | {key: value for key, value in teeth.state_dict().items() if key in own})
    return net


def train_objects(
    net: ObjectNet, films: Sequence[Marked], size: tuple[int, int], minutes: float, seed: int, device: str = "auto"
) -> ObjectNet:
    """Train for some minutes; the averaged weights."""
    torch.manual_seed(seed)
    where = torch_device(device)
    net = net.to(device=where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged, progress = copy.deepcopy(net).eval(), Progress()
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=1e-2)
    batches = iter(DataLoader(Views(films, size, seed), batch_size=None, num_workers=1, prefetch_factor=8))
    started, step, mean = time.perf_counter(), 0, 0.0
    while (done := (time.perf_counter() - started) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(done / _WARM, 1.0) * 0.5 * (1 + math.cos(math.pi * done))
        pixels, targets = (part.to(where) for part in next(batches))
        loss = object_loss(net.train()(pixels.contiguous(memory_format=torch.channels_last)), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        step += 1
        _average(averaged, net, min(0.99, (1 + step) / (10 + step)))
        mean += (float(loss.detach()) - mean) / min(step, 50)
        progress.tell(f"objects {100 * done:5.1f} %, step {step}, loss {mean:.3f}")
    progress.end(f"objects: {step} steps, loss {mean:.3f}")
    return averaged.cpu()


@torch.no_grad()
def _average(averaged: nn.Module, net: nn.Module, keep: float) -> None:
    for a, b in zip(averaged.state_dict().values(), net.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(b, 1 - keep)


def object_loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Penalty-reduced focal loss of the heat (Zhou 2019) and L1 of the log sizes around the centres."""
    logit, heat = output[:, : len(KINDS)], targets[:, : len(KINDS)]
    p = logit.sigmoid()
    at_centre = -((1 - p) ** 2) * F.logsigmoid(logit)
    elsewhere = -((1 - heat) ** 4) * p**2 * F.logsigmoid(-logit)
    centre = heat > _CENTRE
    focal = torch.where(centre, at_centre, elsewhere).sum() / centre.sum().clamp(min=1)
    weight = targets[:, -1:]
    size = ((output[:, len(KINDS) :] - targets[:, len(KINDS) : -1]).abs() * weight).sum() / weight.sum().clamp(min=1)
    total: torch.Tensor = focal + _SIZE_WEIGHT * size
    return total
