"""A glance at the validation films while a training runs: the loss on examples of them that stay the same."""

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from workers.training.spine.films import load_films, read_manifest
from workers.training.spine.losses import spine_loss
from workers.training.spine.plan import Plan
from workers.training.spine.stream import Tensors, tensors_of

_FILMS = 16
_SHARE = 0.08  # of the time may go into looking


class Watch:
    """Examples of some validation films, changed as in training, each time alike."""

    def __init__(self, data: Path, plan: Plan) -> None:
        """The films are spread over split ``val`` of ``data``. Raises ConfigurationError."""
        records = read_manifest(data, "val")
        films = load_films(records[:: -(-len(records) // _FILMS)])
        self._plan, self._examples = plan, list[Tensors]()
        for number, film in enumerate(films):
            self._examples.append(tensors_of(film, plan.canvas, np.random.default_rng(number)))
        self._looked, self._took = time.perf_counter(), 0.0

    def due(self) -> bool:
        """Whether looking again would not take too much of the time."""
        return self._took <= _SHARE * (time.perf_counter() - self._looked)

    @torch.no_grad()
    def loss(self, net: nn.Module) -> float:
        """Mean of ``spine_loss`` over the examples; ``net`` in evaluation mode."""
        began, device, total = time.perf_counter(), next(net.parameters()).device, 0.0
        for example in self._examples:
            pixels, *targets = (part[None].to(device) for part in example)
            with torch.autocast(device.type, torch.bfloat16, enabled=self._plan.mixed):
                output = net(pixels.contiguous(memory_format=torch.channels_last))
            total += float(spine_loss(output, *targets).total)
        self._looked = time.perf_counter()
        self._took = self._looked - began
        return total / len(self._examples)
