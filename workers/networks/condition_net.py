"""The two networks of the condition model in one bundle: one judges single teeth, one finds what is no tooth."""

from typing import Any

import torch
from torch import nn

from workers.networks.object_net import ObjectNet
from workers.networks.residual import SmallResNet
from workers.networks.several import SeveralResNets


class ConditionNet(nn.Module):
    """``teeth`` takes crops, ``objects`` the film; they run apart."""

    def __init__(self, teeth: dict[str, Any], objects: dict[str, Any]) -> None:
        """The arguments of ``SmallResNet``, with ``members`` of ``SeveralResNets``, and of ``ObjectNet``."""
        super().__init__()
        self.teeth = SeveralResNets(**teeth) if "members" in teeth else SmallResNet(**teeth)
        self.objects = ObjectNet(**objects)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops (B, channels, rows, columns) to logits (B, heads)."""
        logits: torch.Tensor = self.teeth(crops)
        return logits
