"""Optimizer, schedule and dropout of every network that is trained, and what must not change between two halves."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.domain.errors import ConfigurationError
from workers.networks.object_net import ObjectNet
from workers.training.averaged_run import AveragedRun, learning_rate
from workers.training.conditions import fit as conditions
from workers.training.conditions import objects
from workers.training.descent import Optimizer, Schedule
from workers.training.spine.fit import Run as SpineRun
from workers.training.spine.task import plan_of as spine_plan
from workers.training.task import Training
from workers.training.teeth.fit import Run as ToothRun
from workers.training.teeth.plan import plan_of as tooth_plan

SMALL = {"channels": [8, 16], "features": 8, "res_units": 1, "mixed": False}


def order(**settings: object) -> Training:
    """One minute on a CPU."""
    return Training(Path("data"), Path("out"), 1.0, device="cpu", settings=settings)


def run_of(task: str, **settings: object) -> AveragedRun[torch.nn.Module]:
    """A training of a dense network, before its first step."""
    if task == "objects":
        plan = replace(conditions.object_plan(order(**settings)), size=(32, 64))
        return objects.Run(ObjectNet(channels=(8, 16), features=8), plan)  # type: ignore[return-value]
    if task == "teeth":
        return ToothRun(tooth_plan(order(**SMALL | settings)), torch.device("cpu"), None)  # type: ignore[return-value]
    return SpineRun(spine_plan(order(**SMALL | settings)), torch.device("cpu"), None)  # type: ignore[return-value]


@pytest.mark.parametrize("task", ["teeth", "spine", "objects"])
def test_dense_networks_take_optimizer_and_schedule(task: str) -> None:
    """Adam instead of AdamW, and a rate that stays or falls in steps, for teeth, spines and objects on panoramics."""
    assert type(run_of(task).optimizer) is torch.optim.AdamW
    assert type(run_of(task, optimizer="adam").optimizer) is torch.optim.Adam
    rates = {}
    for schedule in Schedule:
        run = run_of(task, schedule=str(schedule))
        shares = [learning_rate(run.budget, done, run.pace) / run.budget.learning_rate for done in (0.4, 0.6, 0.9, 1)]
        rates[schedule] = [round(share, 3) for share in shares]
    assert rates[Schedule.CONSTANT] == [1, 1, 1, 1]
    assert rates[Schedule.STEP] == [1, 0.1, 0.01, 0.01]
    falling = rates[Schedule.COSINE]
    assert falling == sorted(falling, reverse=True)
    assert 1 > falling[0] > 0.5
    assert falling[-1] <= 0.01


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_training_that_diverged_ends(loss: float) -> None:
    """No later step could bring the weights back; the mend is named."""
    with pytest.raises(ConfigurationError, match=f"after 0 steps the loss is {loss}; set a smaller learning_rate"):
        run_of("teeth").descend(torch.tensor(loss))


def test_a_step_takes_the_rate_of_the_schedule() -> None:
    """What the plan says reaches the optimizer, not the plan.json alone."""
    rates = []
    for schedule in ("step", "constant"):
        run = run_of("teeth", schedule=schedule)
        run.seconds = 36.0
        run.descend(run.net(torch.randn(2, 1, 32, 64)).square().mean())
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.5e-4, 2.5e-3])


@pytest.mark.parametrize("task", ["teeth", "spine"])
def test_dropout_works_while_it_trains_only(task: str) -> None:
    """With dropout two looks in training differ, those of the average do not; its weights fit a network without."""
    run, plain, given = run_of(task, dropout=0.3), run_of(task), torch.randn(2, 1, 32, 64)
    with torch.no_grad():
        assert not torch.equal(run.net(given), run.net(given))
        assert torch.equal(run.averaged(given), run.averaged(given))
    plain.net.load_state_dict(run.averaged.state_dict())
    with pytest.raises(ConfigurationError, match=r"dropout is 1\.0; it must be at least 0"):
        run_of(task, dropout=1.0)


@pytest.mark.parametrize("change", [{"optimizer": "adam"}, {"weight_decay": 0.3}])
def test_a_run_goes_on_with_the_optimizer_it_began_with(change: dict[str, object], tmp_path: Path) -> None:
    """Another optimizer or decay, which the state read back would silently undo, is refused with both named."""
    run = run_of("spine")
    run.save(tmp_path / "state.pt")
    run_of("spine", learning_rate=1e-4, schedule="step").restore(tmp_path / "state.pt")
    with pytest.raises(ConfigurationError, match=r"differ \(optimizer adamw, weight_decay 0.01 and optimizer adam"):
        run_of("spine", **change).restore(tmp_path / "state.pt")


@pytest.mark.parametrize("name", ["channels", "masks", "classes"])
def test_a_setting_of_the_crops_that_would_do_nothing_is_refused(name: str) -> None:
    """What follows from the crops themselves cannot be set."""
    with pytest.raises(ConfigurationError, match=f"setting {name} of task conditions follows"):
        conditions.crop_plan(order(**{name: 1}))


def test_the_object_network_follows_the_crops() -> None:
    """Optimizer, schedule, patience and precision are one setting for both networks of conditions."""
    plan = conditions.object_plan(order(optimizer="adam", schedule="constant", patience=3, mixed=True))
    assert (plan.optimizer, plan.schedule, plan.patience, plan.mixed) == (
        Optimizer.ADAM,
        Schedule.CONSTANT,
        3,
        True,
    )
