"""What a training changes while it runs: the network, the mean of its weights, the optimizer, the random numbers."""

import copy
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows
from torch import nn

from service.domain.errors import ConfigurationError
from workers.inference import torch_device
from workers.training.averaged_run import begun_with, same_descent
from workers.training.images.augment import augment
from workers.training.images.plan import Plan
from workers.training.images.samples import Sample, drawing_chances

_CLIP = 5.0  # norm of the gradient
_MIXED_MORE = 0.4  # both parameters of the beta distribution of mixup: mostly one of the two pictures


class Learner:
    """Learns batch by batch; can be written to a file and read back."""

    def __init__(self, train: Sequence[Sample], network: nn.Module, plan: Plan, frozen: frozenset[str]) -> None:
        """``frozen``: names of the parameters that stay; their batch statistics stay too."""
        self.plan, self.device = plan, torch_device(plan.device)
        self.network = network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self._still = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.requires_grad]
        self.averaged = copy.deepcopy(network).eval()
        self.best: nn.Module | None = None
        self.optimizer = plan.optimizer.of(_groups(network, plan.weight_decay), plan.learning_rate)
        self.pixels = torch.from_numpy(np.stack([s.pixels for s in train]).transpose(0, 3, 1, 2).copy())
        self.labels = torch.from_numpy(np.stack([s.labels for s in train]))
        self.chances = drawing_chances(train, plan.balance)
        self.rng = np.random.default_rng(plan.seed)
        self.steps, self.seconds = 0, 0.0
        self.watched: tuple[float, ...] = ()  # of ``watching.Watch``, from the run that is gone on with
        self.epoch = max(len(train) // plan.batch, 1)  # steps

    def step(self, done: float) -> float:
        """One step; the loss. ``done``: elapsed part of the time."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate_at(done)
        pixels, labels = self._batch(self.plan.size_at(done))
        self.network.train()
        for module in self._still:
            module.eval()
        with torch.autocast(self.device.type, torch.bfloat16) if self.plan.mixed else nullcontext():
            logits = self.network(pixels.to(self.device).contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), labels.to(self.device), self.plan)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimizer.step()
        self.steps += 1
        self._average()
        return float(loss.detach())

    def _batch(self, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        plan, rng = self.plan, self.rng
        index = torch.from_numpy(rng.choice(len(self.chances), plan.batch, p=self.chances))
        pixels = augment(self.pixels[index], size, plan.augmentation.times(plan.strength), rng, plan.masks)
        labels = self.labels[index]
        chance = rng.random()
        if chance < plan.mixup:
            share = float(rng.beta(_MIXED_MORE, _MIXED_MORE))
            other = torch.from_numpy(rng.permutation(plan.batch))
            pixels, labels = torch.lerp(pixels[other], pixels, share), torch.lerp(labels[other], labels, share)
        elif chance < plan.mixup + plan.cutmix:
            pixels, labels = exchange(pixels, labels, rng)
        return plan.normalize(pixels), labels

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.plan.averaging, (1 + self.steps) / (10 + self.steps))
        pairs = zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True)
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - keep)

    def save(self, path: Path) -> None:
        """Write everything that ``restore`` needs, complete or not at all."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best.state_dict() if self.best else None,
            "optimizer": self.optimizer.state_dict(),
            "rng": json.dumps(self.rng.bit_generator.state),
            "torch_rng": torch.get_rng_state(),  # of dropout
            "steps": self.steps,
            "seconds": self.seconds,
            "watched": list(self.watched),
            "begun": begun_with(self.plan),
        }
        write_weights(state, path)

    def restore(self, path: Path) -> None:
        """Go on where a killed run stopped; from the beginning where it wrote nothing. Raises ConfigurationError."""
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            same_descent(state, self.plan, path)
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            if state["best"]:
                self.best = copy.deepcopy(self.averaged)
                self.best.load_state_dict(state["best"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.rng.bit_generator.state = json.loads(state["rng"])
            torch.set_rng_state(state["torch_rng"].cpu())
            self.steps, self.seconds, self.watched = state["steps"], state["seconds"], tuple(state["watched"])
        except (RuntimeError, KeyError, ValueError) as error:
            message = f"{path} is of another plan or damaged; train without --resume or into another folder"
            raise ConfigurationError(message) from error


def write_weights(state: object, path: Path) -> None:
    """Write a file of tensors, complete or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights of kernels decay, offsets and normalisation do not."""
    moving = [p for p in network.parameters() if p.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [p for p in moving if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in moving if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def exchange(pixels: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """CutMix (Yun 2019): every picture (B, channels, rows, columns) gets a rectangle of another, and of its labels."""
    count, rows, columns = len(pixels), *pixels.shape[-2:]
    side = math.sqrt(1 - float(rng.beta(1.0, 1.0)))
    high, wide = round(rows * side), round(columns * side)
    top, left = int(rng.integers(0, rows - high + 1)), int(rng.integers(0, columns - wide + 1))
    other = torch.from_numpy(rng.permutation(count))
    pixels = pixels.clone()
    pixels[..., top : top + high, left : left + wide] = pixels[other, :, top : top + high, left : left + wide]
    return pixels, torch.lerp(labels, labels[other], high * wide / (rows * columns))


def loss_of(logits: torch.Tensor, labels: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Cross-entropy of logits and labels, both (B, classes); labels 0 to 1, NaN = unknown and left out."""
    weights = logits.new_tensor(plan.weights or (1.0,) * len(plan.classes))
    if plan.exclusive:
        soft = labels * (1 - plan.smoothing) + plan.smoothing / labels.shape[1]
        losses = -(weights * soft * F.log_softmax(logits, 1)).sum(1)
        return losses.mean()
    known = ~torch.isnan(labels)
    soft = torch.where(known, labels, 0) * (1 - plan.smoothing) + plan.smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, soft, pos_weight=weights, reduction="none")
    loss = (losses * known).sum() / known.sum().clamp(min=1)
    return loss + plan.contest * _contest(logits, torch.where(known, labels, 0)) if plan.contest else loss


def _contest(logits: torch.Tensor, filed: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the softmax with the labels shared out to one; pictures without any label count nothing."""
    shares = filed / filed.sum(1, keepdim=True).clamp(min=1e-6)
    return -(shares * F.log_softmax(logits, 1)).sum(1).mean()
