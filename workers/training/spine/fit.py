"""Time-boxed training: the learning rate follows the elapsed part of the minutes given, so it always ends annealed.

One process computes, one augments. The weights kept are an exponential mean over steps (Polyak averaging), the last, or
with ``patience`` those with the least loss on the validation films. Everything that a training needs to go on after a
kill lies in ``state.pt``, from the first step on.
"""

import copy
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from service.domain.errors import ConfigurationError
from workers.inference import torch_device
from workers.networks.spine_net import SpineNet
from workers.training.images.checkpoints import looks_like, read_checkpoint
from workers.training.journal import Journal
from workers.training.progress import Progress
from workers.training.spine.films import read_manifest
from workers.training.spine.losses import spine_loss
from workers.training.spine.plan import Plan
from workers.training.spine.stream import Stream
from workers.training.spine.watch import Watch

_SAVE_SECONDS = 120.0
_LOG_STEPS = 50
_RESUMED = 1_000_003  # added to the seed per step done, so that a resumed stream brings new examples


def learning_rate(plan: Plan, done: float) -> float:
    """Warm-up over 3 %, flat to 35 %, cosine to zero; ``done``: elapsed part of the minutes, 0..1."""
    warm = min(done / 0.03, 1.0)
    late = max(done - 0.35, 0.0) / 0.65
    return plan.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(late, 1.0))))


class Run:
    """A training under way: network, its average, optimizer, steps and seconds done.

    ``watched``: the least loss on the validation films and for how many looks it has not fallen; ``best``: the average
    that had it, kept where the plan has patience.
    """

    def __init__(self, plan: Plan, device: torch.device, start: Path | None) -> None:
        """A new one; ``start``: weights to go on from. Raises ConfigurationError where they do not fit."""
        self.plan, self.steps, self.seconds, self.decay = plan, 0, 0.0, 0.998
        self.net = SpineNet(plan.channels, plan.features, plan.res_units)
        if start:
            _load(self.net, start)
        self.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.net).eval()
        self.best: SpineNet | None = None
        self.watched = (math.inf, 0)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)

    def step(self, batch: tuple[torch.Tensor, ...]) -> dict[str, float]:
        """One step of the optimizer; the parts of the loss."""
        device = next(self.net.parameters()).device
        pixels, *targets = (part.to(device) for part in batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.plan.mixed):
            output = self.net(pixels.contiguous(memory_format=torch.channels_last))
        loss = spine_loss(output, *targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        self.steps += 1
        self._average()
        return loss.parts | {"loss": loss.total.item()}

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards the network; quickly at first. Batch statistics alike."""
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        pairs = zip(self.averaged.state_dict().values(), self.net.state_dict().values(), strict=True)
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - keep)

    def watch(self, loss: float) -> None:
        """Take note of a loss of the average on the validation films."""
        least, stale = self.watched
        self.watched = (loss, 0) if loss < least else (least, stale + 1)
        if self.plan.patience and loss < least:
            self.best = copy.deepcopy(self.averaged)

    @property
    def over(self) -> bool:
        """Whether the time is up, or patience is at an end."""
        spent = self.seconds >= 60 * self.plan.minutes
        return spent or (self.plan.patience > 0 and self.watched[1] >= self.plan.patience)

    @property
    def kept(self) -> SpineNet:
        """The network that the training is for."""
        return self.best if self.best is not None and self.plan.patience else self.averaged

    def save(self, file: Path) -> None:
        """Write all of it, complete or not at all."""
        state: dict[str, Any] = {"net": self.net.state_dict(), "averaged": self.averaged.state_dict()}
        state |= {"optimizer": self.optimizer.state_dict(), "done": [self.steps, self.seconds]}
        state |= {"best": self.best.state_dict() if self.best else None, "watched": list(self.watched)}
        half = file.with_suffix(".part")
        torch.save(state, half)
        half.replace(file)

    def restore(self, file: Path) -> None:
        """Go on with what ``save`` wrote. Raises ConfigurationError where there is none or another's."""
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            self.net.load_state_dict(state["net"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
            if state["best"]:
                self.best = copy.deepcopy(self.averaged)
                self.best.load_state_dict(state["best"])
            self.watched = (float(state["watched"][0]), int(state["watched"][1]))
            self.steps, self.seconds = int(state["done"][0]), float(state["done"][1])
        except Exception as error:  # torch raises many kinds for a file that is not its own
            message = f"{file} does not hold a run of this plan ({type(error).__name__}); train without --resume"
            raise ConfigurationError(message) from error


def fit(
    data: Path, out: Path, plan: Plan, *, device: str = "auto", start: Path | None = None, resume: bool = False
) -> Path:
    """Train; writes ``out/model.pt`` (averaged weights), ``plan.json``, ``log.jsonl`` (and TensorBoard), ``state.pt``.

    Args:
        data: folder with manifest.csv, images/, labels/landmarks.json.
        out: folder for the results; made if need be.
        plan: how.
        device: as in the setting ``analysis.device``.
        start: weights to go on from.
        resume: go on with the run in ``out``.

    Returns:
        The file of weights.

    Raises:
        ConfigurationError: the data or the start are not what they should be; before the first step.
    """
    for split in ("train", "val"):
        read_manifest(data, split)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    run = Run(plan, torch_device(device), start)
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        run.restore(out / "state.pt")
    else:
        run.save(out / "state.pt")
    (out / "plan.json").write_text(json.dumps(asdict(plan), indent=2) + "\n", encoding="utf-8")
    with Journal(out, resumed=resume) as journal:
        _train(run, data, out, journal)
    torch.save(run.kept.state_dict(), out / "model.pt")
    return out / "model.pt"


def _train(run: Run, data: Path, out: Path, journal: Journal) -> None:
    plan, progress = run.plan, Progress()
    begun, watch = time.perf_counter() - run.seconds, Watch(data, plan)
    stream = Stream(data, plan, plan.seed + _RESUMED * run.steps, begun)
    batches = iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=8))
    saved = time.perf_counter()
    sums = dict[str, float]()
    while not run.over:
        done = run.seconds / (60 * plan.minutes)
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate(plan, done)
        parts = run.step(next(batches))
        run.seconds = time.perf_counter() - begun
        sums = {key: sums.get(key, 0.0) + value for key, value in parts.items()}
        if run.steps % _LOG_STEPS:
            continue
        line: dict[str, float] = {"step": run.steps, "seconds": round(run.seconds)}
        line |= {key: round(value / _LOG_STEPS, 4) for key, value in sums.items()}
        sums = {}
        if watch.due():
            line["val_loss"] = round(watch.loss(run.averaged), 4)
            run.watch(line["val_loss"])
        journal.write(line)
        progress.tell(f"{100 * done:5.1f} %  {line}")
        if time.perf_counter() - saved > _SAVE_SECONDS:
            run.save(out / "state.pt")
            saved = time.perf_counter()
    run.save(out / "state.pt")
    progress.end(f"{run.steps} steps")


def _load(net: SpineNet, start: Path) -> None:
    state, own = read_checkpoint(start), net.state_dict()
    counted = "num_batches_tracked"
    misfits = [
        name
        for name in own
        if not name.endswith(counted) and (name not in state or state[name].shape != own[name].shape)
    ]
    if misfits:
        found = f"has shape {tuple(state[misfits[0]].shape)}" if misfits[0] in state else "is missing"
        message = (
            f"checkpoint {start} does not hold weights of this network: {misfits[0]} {found}; it looks like "
            f"{looks_like(state)}; start from a spine model of the same plan (channels, features, res_units)"
        )
        raise ConfigurationError(message)
    net.load_state_dict({name: value for name, value in state.items() if name in own}, strict=False)
