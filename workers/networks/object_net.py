"""Where on a panoramic something lies that the tooth network was not taught: implants, impacted teeth, root stumps.

The UNet of the tooth network with another head (Zhou 2019, Objects as Points): heat of the centres for each kind, and
the size of the box at a centre.
"""

import torch
from torch import nn

from workers.networks.tooth_net import ArchUNet

KINDS: tuple[str, ...] = ("implant", "impacted", "destroyed", "restored")
OUTPUTS = len(KINDS) + 2  # heat of each kind; log of the box's height and width in output pixels
_RARE = -4.0  # few pixels are centres


class ObjectNet(nn.Module):
    """Grey panoramic (B, 1, H, W), roughly zero mean, to (B, OUTPUTS, H/2, W/2); H and W multiples of 32."""

    def __init__(
        self, channels: tuple[int, ...] = (24, 48, 96, 192, 256), features: int = 24, res_units: int = 1
    ) -> None:
        """As ``tooth_net.ToothNet``, whose weights it can start from."""
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
        )
        self.post = nn.Sequential(nn.BatchNorm2d(features), nn.ReLU())
        self.objects = nn.Conv2d(features, OUTPUTS, 1)
        with torch.no_grad():
            self.objects.bias[: len(KINDS)] = _RARE  # type: ignore[index]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the heat, then log height and log width."""
        output: torch.Tensor = self.objects(self.post(self.unet(self.stem(x))))
        return output
