"""The dense vertebra network: centres, corners, the way from each body to its corners, and its tilt.

As the tooth network: a PixelUnshuffle stem, a MONAI UNet (Ronneberger 2015, residual units of Zhang 2018), and tall
depth-wise kernels at its bottom, because a spine is a chain. Centre heat and corner offsets follow Zhou 2019, "Objects
as Points", and Yi 2020, "Vertebra-focused landmark detection"; every pixel of a body votes, not its centre alone.
"""

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import UNet
from torch import nn

CORNERS = 4  # top left, top right, bottom left, bottom right, as the image shows them
CENTRE = slice(0, 1)  # logit of the heat of centres
CORNER = slice(1, 1 + CORNERS)  # logits of the heat of each corner
OFFSET = slice(1 + CORNERS, 1 + 3 * CORNERS)  # way to the corners, (x, y) of each, in OFFSET_UNIT
TILT = slice(1 + 3 * CORNERS, 2 + 3 * CORNERS)  # of the body in TILT_UNIT; positive = the image's right side is lower
OUTPUTS = 2 + 3 * CORNERS
STEP = 2  # pixels of the input to one of the output
STRIDE = 32  # rows and columns of the input must be multiples of it
OFFSET_UNIT = 10.0  # input pixels
TILT_UNIT = 0.2  # radians
_RARE = -4.0  # bias of a heat: few pixels are centres or corners


class ChainContext(nn.Module):
    """Residual block with a tall depth-wise kernel, after ConvNeXt (Liu 2022) with batch norm."""

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


class ChainUNet(UNet):
    """MONAI UNet whose bottom sees the whole column."""

    def _get_bottom_layer(self, in_channels: int, out_channels: int) -> nn.Module:
        return nn.Sequential(
            super()._get_bottom_layer(in_channels, out_channels),
            ChainContext(out_channels, (11, 5)),
            ChainContext(out_channels, (11, 5)),
        )


class SpineNet(nn.Module):
    """Grey film (B, 1, H, W), roughly zero mean, to (B, OUTPUTS, H/2, W/2)."""

    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64, 128, 192, 256),
        features: int = 32,
        res_units: int = 2,
        dropout: float = 0.0,
    ) -> None:
        """``channels``: of the UNet from fine to coarse; ``features``: channels that the head sees.

        ``dropout``: in every unit of the UNet.
        """
        super().__init__()
        self.stem = nn.PixelUnshuffle(STEP)
        self.unet = ChainUNet(
            spatial_dims=2,
            in_channels=STEP * STEP,
            out_channels=features,
            channels=channels,
            strides=(2,) * (len(channels) - 1),
            num_res_units=res_units,
            act="RELU",
            norm="BATCH",
            dropout=dropout,
        )
        self.post = nn.Sequential(nn.BatchNorm2d(features), nn.ReLU())
        self.head = nn.Conv2d(features, OUTPUTS, 1)
        nn.init.constant_(self.head.bias[: CORNER.stop], _RARE)  # type: ignore[index]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channels as CENTRE, CORNER, OFFSET and TILT name them."""
        output: torch.Tensor = self.head(self.post(self.unet(self.stem(x))))
        return output
