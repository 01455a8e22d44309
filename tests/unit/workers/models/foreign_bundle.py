"""Bundles made with MONAI's own tools, as a stranger makes them, and the mapping that a site adds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import init_bundle
from monai.networks.blocks import Convolution
from pydicom.dataset import Dataset
from torch import nn

from workers.pixels import Image

#: A convolution of one pixel: what is brighter than a half is channel 1.
BRIGHT = {
    "_target_": "monai.networks.blocks.Convolution",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 2,
    "kernel_size": 1,
    "conv_only": True,
}


def bright_network() -> nn.Module:
    """The network of ``BRIGHT``."""
    net = Convolution(2, 1, 2, kernel_size=1, conv_only=True)
    state = {"conv.weight": torch.tensor([-20.0, 20.0]).reshape(2, 1, 1, 1), "conv.bias": torch.tensor([10.0, -10.0])}
    net.load_state_dict(state)
    return net


def make_bundle(path: Path, net: nn.Module, definition: dict[str, Any], mapping: dict[str, Any] | None) -> Path:
    """``monai.bundle.init_bundle``, its network_def filled in, and ``dentgate.json`` beside."""
    init_bundle(str(path), network=net)
    config = path / "configs" / "inference.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"network_def": definition}))
    if mapping is not None:
        (path / "dentgate.json").write_text(json.dumps(mapping))
    return path


def image_of(pixels: np.ndarray[Any, Any], **header: str) -> Image:
    """An image with attributes of its header."""
    ds = Dataset()
    for keyword, value in header.items():
        setattr(ds, keyword, value)
    return Image(pixels.astype(np.float32), ds, flipped_x=False, flipped_y=False, notes=())
