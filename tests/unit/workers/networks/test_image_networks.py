"""Networks for whole images: sizes and names as published, and any engine runs them."""

import numpy as np
import pytest
import torch
from torch import nn

from workers.inference import open_network
from workers.networks.convolutions import FourConvolutions
from workers.networks.residual import ResNet, ResNetV2, SmallResNet
from workers.networks.vgg import VGG16

TINY = {
    "four": FourConvolutions(2, 1, widths=(4, 4, 8, 8)),
    "small": SmallResNet(2, 1, widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1)),
    "resnet": ResNet(2, 1, depth=26),
    "resnetv2": ResNetV2(2, 1, depth=26, added=(16, 8), dense=(16,)),
    "vgg16": VGG16(2, 1, normalized=True, hidden=8),
}

_SLOW = [pytest.param(name, marks=pytest.mark.long) for name in ("resnet", "vgg16")]  # to compile


def parameters(network: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("build", "published"),
    [
        (lambda: ResNet(depth=50), 25_557_032),
        (lambda: ResNet(depth=101), 44_549_160),
        (lambda: ResNet(depth=152), 60_192_808),
        (VGG16, 138_357_544),
        (lambda: VGG16(normalized=True), 138_365_992),
    ],
)
def test_published_sizes(build: type[nn.Module], published: int) -> None:
    """Each network has as many parameters as published."""
    with torch.device("meta"):
        assert parameters(build()) == published


def test_names_are_torchvisions() -> None:
    """A checkpoint of torchvision finds every parameter under its name."""
    with torch.device("meta"):
        resnet, vgg = ResNet(depth=152).state_dict(), VGG16().state_dict()
    assert len(resnet) == 932
    assert resnet["layer3.35.conv3.weight"].shape == (1024, 256, 1, 1)
    assert resnet["layer2.0.downsample.0.weight"].shape == (512, 256, 1, 1)
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.downsample.1.bias", "fc.weight"} < resnet.keys()
    kernels = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    names = {f"features.{n}.{part}" for n in kernels for part in ("weight", "bias")}
    assert vgg.keys() == names | {f"classifier.{n}.{part}" for n in (0, 3, 6) for part in ("weight", "bias")}
    assert vgg["classifier.0.weight"].shape == (4096, 25088)


@pytest.mark.parametrize("name", TINY)
def test_one_logit_for_each_class_at_any_size(name: str) -> None:
    """Pictures of other sizes and aspects give two logits each, from the features that the heat map reads."""
    network = TINY[name].eval()
    for size in ((32, 32), (32, 64)):
        pictures = torch.zeros(2, 1, *size)
        with torch.inference_mode():
            logits = network(pictures)
            again = network.classify(network.features(pictures))  # type: ignore[operator]
        assert logits.shape == (2, 2)
        assert torch.equal(logits, again)


@pytest.mark.parametrize("name", ["four", "small", "resnetv2", *_SLOW])
def test_openvino_gives_the_same_numbers(name: str) -> None:
    """OpenVINO and torch agree within 1e-3."""
    pytest.importorskip("openvino")
    pictures = np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32)
    runs = [open_network(TINY[name], (1, 32, 32), "cpu", engine)(pictures) for engine in ("torch", "openvino")]
    assert np.abs(runs[0] - runs[1]).max() < 1e-3


def test_added_blocks_begin_as_short_cuts() -> None:
    """A new residual block changes nothing at first, so a loaded network under it is not disturbed."""
    network = ResNetV2(1, 1, depth=26, added=(512,), dense=()).eval()
    deep = torch.randn(1, 2048, 2, 2)
    with torch.inference_mode():
        assert torch.equal(network.added(deep), deep)
