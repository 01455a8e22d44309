"""How weights go down their loss: the optimizer, and the learning rate over the time; what every plan may choose."""

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import torch

from service.domain.errors import ConfigurationError

_STEPS = ((0.75, 0.01), (0.5, 0.1), (0.0, 1.0))  # from which part of the time on which share of the learning rate


class Optimizer(StrEnum):
    """AdamW (Loshchilov 2019), or Adam (Kingma 2015), whose weight decay is a penalty in the loss."""

    ADAMW = "adamw"
    ADAM = "adam"

    def of(self, parameters: Iterable[Any], learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Optimizer:
        """For parameters, or groups of them with a weight decay of their own."""
        kind = torch.optim.AdamW if self == Optimizer.ADAMW else torch.optim.Adam
        return kind(parameters, lr=learning_rate, weight_decay=weight_decay)


class Schedule(StrEnum):
    """How the learning rate goes after the warm-up, over the time.

    Cosine to (nearly) nothing; constant; step: a tenth from half of the time on, a hundredth from three quarters on.
    """

    COSINE = "cosine"
    CONSTANT = "constant"
    STEP = "step"

    def share_at(self, done: float, *, flat: float = 0.0, least: float = 0.01) -> float:
        """Of the learning rate, after this part of the time.

        Args:
            done: 0 to 1.
            flat: part of the time before the cosine begins to fall.
            least: share at the end of the cosine.
        """
        if self == Schedule.COSINE:
            late = max(done - flat, 0.0) / (1 - flat)
            return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * min(late, 1.0)))
        return next(share for begun, share in _STEPS if done >= begun) if self == Schedule.STEP else 1.0


def check_loss(loss: float, steps: int) -> float:
    """The loss. Raises ConfigurationError where it is no finite number: no later step could bring the weights back."""
    if not math.isfinite(loss):
        message = (
            f"the training diverged: after {steps} steps the loss is {loss}; set a smaller learning_rate, for example "
            "a tenth of that in plan.json"
        )
        raise ConfigurationError(message)
    return loss
