"""Residual networks: ResNet (He 2015, arXiv 1512.03385) and ResNetV2 (He 2016, arXiv 1603.05027).

ResNet has the layout and the parameter names of torchvision, and of timm, which uses the same. ResNetV2 has the names
of timm's ``resnetv2_50`` and its sisters. Both give logits.
"""

from collections.abc import Sequence

import torch
from torch import nn

_EXPANSION = 4
BOTTLENECK_DEPTHS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _conv(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a short cut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        """``before``: channels that come in."""
        super().__init__()
        self.conv1, self.bn1 = _conv(before, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or before != width:
            self.downsample = nn.Sequential(_conv(before, width, 1, stride), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, before, h, w) to (B, width, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        result: torch.Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 (which has the stride, as in torchvision) and 1x1 convolutions beside a short cut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        """``width``: of the 3x3 convolution; four times that come out."""
        super().__init__()
        after = width * _EXPANSION
        self.conv1, self.bn1 = _conv(before, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, after, 1), nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(_conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, before, h, w) to (B, 4 width, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        result: torch.Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return result


class ResNet(nn.Module):
    """ResNet-26, -50, -101 or -152."""

    def __init__(self, classes: int = 1000, channels: int = 3, dropout: float = 0.0, depth: int = 50) -> None:
        """``depth``: 26, 50, 101 or 152."""
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        before, stages = 64, list[nn.Sequential]()
        for stage, blocks in enumerate(BOTTLENECK_DEPTHS[depth]):
            width = 64 << stage
            first = Bottleneck(before, width, 2 if stage else 1)
            before = width * _EXPANSION
            stages.append(nn.Sequential(first, *(Bottleneck(before, width, 1) for _ in range(blocks - 1))))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before, classes)
        _start(self)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, rows, columns) to (B, 2048, rows / 32, columns / 32)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        result: torch.Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return result

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, C, h, w) to logits (B, classes)."""
        logits: torch.Tensor = self.fc(self.dropout(features.mean((2, 3))))
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (B, channels, rows, columns), roughly zero mean, to logits (B, classes)."""
        return self.classify(self.features(x))


class SmallResNet(nn.Module):
    """A residual network small enough to be trained from scratch on hundreds of pictures: 32 wide, 2.8 M parameters."""

    def __init__(
        self,
        classes: int = 1,
        channels: int = 1,
        dropout: float = 0.3,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        """``widths`` and ``blocks``: channels and number of blocks of each stage, each at half the resolution."""
        super().__init__()
        self.stem = nn.Sequential(_conv(channels, widths[0], 5, 2), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True))
        before, layers = widths[0], list[nn.Module]()
        for width, count in zip(widths, blocks, strict=True):
            layers.append(BasicBlock(before, width, 2))
            layers += [BasicBlock(width, width, 1) for _ in range(count - 1)]
            before = width
        self.stages = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before, classes)
        _start(self)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, rows, columns) to (B, widths[-1], rows / 32, columns / 32)."""
        result: torch.Tensor = self.stages(self.stem(x))
        return result

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, C, h, w) to logits (B, classes)."""
        logits: torch.Tensor = self.fc(self.dropout(features.mean((2, 3))))
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (B, channels, rows, columns), roughly zero mean, to logits (B, classes)."""
        return self.classify(self.features(x))


class _ShortCut(nn.Module):
    """A 1x1 convolution under the name that timm gives it."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, before, h, w) to (B, after, h / stride, w / stride)."""
        result: torch.Tensor = self.conv(x)
        return result


class PreActivation(nn.Module):
    """Bottleneck with normalisation and ReLU in front of each convolution; the short cut stays clear."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        """``width``: of the 3x3 convolution; four times that come out."""
        super().__init__()
        after = width * _EXPANSION
        self.norm1, self.conv1 = nn.BatchNorm2d(before), _conv(before, width, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(width), _conv(width, width, 3, stride)
        self.norm3, self.conv3 = nn.BatchNorm2d(width), _conv(width, after, 1)
        self.downsample = _ShortCut(before, after, stride) if stride > 1 or before != after else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, before, h, w) to (B, 4 width, h / stride, w / stride)."""
        ready = torch.relu(self.norm1(x))
        short = x if self.downsample is None else self.downsample(ready)
        y = self.conv1(ready)
        y = self.conv2(torch.relu(self.norm2(y)))
        result: torch.Tensor = short + self.conv3(torch.relu(self.norm3(y)))
        return result


class _Stage(nn.Module):
    """The blocks of one stage under the names that timm gives them."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Through all blocks."""
        result: torch.Tensor = self.blocks(x)
        return result


class ResNetV2(nn.Module):
    """ResNetV2-26, -50, -101 or -152 with further residual blocks and dense layers on top, as published for fractures.

    Without ``added`` blocks and ``dense`` layers it is the plain network.
    """

    def __init__(
        self,
        classes: int = 1,
        channels: int = 3,
        dropout: float = 0.3,
        depth: int = 152,
        added: Sequence[int] = (128, 64),
        dense: Sequence[int] = (256, 64),
    ) -> None:
        """``added``: widths of the added blocks, four times that come out of each; ``dense``: of the dense layers."""
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.add_module("conv", nn.Conv2d(channels, 64, 7, 2, 3, bias=False))
        self.stem.add_module("pool", nn.MaxPool2d(3, 2, 1))
        before, stages = 64, list[nn.Module]()
        for stage, count in enumerate(BOTTLENECK_DEPTHS[depth]):
            width = 64 << stage
            blocks = [PreActivation(before, width, 2 if stage else 1)]
            before = width * _EXPANSION
            stages.append(_Stage([*blocks, *(PreActivation(before, width, 1) for _ in range(count - 1))]))
        self.stages = nn.Sequential(*stages)
        self.added = nn.Sequential()
        for number, width in enumerate(added):
            self.added.add_module(str(number), PreActivation(before, width, 1))
            before = width * _EXPANSION
        self.norm = nn.BatchNorm2d(before)
        layers = list[nn.Module]()
        for width in dense:
            layers += [nn.Linear(before, width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            before = width
        self.head = nn.Sequential(*layers, nn.Linear(before, classes))
        _start(self)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, rows, columns) to (B, C, rows / 32, columns / 32)."""
        return torch.relu(self.norm(self.added(self.stages(self.stem(x)))))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, C, h, w) to logits (B, classes)."""
        logits: torch.Tensor = self.head(features.mean((2, 3)))
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (B, channels, rows, columns), roughly zero mean, to logits (B, classes)."""
        return self.classify(self.features(x))


def _start(network: nn.Module) -> None:
    """He's initial weights; a residual block begins as its short cut (Goyal 2017), which lets deep ones learn."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
        elif isinstance(module, PreActivation):
            nn.init.zeros_(module.norm3.weight)
