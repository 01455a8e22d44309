"""Time-boxed training: the learning rate follows the elapsed part of the minutes given, so it always ends annealed.

One process computes, one augments. The weights kept are an exponential mean over steps (Polyak averaging), the last, or
with ``patience`` those with the least loss on the validation films. Everything that a training needs to go on after a
kill lies in ``state.pt``, from the first step on.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from service.domain.errors import ConfigurationError
from workers.inference import torch_device
from workers.networks.spine_net import SpineNet
from workers.training.averaged_run import AveragedRun
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


class Run(AveragedRun[SpineNet]):
    """A training of the spine network under way."""

    def __init__(self, plan: Plan, device: torch.device, start: Path | None) -> None:
        """A new one; ``start``: weights to go on from. Raises ConfigurationError where they do not fit."""
        net = SpineNet(plan.channels, plan.features, plan.res_units, plan.dropout)
        if start:
            _load(net, start)
        super().__init__(plan, net, device)
        self.plan = plan

    def step(self, batch: tuple[torch.Tensor, ...]) -> dict[str, float]:
        """One step of the optimizer; the parts of the loss."""
        device = next(self.net.parameters()).device
        pixels, *targets = (part.to(device) for part in batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.plan.mixed):
            output = self.net(pixels.contiguous(memory_format=torch.channels_last))
        loss = spine_loss(output, *targets)
        self.descend(loss.total)
        return loss.parts | {"loss": loss.total.item()}


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
            run.watch(-line["val_loss"])
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
