"""VGG16 (Simonyan 2014, arXiv 1409.1556) in the layout and with the parameter names of torchvision."""

import torch
from torch import nn

_LAYERS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions of each stage
_GRID = 7  # the classifier sees 7 x 7 places, whatever the size of the picture


class VGG16(nn.Module):
    """VGG16, with batch normalisation or without; gives logits."""

    def __init__(
        self,
        classes: int = 1000,
        channels: int = 3,
        dropout: float = 0.5,
        *,
        normalized: bool = False,
        hidden: int = 4096,
    ) -> None:
        """``normalized``: with batch normalisation; ``hidden``: width of the two dense layers."""
        super().__init__()
        layers, before = list[nn.Module](), channels
        for width, count in _LAYERS:
            for _ in range(count):
                layers.append(nn.Conv2d(before, width, 3, padding=1))
                layers += [nn.BatchNorm2d(width)] if normalized else []
                layers.append(nn.ReLU(inplace=True))
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(_GRID)
        self.classifier = nn.Sequential(
            nn.Linear(before * _GRID * _GRID, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, 512, h, w) to logits (B, classes)."""
        logits: torch.Tensor = self.classifier(self.avgpool(features).flatten(1))
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (B, channels, rows, columns), roughly zero mean, to logits (B, classes)."""
        return self.classify(self.features(x))
