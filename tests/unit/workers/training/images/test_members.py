"""Several networks trained in turn, and made one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.images.test_fit import PLAN, drawn
from workers.networks.several import SeveralResNets, apart
from workers.training.images.fit import logits_of
from workers.training.images.members import (
    SEVERAL,
    SMALL,
    fit_members,
    folders_of,
    member_curves,
    members_of,
    minutes_of,
)
from workers.training.images.plan import Plan

TWO = replace(PLAN, network={"_target_": SMALL, "widths": [4, 8], "blocks": [1, 1]}, minutes=0.04)


def test_two_networks_are_trained_and_answer_as_one(tmp_path: Path) -> None:
    """Each has its seed, half of the minutes, its folder and its curves; the answer is their mean."""
    network, plan = fit_members(drawn(32), drawn(8, seed=1), TWO, tmp_path, 2)
    assert isinstance(network, SeveralResNets)
    assert (plan.definition()["_target_"], plan.definition()["members"]) == (SEVERAL, 2)
    folders = folders_of(tmp_path, 2)
    assert minutes_of(plan, folders) == round(TWO.minutes, 1)
    assert [block.title for block in member_curves(folders)] == [f"Learning curves, network {n} of 2" for n in (1, 2)]
    one, other = (torch.load(folder / "model.pt", weights_only=True) for folder in folders)
    assert not torch.equal(one["fc.weight"], other["fc.weight"])
    answers = []
    for state in (one, other):
        member, own = fit_of(state)
        answers.append(logits_of(member, drawn(8, seed=2), own))
    assert np.allclose(logits_of(network, drawn(8, seed=2), plan), np.mean(answers, 0), atol=1e-5)


def fit_of(state: dict[str, torch.Tensor]) -> tuple[torch.nn.Module, Plan]:
    """A member by itself."""
    member = SeveralResNets(1, 1, 0.3, channels=1, widths=[4, 8], blocks=[1, 1])
    bodies = {f"bodies.0.{name}": value for name, value in state.items() if not name.startswith("fc.")}
    member.load_state_dict(bodies | {name: value for name, value in state.items() if name.startswith("fc.")})
    return member.eval(), TWO


@pytest.mark.parametrize("members", [1, 2, 3])
def test_training_goes_on_from_several(tmp_path: Path, members: int) -> None:
    """The weights of two networks begin any number of them, each of its own."""
    together, _ = fit_members(drawn(32), [], TWO, tmp_path / "first", 2)
    torch.save(together.state_dict(), tmp_path / "several.pt")
    still = replace(TWO, learning_rate=1e-9, minutes=0.01)
    again, _ = fit_members(drawn(32), [], still, tmp_path / "again", members, start=tmp_path / "several.pt")
    firsts, parts = apart(together.state_dict()), apart(again.state_dict())
    assert len(parts) == members
    for number, part in enumerate(parts):
        assert torch.allclose(part["stem.0.weight"], firsts[number % 2]["stem.0.weight"], atol=1e-5)


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    """Only small residual networks are joined; and the number of them is a whole one."""
    with pytest.raises(ConfigurationError, match="several networks can only be made of SmallResNet; set members=1"):
        fit_members(drawn(32), [], PLAN, tmp_path, 2)
    assert members_of({}, 3) == 3
    for wrong in (0, 9, "two", True, 1.5):
        with pytest.raises(ConfigurationError, match="it must be a whole number from 1 to 8"):
            members_of({"members": wrong}, 3)
