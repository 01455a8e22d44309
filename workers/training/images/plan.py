"""How to train an image classifier; all of it goes into the bundle's metadata."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from workers.training.descent import Optimizer, Schedule

_GROWN = 2 / 3  # part of the time after which the size is full
_WARM = 0.05  # part of the time in which the learning rate rises


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far training pictures are changed. Chances and shares are 0 to 1; 0 switches a change off.

    Attributes:
        rotation: degrees to either side; 180 for parts that are laid down in any direction.
        zoom, stretch: log of the scale, and of the aspect, to either side.
        shift: share of the picture.
        flip: mirroring left to right is allowed (it makes no other class).
        contrast, gamma, brightness: log of the factor, log of the exponent, offset, to either side.
        colour: log of the gain of each colour, and share of the saturation that may go; colour pictures only.
        invert: chance to be shown as a negative, as some viewers save radiographs.
        blur: chance to lose resolution, by blur or by coarse pixels.
        noise: most standard deviation of added noise, on the scale 0 to 1.
        erasing: chance that patches are painted over: labels, markers and arrows must not decide.
        erased: most share of rows and columns that a patch has.
    """

    rotation: float = 10.0
    zoom: float = 0.15
    stretch: float = 0.05
    shift: float = 0.06
    flip: bool = True
    contrast: float = 0.3
    gamma: float = 0.3
    brightness: float = 0.08
    colour: float = 0.1
    invert: float = 0.0
    blur: float = 0.2
    noise: float = 0.03
    erasing: float = 0.3
    erased: float = 0.3

    def times(self, strength: float) -> "Augmentation":
        """All changes so much stronger; chances and shares at most 1."""
        scaled = {f.name: strength * getattr(self, f.name) for f in fields(self) if f.name != "flip"}
        for name in ("shift", "invert", "blur", "erasing", "erased"):
            scaled[name] = min(scaled[name], 1.0)
        return replace(self, **scaled)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a training needs beside the pictures.

    Attributes:
        classes: names, in the order of the labels.
        network: MONAI notation without ``classes``, ``channels`` and ``dropout``, which ``definition`` adds.
        minutes: time budget; the schedule ends with it.
        exclusive: exactly one class holds (softmax, cross-entropy); else each for itself (sigmoid, binary
            cross-entropy, unknown labels left out).
        size: rows and columns that the network sees.
        channels: of a picture; the last ``masks`` of them are masks, whose values stay as they are.
        mean, deviation: per channel or one for all, of pixels 0 to 1.
        optimizer, schedule: see there.
        dropout: before the last layer.
        strength: of the augmentation, as a factor on all of it.
        smoothing: of the labels.
        weights: of the classes in the loss (of their examples, not of their counter-examples); empty = 1 each.
        balance: see ``samples.drawing_chances``.
        mixup: share of the batches that are mixed in pairs (Zhang 2018).
        cutmix: share of the batches in which pairs exchange a rectangle, and labels by its area (Yun 2019).
        growing: size at the beginning as a share of ``size``; full from two thirds of the time on. Below 1 a minute
            holds more steps.
        contest: weight of a second loss in which the classes of a picture contest with each other (softmax over
            those that were filed); not for ``exclusive``, which has no other.
        averaging: decay of the exponential mean of the weights.
        patience: validations without a better AUC after which it ends, and the best weights are kept; 0 = runs to
            the end and keeps the last, so that a figure on the validation images is not the best of many.
        mixed: bfloat16 where it is safe.
        threads: of torch on a CPU.
    """

    classes: tuple[str, ...]
    network: dict[str, Any]
    minutes: float
    exclusive: bool = False
    size: tuple[int, int] = (224, 224)
    channels: int = 1
    masks: int = 0
    mean: tuple[float, ...] = (0.45,)
    deviation: tuple[float, ...] = (0.25,)
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    optimizer: Optimizer = Optimizer.ADAMW
    schedule: Schedule = Schedule.COSINE
    dropout: float = 0.3
    strength: float = 1.0
    smoothing: float = 0.05
    weights: tuple[float, ...] = ()
    balance: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    growing: float = 1.0
    contest: float = 0.0
    averaging: float = 0.995
    patience: int = 0
    mixed: bool = False
    seed: int = 0
    threads: int = 1
    device: str = "auto"
    augmentation: Augmentation = field(default_factory=Augmentation)

    def definition(self) -> dict[str, Any]:
        """The network in MONAI's notation, as configs/inference.json holds it under ``network_def``."""
        return self.network | {"classes": len(self.classes), "channels": self.channels, "dropout": self.dropout}

    def size_at(self, done: float) -> tuple[int, int]:
        """Rows and columns, multiples of 16, after this part of the time (0 to 1)."""
        share = min(self.growing + (1 - self.growing) * done / _GROWN, 1.0)
        rows, columns = (length if share >= 1 else max(16 * round(length * share / 16), 16) for length in self.size)
        return rows, columns

    def learning_rate_at(self, done: float) -> float:
        """After this part of the time (0 to 1): rising over the first 5 %, then as the schedule says."""
        done = min(done, 1.0)
        return self.learning_rate * min((done + 1e-3) / _WARM, 1.0) * self.schedule.share_at(done)

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """(..., channels, rows, columns) 0 to 1 to what the network sees."""
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (self.mean, self.deviation))
        return (pixels - mean) / deviation
