"""The small classifier that many users of this field publish: four convolutions and a pooled linear layer."""

from collections.abc import Sequence

import torch
from torch import nn


class FourConvolutions(nn.Module):
    """Convolution, batch normalisation, ReLU and 2x2 max pooling, four times; global average pooling, dropout, linear.

    Gives logits; the sigmoid or softmax belongs to the one who reads them.
    """

    def __init__(
        self, classes: int = 1, channels: int = 1, dropout: float = 0.3, widths: Sequence[int] = (32, 64, 128, 256)
    ) -> None:
        """``channels``: of the picture; ``widths``: channels of the convolutions."""
        super().__init__()
        layers, before = list[nn.Module](), channels
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            layers.append(nn.MaxPool2d(2))
            before = width
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before, classes)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, C, h, w) to logits (B, classes)."""
        logits: torch.Tensor = self.fc(self.dropout(features.mean((2, 3))))
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (B, channels, rows, columns), roughly zero mean, to logits (B, classes)."""
        return self.classify(self.features(x))
