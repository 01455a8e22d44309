"""Training of the object network, from the tooth network's weights: it knows what teeth look like already.

Everything that a training needs to go on after a kill lies in ``checkpoint.pt`` of its folder.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from workers.inference import torch_device
from workers.models.objects import DEVIATION, MEAN
from workers.models.tooth_crops import Jaws
from workers.networks.object_net import KINDS, ObjectNet
from workers.training.averaged_run import AveragedRun, Pace
from workers.training.conditions.labels import Labelled
from workers.training.conditions.targets import draw_view
from workers.training.descent import Optimizer, Schedule
from workers.training.images.augment import augment
from workers.training.images.checkpoints import read_checkpoint
from workers.training.images.learner import write_weights
from workers.training.images.plan import Augmentation
from workers.training.journal import Journal
from workers.training.progress import Progress

CANVAS = (224, 448)
_TONES = Augmentation(rotation=0, zoom=0, stretch=0, shift=0, flip=False, contrast=0.3, erasing=0.25, erased=0.15)
_SIZE_WEIGHT = 0.5
_CENTRE = 0.97  # heat above this is a centre
_LOG_STEPS, _SAVE_SECONDS = 20, 120.0
_RESUMED = 1000  # a run that is gone on with draws other views than those it has seen

Marked = tuple[Jaws, tuple[Labelled, ...]]


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """How the object network is trained.

    Attributes:
        minutes: time budget; the schedule ends with it.
        size: rows and columns that it sees.
        optimizer, schedule: see ``descent``.
        patience: looks at the held films without a smaller loss after which it ends with the best weights; 0 = off.
        mixed: bfloat16 where it is safe.
        device: as in the setting ``analysis.device``.
    """

    minutes: float
    size: tuple[int, int] = CANVAS
    batch: int = 4
    learning_rate: float = 1.2e-3
    weight_decay: float = 1e-2
    optimizer: Optimizer = Optimizer.ADAMW
    schedule: Schedule = Schedule.COSINE
    patience: int = 0
    mixed: bool = False
    seed: int = 0
    device: str = "auto"


class Views(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless batches of views, made in the worker process of a DataLoader."""

    def __init__(self, films: Sequence[Marked], plan: ObjectPlan, seed: int) -> None:
        """``films``: jaws and boxes of each."""
        self.films, self.plan, self.seed = films, plan, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pixels (B, 1, rows, columns) and targets."""
        torch.set_num_threads(1)
        rng = np.random.default_rng(self.seed)
        rare = np.array([_weight(boxes) for _, boxes in self.films])
        while True:
            index = rng.choice(len(self.films), self.plan.batch, p=rare / rare.sum())
            views = [draw_view(jaws, boxes, self.plan.size, rng) for jaws, boxes in (self.films[i] for i in index)]
            raw = torch.from_numpy(np.stack([v.pixels for v in views])[:, None] * 255).round().byte()
            pixels = augment(raw, self.plan.size, _TONES, rng)
            yield (pixels - MEAN) / DEVIATION, torch.from_numpy(np.stack([v.targets for v in views]))


def _weight(boxes: Sequence[Labelled]) -> float:
    """Films with what is rare are seen more often."""
    return 2.0 if any(b.name in {"implant", "impacted", "caries_destroyed"} for b in boxes) else 1.0


def start_from_teeth(net: ObjectNet, teeth: nn.Module) -> ObjectNet:
    """Take over every layer of the tooth network but its head. Raises RuntimeError where the shapes differ."""
    own = net.state_dict()
    net.load_state_dict(own | {key: value for key, value in teeth.state_dict().items() if key in own})
    return net


class Run(AveragedRun[ObjectNet]):
    """A training of the object network under way."""

    pace = Pace(warm=0.05, flat=0.0, least=0.0, decay=0.99)

    def __init__(self, net: ObjectNet, plan: ObjectPlan) -> None:
        """A new one."""
        torch.manual_seed(plan.seed)
        super().__init__(plan, net, torch_device(plan.device))
        self.plan, self.device = plan, torch_device(plan.device)

    def step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> float:
        """One step of the optimizer; the loss."""
        pixels, targets = (part.to(self.device) for part in batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.mixed):
            output = self.net.train()(pixels.contiguous(memory_format=torch.channels_last))
        loss = object_loss(output.float(), targets)
        self.descend(loss)
        return float(loss.detach())

    @torch.no_grad()
    def loss_on(self, films: Sequence[Marked]) -> float:
        """Loss of the averaged weights on films as the model takes them."""
        losses = []
        for jaws, boxes in films:
            view = draw_view(jaws, boxes, self.plan.size, None)
            pixels, targets = (
                torch.from_numpy(part.copy())[None].to(self.device) for part in (view.pixels, view.targets)
            )
            losses.append(float(object_loss(self.averaged((pixels[:, None] - MEAN) / DEVIATION), targets)))
        return round(float(np.mean(losses)), 4)


def forget(out: Path) -> None:
    """Take away what an earlier run left, so that nobody goes on with it."""
    for name in ("model.pt", "checkpoint.pt"):
        (out / name).unlink(missing_ok=True)


def train_objects(
    net: ObjectNet,
    films: Sequence[Marked],
    held: Sequence[Marked],
    plan: ObjectPlan,
    out: Path,
    *,
    resume: bool = False,
) -> ObjectNet:
    """Train for some minutes; the averaged weights, on the CPU.

    Writes ``out/model.pt``, ``plan.json``, ``log.jsonl``, and while it runs ``checkpoint.pt``.

    Args:
        net: with the weights to begin with.
        films, held: jaws and boxes; of ``held`` only the loss is looked at.
        plan: everything else.
        out: folder for the results; made if need be.
        resume: go on with the run that ``out`` holds; what was trained to its end is given as it is.

    Raises:
        ConfigurationError: ``out`` holds a run of something else.
    """
    told = json.dumps(asdict(plan), indent=2) + "\n"
    ended = all((out / name).is_file() for name in ("model.pt", "plan.json"))
    if resume and ended and (out / "plan.json").read_text(encoding="utf-8") == told:
        net.load_state_dict(read_checkpoint(out / "model.pt"))
        return net
    out.mkdir(parents=True, exist_ok=True)
    run = Run(net, plan)
    if resume:
        if (out / "checkpoint.pt").is_file():  # one that was killed before it wrote any begins anew
            run.restore(out / "checkpoint.pt")
        (out / "model.pt").unlink(missing_ok=True)  # of another plan
    else:
        forget(out)
    (out / "plan.json").write_text(told, encoding="utf-8")
    with Journal(out, resumed=run.steps > 0) as journal:
        _learn(run, films, held, out, journal)
    write_weights(run.kept.cpu().state_dict(), out / "model.pt")
    (out / "checkpoint.pt").unlink(missing_ok=True)
    return run.kept


def _learn(run: Run, films: Sequence[Marked], held: Sequence[Marked], out: Path, journal: Journal) -> None:
    progress, losses = Progress(), list[float]()
    views = Views(films, run.plan, run.plan.seed + _RESUMED * run.steps)
    batches = iter(DataLoader(views, batch_size=None, num_workers=1, prefetch_factor=8))
    saved = time.perf_counter()
    begun = saved - run.seconds
    while not run.over:
        losses.append(run.step(next(batches)))
        run.seconds = time.perf_counter() - begun
        late = time.perf_counter() - saved > _SAVE_SECONDS or run.over
        if run.steps % _LOG_STEPS and not late:
            continue
        line = {"step": run.steps, "seconds": round(run.seconds), "loss": round(float(np.mean(losses)), 4)}
        losses.clear()
        if late:
            line["val_loss"] = run.loss_on(held)
            run.watch(-line["val_loss"])
            run.save(out / "checkpoint.pt")
            saved = time.perf_counter()
        journal.write(line)
        progress.tell(f"objects {100 * min(run.done, 1):5.1f} %  {line}")
    progress.end(f"objects: {run.steps} steps")


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
