"""Small residual networks that judge every part of a picture, and several of them side by side.

A logit of the picture is the soft maximum (log-mean-exp) of the logits of its parts, so a small ulcer counts as much as
stains on every tooth, and the map of the parts is at once the picture's heat map (class activation mapping, Zhou 2016).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows
from torch import nn

_SQUEEZE, _FEWEST = 8, 8  # channels of a block for each of its gate, and how many the gate has at least


class _Block(nn.Module):
    """Two convolutions beside a short cut, channels weighed by what the whole picture holds (He 2016, Hu 2018)."""

    def __init__(self, channels: int, out: int, stride: int, skipped: float) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.second, self.second_norm = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        nn.init.zeros_(self.second_norm.weight)  # a block begins as its short cut
        squeezed = max(out // _SQUEEZE, _FEWEST)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(out, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, out, 1), nn.Sigmoid()
        )
        halve = nn.AvgPool2d(2, ceil_mode=True) if stride > 1 else nn.Identity()
        straight = nn.Sequential(halve, nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))
        self.short_cut = nn.Identity() if stride == 1 and channels == out else straight
        self.skipped = skipped

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        y = y * self.gate(y)
        if self.training and self.skipped:  # stochastic depth (Huang 2016)
            y = y * (torch.rand(len(x), 1, 1, 1, device=x.device) >= self.skipped) / (1 - self.skipped)
        return F.relu(y + self.short_cut(x))


class PhotoNet(nn.Module):
    """One network; its parts are squares of 16 pixels."""

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        dropout: float = 0.3,
        widths: Sequence[int] = (24, 48, 96, 192, 256),
        blocks: Sequence[int] = (1, 2, 2, 1),
        skipped: float = 0.1,
    ) -> None:
        """Random weights.

        Args:
            classes: outputs.
            channels: of the picture.
            dropout: before the last layer.
            widths: channels of the stem and of each stage.
            blocks: of each stage; all stages but the last halve the resolution, as the stem does.
            skipped: chance of a block to be left out in a step.
        """
        super().__init__()
        stem = nn.Conv2d(channels, widths[0], 3, 2, 1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.ReLU())
        stages, width = list[nn.Module](), widths[0]
        for stage, (out, count) in enumerate(zip(widths[1:], blocks, strict=True)):
            for block in range(count):
                stride = 2 if block == 0 and stage < len(blocks) - 1 else 1
                stages.append(_Block(width, out, stride, skipped))
                width = out
        self.body = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(width, classes, 1)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, channels, rows, columns) to what is seen in the parts (B, widths[-1], rows / 16, columns / 16)."""
        features: torch.Tensor = self.body(self.stem(pixels))
        return features

    def maps(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels to the logits of the parts (B, classes, rows / 16, columns / 16)."""
        maps: torch.Tensor = self.head(self.dropout(self.features(pixels)))
        return maps

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels to logits (B, classes)."""
        parts = self.maps(pixels).flatten(2)
        return parts.logsumexp(2) - torch.log(torch.tensor(float(parts.shape[2])))


class PhotoNets(nn.Module):
    """Several networks side by side, and whether there is a mouth by what the first one sees; for serving."""

    def __init__(self, members: Sequence[dict[str, Any]]) -> None:
        """The arguments of each ``PhotoNet``; all have the same classes."""
        super().__init__()
        networks = [PhotoNet(**member) for member in members]
        self.members = nn.ModuleList(networks)
        self.scope = nn.Conv2d(networks[0].head.in_channels, 1, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels to the logits of the parts, (B, members * classes + 1, rows / 16, columns / 16).

        The last channel is the scope; of the picture it is the mean of the parts, not their soft maximum.
        """
        seen = [(member, member.features(pixels)) for member in self.members if isinstance(member, PhotoNet)]
        return torch.cat([*(member.head(features) for member, features in seen), self.scope(seen[0][1])], 1)
