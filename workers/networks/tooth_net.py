"""The dense tooth network: one pass gives numbers, centres and the way to the centre for every pixel.

A PixelUnshuffle stem halves the resolution before anything costs time; a MONAI UNet (Ronneberger 2015, residual units
of Zhang 2018) sees detail; large depth-wise kernels at its bottom see the whole arch, because a number is a place in an
order and not a look. There are no coordinate channels: they teach the place in the frame, which differs by scanner.
"""

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import UNet
from torch import nn
from torch.nn import functional

NUMBERS = 32
CLASSES = 1 + NUMBERS  # background, then FDI 11..18, 21..28, 31..38, 41..48
OUTPUTS = CLASSES + 3  # classes, centre heat, offset to the centre (y, x)
STRIDE = 32  # rows and columns of the input must be multiples of it
OFFSET_UNIT = 10.0  # offsets are predicted in units of 10 output pixels
_TYPES, _QUADRANTS = 8, 4


class ArchContext(nn.Module):
    """Residual block with a depth-wise kernel as wide as the arch, after ConvNeXt (Liu 2022) with batch norm."""

    def __init__(self, channels: int, kernel: tuple[int, int]) -> None:
        """``kernel``: rows and columns, both odd, at the stride of the bottom."""
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            Convolution(2, channels, 2 * channels, kernel_size=1, act="RELU", norm="BATCH", padding=0),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) to the same shape."""
        widened: torch.Tensor = x + self.body(x)
        return widened


class ArchUNet(UNet):
    """MONAI UNet whose bottom sees the whole arch."""

    def _get_bottom_layer(self, in_channels: int, out_channels: int) -> nn.Module:
        return nn.Sequential(
            super()._get_bottom_layer(in_channels, out_channels),
            ArchContext(out_channels, (5, 15)),
            ArchContext(out_channels, (5, 15)),
        )


class NumberHead(nn.Module):
    """Class logits as the sum of a tooth-type, a quadrant and a joint part, so that four quadrants teach one type."""

    def __init__(self, features: int) -> None:
        """``features``: channels that come in."""
        super().__init__()
        self.dense = nn.Conv2d(features, OUTPUTS, 1)
        self.types = nn.Conv2d(features, _TYPES, 1)
        self.quadrants = nn.Conv2d(features, _QUADRANTS, 1)
        nn.init.constant_(self.dense.bias[CLASSES : CLASSES + 1], -4.0)  # type: ignore[index]  # few pixels are centres

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, features, h, w) to (B, OUTPUTS, h, w)."""
        return functional.conv2d(x, self._summed("weight"), self._summed("bias"))

    def _summed(self, name: str) -> torch.Tensor:
        """Kernels or biases of the three parts added up: one convolution then does what three and a sum would."""
        dense, types, quadrants = (getattr(part, name) for part in (self.dense, self.types, self.quadrants))
        shared = quadrants.unsqueeze(1) + types.unsqueeze(0)
        return torch.cat([dense[:1], dense[1:CLASSES] + shared.flatten(0, 1), dense[CLASSES:]])


class ToothNet(nn.Module):
    """Grey panoramic (B, 1, H, W), roughly zero mean, to (B, OUTPUTS, H/2, W/2)."""

    def __init__(
        self,
        channels: tuple[int, ...] = (24, 48, 96, 192, 256),
        features: int = 24,
        res_units: int = 1,
        dropout: float = 0.0,
    ) -> None:
        """``channels``: of the UNet from fine to coarse; ``features``: channels that the heads see.

        ``dropout``: in every unit of the UNet.
        """
        super().__init__()
        self.stem = nn.PixelUnshuffle(2)
        self.unet = ArchUNet(
            spatial_dims=2,
            in_channels=4,
            out_channels=features,
            channels=channels,
            strides=(2,) * (len(channels) - 1),
            num_res_units=res_units,
            act="RELU",
            norm="BATCH",
            dropout=dropout,
        )
        self.post = nn.Sequential(nn.BatchNorm2d(features), nn.ReLU())
        self.head = NumberHead(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the classes, logit of the centre heat, offsets (y, x) in units of OFFSET_UNIT output pixels."""
        logits: torch.Tensor = self.head(self.post(self.unet(self.stem(x))))
        return logits
