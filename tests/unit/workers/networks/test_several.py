"""Several small residual networks as one."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from workers.models.grad_cam import class_maps
from workers.networks.residual import SmallResNet
from workers.networks.several import SeveralResNets, apart, joined

_SMALL: dict[str, Any] = {"channels": 2, "widths": (4, 6), "blocks": (1, 2)}


def drawn(seed: int) -> SmallResNet:
    """A network with its own weights, batch statistics included."""
    torch.manual_seed(seed)
    network = SmallResNet(3, dropout=0.5, **_SMALL)
    network.train()(torch.randn(8, 2, 32, 32))
    return network.eval()


def test_the_answer_is_the_mean_of_the_members() -> None:
    """Logits and exact class activation maps are those of the members, averaged."""
    members, pixels = [drawn(seed) for seed in range(3)], torch.randn(2, 2, 32, 32)
    together = SeveralResNets(3, 3, 0.5, **_SMALL).eval()
    together.load_state_dict(joined([member.state_dict() for member in members]))
    with torch.inference_mode():
        answers = [member(pixels) for member in members]
        assert all(not torch.allclose(one, other, atol=1e-3) for one, other in pairwise(answers))
        assert torch.allclose(together(pixels), torch.stack(answers).mean(0), atol=1e-5)
        maps = class_maps(together)
        assert maps is not None
        assert torch.allclose(maps(pixels).mean((2, 3)), together(pixels), atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_members_come_back_out(count: int) -> None:
    """Training can go on from each member: apart undoes joined."""
    states = [drawn(seed).state_dict() for seed in range(count)]
    for state, back in zip(states, apart(joined(states)), strict=True):
        assert state.keys() == back.keys()
        for name in state.keys() - {"fc.bias"}:
            assert torch.allclose(state[name], back[name]), name


def test_other_weights_stay_as_they_are() -> None:
    """What is no joined network is its own only member."""
    state = drawn(0).state_dict()
    assert [list(part) for part in apart(state)] == [list(state)]
