"""Time-boxed training: the learning rate follows the elapsed part of the minutes given, so it always ends annealed.

One process computes, one augments: on two cores this beats two computing threads. The weights kept are an exponential
mean over steps (Polyak averaging), which is worth about a point and costs nothing.
"""

import copy
import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

import torch
from torch.utils.data import DataLoader

from service.domain.errors import ConfigurationError
from workers.inference import torch_device
from workers.networks.tooth_net import CLASSES, ToothNet
from workers.training.augment import standardize
from workers.training.calibrate import calibrate
from workers.training.export import export_bundle
from workers.training.losses import tooth_loss
from workers.training.panoramics import Sample, load_samples, read_manifest
from workers.training.plan import Plan
from workers.training.progress import Progress
from workers.training.stream import Stream, normalize

_SAVE_SECONDS = 150.0
_LOG_STEPS = 50


def learning_rate(plan: Plan, done: float) -> float:
    """Warm-up over 3 %, flat to 35 %, cosine to zero; ``done``: elapsed part of the minutes, 0..1."""
    warm = min(done / 0.03, 1.0)
    late = max(done - 0.35, 0.0) / 0.65
    return plan.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(late, 1.0))))


class Averaged:
    """Exponential mean of the weights, with the network's own batch statistics averaged alike."""

    def __init__(self, net: ToothNet, decay: float = 0.998) -> None:
        """Starts as a copy of ``net``."""
        self.net, self.decay, self.steps = copy.deepcopy(net).eval(), decay, 0

    @torch.no_grad()
    def update(self, net: ToothNet) -> None:
        """Move towards ``net``; quickly at first."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        pairs = [(a, b) for a, b in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True)]
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - keep)


def train(
    task: str, data: Path, out: Path, minutes: float, plan: Plan | None = None, start: Path | None = None
) -> Path:
    """Train the network of a task: weights, a bundle of them, the plan and a log.

    Writes ``out/model.pt`` (averaged weights), ``out/teeth_panoramic/`` (a bundle that ``evaluate --bundle`` takes),
    ``out/plan.json`` and ``out/log.jsonl``.

    Args:
        task: "teeth".
        data: folder with manifest.csv, images/, labels/.
        out: folder for the results; made if need be.
        minutes: length of the training; half an hour on two cores is the least that is useful.
        plan: everything else.
        start: weights to go on from, for example those of an earlier training.

    Returns:
        The file of weights.
    """
    if task != "teeth":
        message = f"no training for task {task!r}; known: teeth"
        raise ConfigurationError(message)
    plan = replace(plan or Plan(minutes), minutes=minutes)
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(json.dumps(asdict(plan), indent=2) + "\n", encoding="utf-8")
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    with (out / "log.jsonl").open("w", encoding="utf-8") as log:
        net = _run(data, out, plan, log, start)
    save(net, out / "model.pt")
    export_bundle(out / "model.pt", plan, out / "teeth_panoramic", "0.0.0", {})
    calibrate(data, out / "teeth_panoramic")
    return out / "model.pt"


def save(net: ToothNet, path: Path) -> None:
    """Write the weights, complete or not at all."""
    half = path.with_suffix(".part")
    torch.save(net.state_dict(), half)
    half.replace(path)


def _run(data: Path, out: Path, plan: Plan, log: TextIO, start: Path | None) -> ToothNet:
    net = ToothNet(plan.channels, plan.features, plan.res_units)
    if start:
        net.load_state_dict(torch.load(start, weights_only=True))
    net.to(device=torch_device("auto"), memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged, progress = Averaged(net), Progress()
    optimizer = torch.optim.AdamW(net.parameters(), lr=plan.learning_rate, weight_decay=1e-3)
    validation = load_samples(read_manifest(data, "val"))
    started = saved = time.perf_counter()
    batches = iter(DataLoader(Stream(data, plan, started), batch_size=None, num_workers=1, prefetch_factor=12))
    step, sums = 0, dict[str, float]()
    while (done := (time.perf_counter() - started) / (60 * plan.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan, done)
        parts = _step(net, optimizer, next(batches))
        averaged.update(net)
        step += 1
        sums = {key: sums.get(key, 0.0) + value for key, value in parts.items()}
        if step % _LOG_STEPS:
            continue
        line: dict[str, float] = {"step": step, "seconds": round(time.perf_counter() - started)}
        line |= {key: round(value / _LOG_STEPS, 4) for key, value in sums.items()}
        sums = {}
        if time.perf_counter() - saved > _SAVE_SECONDS:
            save(averaged.net, out / "checkpoint.pt")
            line["val_dice"] = round(quick_dice(averaged.net, validation, plan.large), 4)
            saved = time.perf_counter()
        log.write(json.dumps(line) + "\n")
        log.flush()
        progress.tell(f"{100 * done:5.1f} %  {line}")
    progress.end(f"{step} steps")
    return averaged.net


def _step(net: ToothNet, optimizer: torch.optim.Optimizer, batch: tuple[torch.Tensor, ...]) -> dict[str, float]:
    device = next(net.parameters()).device
    pixels, classes, heat, offsets, centres = (part.to(device) for part in batch)
    output = net(pixels.contiguous(memory_format=torch.channels_last))
    loss = tooth_loss(output, classes, heat, offsets, int(centres))
    optimizer.zero_grad(set_to_none=True)
    loss.total.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer.step()
    return loss.parts


@torch.no_grad()
def quick_dice(net: ToothNet, samples: list[Sample], size: tuple[int, int]) -> float:
    """Mean Dice over the numbers on whole images: a glance at progress, not the measure that is reported."""
    device = next(net.parameters()).device
    both, total = torch.zeros(CLASSES), torch.zeros(CLASSES)
    for sample in samples:
        pixels = torch.tensor(sample.pixels).float()[None, None] / 255
        pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
        found = net(normalize(standardize(pixels)).to(device))[:, :CLASSES].argmax(1).cpu()
        truth = torch.tensor(sample.classes).float()[None, None]
        truth = torch.nn.functional.interpolate(truth, found.shape[-2:], mode="nearest").long()[0]
        both += torch.bincount(truth[found == truth], minlength=CLASSES)
        total += torch.bincount(truth.flatten(), minlength=CLASSES) + torch.bincount(found.flatten(), minlength=CLASSES)
    return float((2 * both / total.clamp(min=1))[1:].mean())
