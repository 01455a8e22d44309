"""Time-boxed training: the learning rate follows the elapsed part of the minutes given, so it always ends annealed.

One process computes, one augments: on two cores this beats two computing threads. The weights kept are an exponential
mean over steps (Polyak averaging), which is worth about a point and costs nothing: the last, or with ``patience`` those
of the best look at the validation films. Everything that a training needs to go on after a kill lies in ``state.pt``,
from the first step on.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from service.domain.errors import ConfigurationError
from workers.inference import torch_device
from workers.networks.tooth_net import CLASSES, ToothNet
from workers.training.averaged_run import AveragedRun
from workers.training.images.checkpoints import looks_like, read_checkpoint
from workers.training.journal import Journal
from workers.training.progress import Progress
from workers.training.teeth.augment import standardize
from workers.training.teeth.losses import tooth_loss
from workers.training.teeth.panoramics import Sample, load_samples, read_manifest
from workers.training.teeth.plan import Plan
from workers.training.teeth.stream import Stream, normalize

_SAVE_SECONDS = 150.0
_LOG_STEPS = 50


class Run(AveragedRun[ToothNet]):
    """A training of the tooth network under way."""

    def __init__(self, plan: Plan, device: torch.device, start: Path | None) -> None:
        """A new one; ``start``: weights to go on from. Raises ConfigurationError where they do not fit."""
        net = ToothNet(plan.channels, plan.features, plan.res_units, plan.dropout)
        if start:
            _load(net, start)
        super().__init__(plan, net, device)
        self.plan = plan

    def step(self, batch: tuple[torch.Tensor, ...]) -> dict[str, float]:
        """One step of the optimizer; the parts of the loss."""
        device = next(self.net.parameters()).device
        pixels, classes, heat, offsets, centres, known = (part.to(device) for part in batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.plan.mixed):
            output = self.net(pixels.contiguous(memory_format=torch.channels_last))
        loss = tooth_loss(output.float(), classes, heat, offsets, int(centres), known)
        self.descend(loss.total)
        return loss.parts


def fit(
    data: Path, out: Path, plan: Plan, *, device: str = "auto", start: Path | None = None, resume: bool = False
) -> Path:
    """Train; writes ``out/model.pt`` (averaged weights), ``plan.json``, ``log.jsonl`` (and TensorBoard), ``state.pt``.

    Args:
        data: folder with manifest.csv, images/, labels/.
        out: folder for the results; made if need be.
        plan: how; half an hour on two cores is the least that is useful.
        device: as in the setting ``analysis.device``.
        start: weights to go on from, for example those of an earlier training.
        resume: go on with the run in ``out``.

    Returns:
        The file of weights.

    Raises:
        ConfigurationError: the data or the start are not what they should be; before the first step.
    """
    for folder in (data, Path(plan.numbered)) if plan.numbered else (data,):
        read_manifest(folder, "train")
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    run = Run(plan, torch_device(device), start)
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        run.restore(out / "state.pt")
    else:
        run.save(out / "state.pt")
    (out / "plan.json").write_text(json.dumps(asdict(plan), indent=2) + "\n", encoding="utf-8")
    if not run.over:  # as one is that was resumed after its end
        with Journal(out, resumed=resume) as journal:
            _train(run, data, out, journal)
    torch.save(run.kept.state_dict(), out / "model.pt")
    return out / "model.pt"


def _train(run: Run, data: Path, out: Path, journal: Journal) -> None:
    plan, progress = run.plan, Progress()
    validation = load_samples(read_manifest(data, "val"))
    started = time.perf_counter() - run.seconds
    saved = time.perf_counter()
    stream = Stream(data, plan, started, run.steps)
    batches = iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=12))
    sums, logged = dict[str, float](), run.steps
    while not run.over:
        sums = {key: sums.get(key, 0.0) + value for key, value in run.step(next(batches)).items()}
        run.seconds = time.perf_counter() - started
        if run.steps % _LOG_STEPS and not run.over:
            continue
        line: dict[str, float] = {"step": run.steps, "seconds": round(run.seconds)}
        line |= {key: round(value / (run.steps - logged), 4) for key, value in sums.items()}
        sums, logged = {}, run.steps
        if time.perf_counter() - saved > _SAVE_SECONDS or run.over:
            line["val_dice"] = round(quick_dice(run.averaged, validation, plan.large), 4)
            run.watch(line["val_dice"])
            run.save(out / "state.pt")
            saved = time.perf_counter()
        journal.write(line)
        progress.tell(f"{min(100 * run.seconds / (60 * plan.minutes), 100):5.1f} %  {line}")
    progress.end(f"{run.steps} steps")


def _load(net: ToothNet, start: Path) -> None:
    """Weights of a training, a bundle or a ``state.pt``; only whole and of this size. Raises ConfigurationError."""
    state = read_checkpoint(start)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        own = net.state_dict().keys()
        ours = 2 * len(own & state.keys()) > len(own)  # sizes differ in some layers, other networks in all
        sizes = "it is a tooth model of another size; set channels, features and res_units as in its plan.json"
        what = sizes if ours else f"it looks like {looks_like(state)}"
        message = f"checkpoint {start} does not hold weights of this network: {what}"
        raise ConfigurationError(message) from error


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
        both += torch.bincount(truth[found == truth], minlength=CLASSES)[:CLASSES]
        total += torch.bincount(truth.flatten(), minlength=CLASSES)[:CLASSES]
        total += torch.bincount(found.flatten(), minlength=CLASSES)
    return float((2 * both / total.clamp(min=1))[1:].mean())
