"""Several small residual networks as one: the mean of their answers is surer than each (Lakshminarayanan 2017).

arXiv 1612.01474. They see the same pictures and share one last layer, so the class activation map stays exact.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from workers.networks.residual import SmallResNet

_BODY = "bodies."
_STEM, _STAGES = "stem", "stages"


class SeveralResNets(nn.Module):
    """``members`` networks like ``SmallResNet``; the logits are the mean of theirs."""

    def __init__(self, members: int = 3, classes: int = 1, dropout: float = 0.3, **arguments: Any) -> None:  # noqa: ANN401 - those of another class
        """``arguments``: the others of ``SmallResNet``."""
        super().__init__()
        networks = [SmallResNet(classes, dropout=dropout, **arguments) for _ in range(members)]
        self.bodies = nn.ModuleList(nn.ModuleDict({_STEM: n.stem, _STAGES: n.stages}) for n in networks)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(sum(n.fc.in_features for n in networks), classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, rows, columns) to (B, members * widths[-1], rows / 32, columns / 32)."""
        return torch.cat([body[_STAGES](body[_STEM](x)) for body in self.bodies], 1)  # type: ignore[index]

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, C, h, w) to logits (B, classes)."""
        logits: torch.Tensor = self.fc(self.dropout(features.mean((2, 3))))
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (B, channels, rows, columns), roughly zero mean, to logits (B, classes)."""
        return self.classify(self.features(x))


def joined(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The weights of ``SeveralResNets`` from those of its members, each as ``SmallResNet`` names them."""
    bodies = {
        f"{_BODY}{k}.{name}": value
        for k, state in enumerate(states)
        for name, value in state.items()
        if not name.startswith("fc.")
    }
    weight = torch.cat([state["fc.weight"] for state in states], 1) / len(states)
    return bodies | {"fc.weight": weight, "fc.bias": torch.stack([state["fc.bias"] for state in states]).mean(0)}


def apart(state: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The members of ``joined``; weights of any other network come back as they are, as the only member."""
    count = len({name.split(".")[1] for name in state if name.startswith(_BODY)})
    if not count:
        return [dict(state)]
    weights = state["fc.weight"].chunk(count, 1)
    return [
        {name.removeprefix(f"{_BODY}{k}."): value for name, value in state.items() if name.startswith(f"{_BODY}{k}.")}
        | {"fc.weight": weights[k] * count, "fc.bias": state["fc.bias"]}
        for k in range(count)
    ]
