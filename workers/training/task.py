"""What ``dentgate train``, ``evaluate`` and ``tune`` can be asked for, whatever the task."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Training:
    """An order to train.

    Attributes:
        data: folder with the images and their labels.
        out: folder for what comes out: log, checkpoints, report.html and the bundle.
        minutes: time budget; the schedule ends with it.
        seed: of everything random.
        start: weights to go on from, a checkpoint in torchvision's or timm's layout, or ``torchvision:NAME`` or
            ``timm:NAME``, which that library fetches; None = from scratch.
        frozen: keep the weights of ``start`` and train the rest only.
        backbone: name of the network, for tasks that let the user choose; empty = the task's own.
        device: auto, cpu, cuda or cuda:N.
        resume: go on with the run that ``out`` holds.
        threads: of torch, on a CPU.
        settings: anything else of the task's plan, by name.
    """

    data: Path
    out: Path
    minutes: float
    seed: int = 0
    start: Path | None = None
    frozen: bool = False
    backbone: str = ""
    device: str = "auto"
    resume: bool = False
    threads: int = 1
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An order to measure a bundle on labelled images, by the code that serves.

    Attributes:
        data, out: folders of the images and for the report.
        split: part of the manifest.
        bundle: folder of the bundle; None = the one that ships.
        stress: re-frame, stretch and re-tone each image as another device might.
    """

    data: Path
    out: Path
    split: str = "val"
    bundle: Path | None = None
    stress: bool = False


class Task(Protocol):
    """Something that can be trained and measured. One module each, listed in ``workers.training.tasks``."""

    name: str
    purpose: str  # one line, for the help

    def train(self, order: Training) -> Path:
        """Train; the folder of the bundle. Raises ConfigurationError before the first step where the data are wrong."""
        ...

    def evaluate(self, order: Evaluation) -> dict[str, Any]:
        """Measure; the report, which also lies in ``order.out`` as report.json and report.html."""
        ...
