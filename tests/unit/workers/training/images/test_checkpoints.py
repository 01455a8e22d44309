"""Weights to begin with: the layouts of torchvision and timm, and the words for every other."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from service.domain.errors import ConfigurationError
from workers.networks.residual import ResNet, ResNetV2
from workers.networks.vgg import VGG16
from workers.training.images.checkpoints import load_start, looks_like


def saved(network: nn.Module, path: Path, prefix: str = "") -> Path:
    """A checkpoint as others write it."""
    torch.save({"state_dict": {prefix + name: value for name, value in network.state_dict().items()}}, path)
    return path


def test_a_resnet_in_torchvisions_layout(tmp_path: Path) -> None:
    """All but the last layer is loaded, wrapped and prefixed or not; a grey network sums the first kernel's colours."""
    theirs = ResNet(classes=10, depth=26)
    file = saved(theirs, tmp_path / "r.pth", "module.")
    colour, grey = ResNet(classes=2, depth=26), ResNet(classes=2, channels=1, depth=26)
    before = colour.fc.weight.clone()
    loaded = load_start(colour, file)
    for name in ("layer3.1.conv2.weight", "layer1.0.bn1.running_var"):
        assert torch.equal(colour.state_dict()[name], theirs.state_dict()[name])
    assert torch.equal(colour.fc.weight, before)
    assert "layer1.0.conv1.weight" in loaded
    assert "fc.weight" not in loaded
    load_start(grey, file)
    assert torch.allclose(grey.conv1.weight, theirs.conv1.weight.sum(1, keepdim=True))


def test_timms_names(tmp_path: Path) -> None:
    """The ResNetV2 of timm fits under added blocks; its VGG keeps the dense layers as convolutions, which fit too."""
    plain = ResNetV2(classes=10, depth=26, added=(), dense=())
    state = plain.state_dict()
    state["head.fc.weight"] = state.pop("head.0.weight")
    torch.save(state, tmp_path / "v2.pth")
    ours = ResNetV2(depth=26, added=(16,), dense=(8,))
    loaded = load_start(ours, tmp_path / "v2.pth")
    assert torch.equal(ours.state_dict()["stages.2.blocks.1.conv3.weight"], state["stages.2.blocks.1.conv3.weight"])
    assert not [name for name in loaded if name.startswith(("added", "head", "norm"))]
    vgg = VGG16(classes=3, hidden=4)
    state = vgg.state_dict()
    state["pre_logits.fc1.weight"] = state.pop("classifier.0.weight").reshape(4, 512, 7, 7)
    state["pre_logits.fc1.bias"] = state.pop("classifier.0.bias")
    torch.save(state, tmp_path / "vgg.pth")
    other = VGG16(classes=2, hidden=4)
    load_start(other, tmp_path / "vgg.pth")
    assert torch.equal(other.state_dict()["classifier.0.weight"], vgg.state_dict()["classifier.0.weight"])


def test_another_architecture_is_named(tmp_path: Path) -> None:
    """The message says what the file looks like and what is missing; the network stays as it was."""
    with torch.device("meta"):
        names = {
            "ResNet152": ResNet(depth=152).state_dict(),
            "ResNet50": ResNet(depth=50).state_dict(),
            "ResNetV2-152": ResNetV2(depth=152).state_dict(),
            "VGG16": VGG16().state_dict(),
            "VGG16 with batch normalisation": VGG16(normalized=True).state_dict(),
            "DenseNet": {"features.denseblock1.denselayer1.conv1.weight": torch.zeros(1)},
        }
    assert {name: looks_like(state) for name, state in names.items()} == {name: name for name in names}
    file = saved(VGG16(hidden=4), tmp_path / "vgg.pth")
    network = ResNet(classes=2, depth=26)
    before = network.conv1.weight.clone()
    with pytest.raises(ConfigurationError, match=r"looks like VGG16 and does not fit ResNet: .* is missing"):
        load_start(network, file)
    assert torch.equal(network.conv1.weight, before)
    with pytest.raises(ConfigurationError, match=r"conv1.weight has shape \(64, 3, 7, 7\), not \(64, 2, 7, 7\)"):
        load_start(ResNet(channels=2, depth=26), saved(network, tmp_path / "r.pth"))


def test_weights_of_a_run_that_diverged(tmp_path: Path) -> None:
    """They are refused before the training, which would blame its learning rate."""
    network = ResNet(channels=3, depth=26)
    network.get_parameter("layer1.0.conv1.weight").data[0] = torch.nan
    with pytest.raises(ConfigurationError, match=r"r\.pth is damaged: layer1\.0\.conv1\.weight holds"):
        load_start(ResNet(channels=3, depth=26), saved(network, tmp_path / "r.pth"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_what_is_no_checkpoint(content: bytes | None, tmp_path: Path) -> None:
    """A missing, empty or foreign file is a clear error."""
    if content is not None:
        (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"checkpoint .*x\.pth"):
        load_start(ResNet(classes=2, depth=26), tmp_path / "x.pth")


def test_a_library_that_is_not_there() -> None:
    """Weights by name need the library; the message says what to install, and what else helps."""
    words = "--start timm:no_such_network: timm is not installed; pip install timm, or give a checkpoint file"
    if importlib.util.find_spec("timm"):
        words = "--start timm:no_such_network: timm gives no such weights .*; it fetches them from the internet"
    with pytest.raises(ConfigurationError, match=words):
        load_start(ResNet(classes=2, depth=26), "timm:no_such_network")


def test_weights_by_name_come_from_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is asked for that name with its weights; one that cannot be had is one line."""
    lines = ("from workers.networks.residual import ResNet", "import torch", "def get_model(name, weights):",
             "    if name != 'resnet26' or weights != 'DEFAULT': raise OSError('no route to host')",
             "    torch.manual_seed(3)", "    return ResNet(classes=10, depth=26)")  # fmt: skip
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("")
    (tmp_path / "torchvision" / "models.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    torch.manual_seed(3)
    theirs, ours = ResNet(classes=10, depth=26), ResNet(classes=2, depth=26)
    load_start(ours, Path("torchvision:resnet26"))
    name = "layer1.0.conv1.weight"
    assert torch.equal(ours.state_dict()[name], theirs.state_dict()[name])
    with pytest.raises(ConfigurationError, match=r"torchvision:resnet9: .* \(OSError: no route to host\)"):
        load_start(ours, "torchvision:resnet9")
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
