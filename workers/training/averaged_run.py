"""A time-boxed training under way: a network, the exponential mean of its weights over steps, and how far it is.

The mean (Polyak averaging) is worth about a point and costs nothing; it is kept, the last one or, with patience, the
best that was looked at. All of it can be written and read again, so that a killed training goes on.
"""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import nn

from service.domain.errors import ConfigurationError
from workers.training.descent import Optimizer, Schedule, check_loss

_LARGEST_GRADIENT = 5.0
_Net = TypeVar("_Net", bound=nn.Module)


class Budget(Protocol):
    """What of a plan it needs; ``patience``: looks without a better figure after which it ends, 0 = never."""

    @property
    def minutes(self) -> float: ...  # noqa: D102 - see the class
    @property
    def patience(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def optimizer(self) -> Optimizer: ...  # noqa: D102
    @property
    def schedule(self) -> Schedule: ...  # noqa: D102


class Descent(Protocol):
    """What of a plan an optimizer is made with, and keeps when it is written and read again."""

    @property
    def optimizer(self) -> Optimizer: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Pace:
    """Parts of the time, 0 to 1: of the warm-up, and before a cosine falls; its least; how slow the average follows."""

    warm: float = 0.03
    flat: float = 0.35
    least: float = 0.01
    decay: float = 0.998


def learning_rate(plan: Budget, done: float, pace: Pace = Pace()) -> float:
    """Warm-up, then as the schedule says; ``done``: elapsed part of the minutes, 0..1."""
    share = plan.schedule.share_at(done, flat=pace.flat, least=pace.least)
    return plan.learning_rate * min(done / pace.warm, 1.0) * share


def begun_with(plan: Descent) -> dict[str, Any]:
    """What a training that goes on cannot change: the state of its optimizer holds it."""
    return {"optimizer": str(plan.optimizer), "weight_decay": plan.weight_decay}


def same_descent(state: dict[str, Any], plan: Descent, file: Path) -> None:
    """Raises ConfigurationError where a run was begun with another optimizer, which would go on in silence."""
    begun, wanted = state.get("begun", begun_with(plan)), begun_with(plan)
    if begun != wanted:
        told = " and ".join(", ".join(f"{key} {value}" for key, value in each.items()) for each in (begun, wanted))
        message = f"{file} and this order differ ({told}); set them as they were, or train without --resume"
        raise ConfigurationError(message)


class AveragedRun(Generic[_Net]):
    """Network, its average, optimizer, steps and seconds done.

    ``watched``: the best figure of the average on the validation films, and for how many looks it has not risen;
    ``best``: the average that had it, kept where the plan has patience.
    """

    pace: ClassVar[Pace] = Pace()

    def __init__(self, budget: Budget, net: _Net, device: torch.device) -> None:
        """A new one, on a device."""
        self.budget, self.steps, self.seconds = budget, 0, 0.0
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.net).eval()
        self.best: _Net | None = None
        self.watched = (-math.inf, 0)
        self.optimizer = budget.optimizer.of(self.net.parameters(), budget.learning_rate, budget.weight_decay)

    def descend(self, loss: torch.Tensor) -> None:
        """One step of the optimizer, at the learning rate of the moment; the average follows.

        Raises:
            ConfigurationError: the training has diverged.
        """
        check_loss(float(loss.detach()), self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.budget, self.done, self.pace)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), _LARGEST_GRADIENT)
        self.optimizer.step()
        self.steps += 1
        self._average()

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards the network; quickly at first. Batch statistics alike."""
        keep = min(self.pace.decay, (1 + self.steps) / (10 + self.steps))
        pairs = zip(self.averaged.state_dict().values(), self.net.state_dict().values(), strict=True)
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - keep)

    def watch(self, figure: float) -> None:
        """Take note of how good the average is on the validation films; more is better."""
        highest, stale = self.watched
        better = figure > highest
        self.watched = (figure, 0) if better else (highest, stale + 1)
        if self.budget.patience and better:
            self.best = copy.deepcopy(self.averaged)

    @property
    def done(self) -> float:
        """Elapsed part of the time; 1 = at its end."""
        return self.seconds / (60 * self.budget.minutes)

    @property
    def over(self) -> bool:
        """Whether the time is up, or patience is at an end."""
        return self.done >= 1 or (self.budget.patience > 0 and self.watched[1] >= self.budget.patience)

    @property
    def kept(self) -> _Net:
        """The network that the training is for."""
        return self.best if self.best is not None and self.budget.patience else self.averaged

    def save(self, file: Path) -> None:
        """Write all of it, complete or not at all."""
        state: dict[str, Any] = {"net": self.net.state_dict(), "averaged": self.averaged.state_dict()}
        state |= {"optimizer": self.optimizer.state_dict(), "done": [self.steps, self.seconds]}
        state |= {"best": None if self.best is None else self.best.state_dict(), "watched": list(self.watched)}
        state["begun"] = begun_with(self.budget)
        half = file.with_suffix(".part")
        torch.save(state, half)
        half.replace(file)

    def restore(self, file: Path) -> None:
        """Go on with what ``save`` wrote. Raises ConfigurationError where there is none or another's."""
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            same_descent(state, self.budget, file)
            self.net.load_state_dict(state["net"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
            if state["best"]:
                self.best = copy.deepcopy(self.averaged)
                self.best.load_state_dict(state["best"])
            self.watched = (float(state["watched"][0]), int(state["watched"][1]))
            self.steps, self.seconds = int(state["done"][0]), float(state["done"][1])
        except ConfigurationError:
            raise
        except Exception as error:  # torch raises many kinds for a file that is not its own
            message = f"{file} does not hold a run of this plan ({type(error).__name__}); train without --resume"
            raise ConfigurationError(message) from error
