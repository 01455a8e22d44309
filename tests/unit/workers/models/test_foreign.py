"""Bundles made with MONAI's own tools, served through a mapping."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.networks.nets import DenseNet, UNet
from pydicom.dataset import Dataset
from torch import nn

from service.domain.errors import ConfigurationError
from tests.unit.workers.models.foreign_bundle import BRIGHT, bright_network, image_of, make_bundle
from workers.models.foreign import ForeignBundle
from workers.models.grad_cam import gradient_maps, hot_box, to_heat

HAND: dict[str, Any] = {"modality": ["DX", "CR"], "body_part": ["HAND"], "size": [32, 32], "scale": "unit"}
REGIONS = HAND | {"channels": {"1": {"finding": "fracture", "site": "hand"}}}
SMALL: dict[str, Any] = {"init_features": 8, "growth_rate": 4, "block_config": [2, 2]}
DENSE = {"_target_": "DenseNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2} | SMALL


def rng() -> np.random.Generator:
    """The same numbers every time."""
    return np.random.default_rng(5)


def test_segmentation_gives_regions_in_the_pixels_of_the_image(tmp_path: Path) -> None:
    """A bright part of the image becomes one finding with its box, mask, site and certainty, at the image's size."""
    model = ForeignBundle(make_bundle(tmp_path / "bright", bright_network(), BRIGHT, REGIONS))
    pixels = np.zeros((64, 128))
    pixels[10:30, 40:80] = 1.0
    (found,) = model.load("cpu").analyze(image_of(pixels))
    assert (found.kind, found.site, found.tooth) == ("fracture", "hand", None)
    assert found.box is not None
    assert np.abs(np.array(found.box) - (40, 10, 80, 30)).max() <= 4, "32 x 32 cells of 2 x 4 pixels"
    assert found.mask is not None
    assert found.mask.shape == (found.box[3] - found.box[1], found.box[2] - found.box[0])
    assert found.mask.mean() > 0.9
    assert found.certainty > 0.9


def test_transposed_networks_give_the_same_regions(tmp_path: Path) -> None:
    """A network trained on columns before rows sees the image so, and its regions are turned back."""
    straight = make_bundle(tmp_path / "a", bright_network(), BRIGHT, REGIONS | {"size": [32, 64]})
    turned = make_bundle(tmp_path / "b", bright_network(), BRIGHT, REGIONS | {"size": [64, 32], "transposed": True})
    pixels = np.zeros((64, 128))
    pixels[10:30, 40:80] = 1.0
    (one,), (other,) = (ForeignBundle(path).load("cpu").analyze(image_of(pixels)) for path in (straight, turned))
    assert one.box == other.box


def test_small_regions_and_low_chances_are_no_findings(tmp_path: Path) -> None:
    """Below ``least_area`` or ``threshold`` nothing is said."""
    pixels = np.zeros((32, 32))
    pixels[3:5, 3:5] = 0.6  # a chance of 0.98
    for channel, count in (({}, 1), ({"least_area": 0.01}, 0), ({"threshold": 0.99}, 0)):
        mapping = HAND | {"channels": {"1": {"finding": "fracture"} | channel}}
        path = make_bundle(
            tmp_path / f"bundle{count}{len(channel)}{next(iter(channel), '')}", bright_network(), BRIGHT, mapping
        )
        assert len(ForeignBundle(path).load("cpu").analyze(image_of(pixels))) == count


def test_unet_regions_are_those_of_the_network(tmp_path: Path) -> None:
    """A MONAI UNet with any weights: what is found covers exactly the pixels whose softmax passes the threshold."""
    net = UNet(2, 1, 3, (4, 8), (2,)).eval()
    definition = {"_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 3}
    definition |= {"channels": "@channels", "strides": [2]}
    mapping = HAND | {
        "channels": {"2": {"finding": "caries", "threshold": 0.34, "least_area": 0.0}},
        "activation": "softmax",
    }
    path = make_bundle(tmp_path / "unet", net, definition, mapping)
    config = path / "configs" / "inference.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"channels": [4, 8]}))
    pixels = rng().random((32, 32)).astype(np.float32)
    with torch.inference_mode():
        chances = net(torch.from_numpy(pixels)[None, None]).softmax(1)[0, 2].numpy()
    assert 0.05 < (chances >= 0.34).mean() < 0.95, "else the test says nothing"
    seen = np.zeros((32, 32), bool)
    for found in ForeignBundle(path).load("cpu").analyze(image_of(pixels)):
        x0, y0, x1, y1 = found.box or (0, 0, 0, 0)
        seen[y0:y1, x0:x1] |= found.mask
    unclear = np.abs(chances - 0.34) < 1e-4
    assert np.array_equal(seen[~unclear], (chances >= 0.34)[~unclear])


def test_classification_gives_a_finding_of_the_whole_image(tmp_path: Path) -> None:
    """A MONAI DenseNet by its short name: the chance of the mapped channel is the certainty, above the threshold."""
    net = DenseNet(2, 1, 2, **SMALL).eval()
    path = make_bundle(
        tmp_path / "dense", net, DENSE, HAND | {"channels": {"1": {"finding": "fracture", "threshold": 0.01}}}
    )
    pixels = rng().random((32, 32)).astype(np.float32)
    with torch.inference_mode():
        chance = float(net(torch.from_numpy(pixels)[None, None]).softmax(1)[0, 1])
    (found,) = ForeignBundle(path).load("cpu").analyze(image_of(pixels))
    assert (found.kind, found.mask) == ("fracture", None)
    assert found.certainty == pytest.approx(chance, abs=2e-3)
    assert found.heat is not None
    assert found.heat.min() >= 0
    assert found.heat.max() == 1
    assert found.box is not None


def test_colour_scale_and_normalisation_reach_the_network(tmp_path: Path) -> None:
    """Bytes, mean and deviation for each colour: a network that takes red only sees what the mapping says."""
    net = bright_network()
    definition = BRIGHT | {"in_channels": 3}
    wide = type(net)(2, 3, 2, kernel_size=1, conv_only=True)
    weight = torch.zeros(2, 3, 1, 1)
    weight[1, 0] = 1.0
    wide.load_state_dict({"conv.weight": weight, "conv.bias": torch.zeros(2)})
    mapping = HAND | {"channels": {"1": {"finding": "gingivitis", "threshold": 0.7}}, "colour": True, "scale": "byte"}
    path = make_bundle(tmp_path / "red", wide, definition, mapping | {"mean": [100, 0, 0], "deviation": [50, 1, 1]})
    image = image_of(np.zeros((32, 32)))
    colour = np.zeros((32, 32, 3), np.float32)
    colour[..., 1] = 1.0
    colour[:16, :, 0] = 200 / 255  # (200 - 100) / 50 = 2, so the chance is 1 / (1 + exp(-2)) = 0.88
    red = type(image)(image.pixels, image.header, flipped_x=False, flipped_y=False, notes=(), colour=colour)
    (found,) = ForeignBundle(path).load("cpu").analyze(red)
    assert found.box is not None
    assert (found.box[0], found.box[1], found.box[2]) == (0, 0, 32)
    assert found.certainty == pytest.approx(0.88, abs=0.02)


def test_judge_names_what_does_not_fit(tmp_path: Path) -> None:
    """Modality and body part decide, and the reason says which."""
    model = ForeignBundle(make_bundle(tmp_path / "hands", bright_network(), BRIGHT, REGIONS))
    assert model.name == "hands"
    assert model.looks_for == ("fracture",)
    ds = Dataset()
    ds.Modality, ds.BodyPartExamined = "DX", "HAND"
    assert model.judge(ds).accepted
    ds.BodyPartExamined = "CHEST"
    assert model.judge(ds) == type(model.judge(ds))(accepted=False, reason="body part CHEST is not HAND")
    assert not model.judge(Dataset()).accepted
    assert "modality not given" in model.judge(Dataset()).reason


def test_yaml_and_torchscript_serve_too(tmp_path: Path) -> None:
    """A bundle with inference.yaml, and one with only models/model.ts, give the same findings as JSON and model.pt."""
    pixels = np.zeros((32, 32))
    pixels[4:20, 4:20] = 1.0
    expected = [(0.999, (4, 4, 20, 20))]
    in_yaml = make_bundle(tmp_path / "yaml", bright_network(), BRIGHT, REGIONS)
    (in_yaml / "configs" / "inference.json").unlink()
    (in_yaml / "configs" / "inference.yaml").write_text(yaml.safe_dump({"network_def": BRIGHT, "other": "$1 + 1"}))
    scripted = make_bundle(tmp_path / "script", bright_network(), BRIGHT, REGIONS)
    (scripted / "models" / "model.pt").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(bright_network(), torch.zeros(1, 1, 32, 32)).save(str(scripted / "models" / "model.ts"))
    for path in (in_yaml, scripted):
        found = ForeignBundle(path).load("cpu").analyze(image_of(pixels))
        assert [(min(d.certainty, 0.999), d.box) for d in found] == expected


def test_the_weights_are_named_by_their_digest(tmp_path: Path) -> None:
    """Every result can say which weights made it, although MONAI's metadata do not; foreign models are research."""
    path = make_bundle(tmp_path / "b", bright_network(), BRIGHT, REGIONS)
    algorithm = ForeignBundle(path).load("cpu").algorithm
    assert len(algorithm.weights_sha256) == 64
    assert algorithm.research
    assert algorithm.version == "0.0.1"
    metadata = path / "configs" / "metadata.json"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"research": False}))
    assert ForeignBundle(path).load("cpu").algorithm.research, "its own word does not let its results out"


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"_target_": "os.system", "command": "true"}, "only monai.networks.* and workers.networks.*"),
        ({"_target_": "monai.utils.optional_import", "module": "os"}, "only monai.networks.* and workers.networks.*"),
        ({"_target_": "monai.networks.utils.one_hot"}, "is no network"),
        ({"_target_": "monai.networks.nets.NoSuchNet"}, "there is no network"),
        (BRIGHT | {"act": {"_target_": "os.getcwd"}}, "plain values only"),
        (DENSE | {"pretrained": True}, "no pretrained"),
        (BRIGHT | {"strides": "$__import__('os').getpid()"}, "would have to be computed"),
        (BRIGHT | {"out_channels": 5}, "does not fit network_def"),
        (BRIGHT | {"no_such_argument": 5}, "cannot be built"),
    ],
)
def test_only_known_networks_with_plain_arguments_are_built(
    tmp_path: Path, definition: dict[str, Any], words: str
) -> None:
    """No code of the bundle runs, and the message says what is wrong."""
    model = ForeignBundle(make_bundle(tmp_path / "b", bright_network(), definition, REGIONS))
    with pytest.raises(ConfigurationError, match=words.replace("*", r"\*")):
        model.load("cpu")


def test_a_pickle_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    """Weights are read as tensors only: a whole pickled network is not loaded."""
    path = make_bundle(tmp_path / "b", bright_network(), BRIGHT, REGIONS)
    torch.save(bright_network(), path / "models" / "model.pt")
    with pytest.raises(ConfigurationError, match="does not fit network_def"):
        ForeignBundle(path).load("cpu")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modality": []}, "modality must name at least one"),
        ({"channels": {}}, "channels must say"),
        ({"channels": {"1": {"finding": "dragon"}}}, "'dragon' is not known"),
        ({"channels": {"1": {"finding": "fracture", "site": "tail"}}}, "site 'tail'"),
        ({"channels": {"1": {"finding": "SCT:233604007:Pneumonia"}}}, "needs a site"),
        ({"channels": {"1": {"finding": "ICD:1:Pneumonia", "site": "chest"}}}, "is not known"),
        ({"channels": {"1": {"finding": "caries", "tooth": 99}}}, "no FDI number"),
        ({"channels": {"1": {"finding": "caries", "threshold": 50}}}, "between 0 and 1"),
        ({"channels": {"1": {"finding": "caries", "color": "red"}}}, "color"),
        ({"channels": {"one": {"finding": "caries"}}}, "channels"),
        ({"colour_space": "RGB"}, "unknown key colour_space"),
        ({"activation": "relu"}, "activation"),
        ({"deviation": [0.0]}, "deviation: must be above 0"),
        ({"size": [32]}, "size: must be a list of 2 numbers"),
        ({"body_part": "HAND"}, "body_part: must be a list of words"),
    ],
)
def test_wrong_mappings_are_explained(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    """The message names the file and the key."""
    path = make_bundle(tmp_path / "b", bright_network(), BRIGHT, REGIONS | change)
    with pytest.raises(ConfigurationError, match=r"dentgate\.json.*" + words):
        ForeignBundle(path)


def test_a_channel_that_the_network_lacks_is_named(tmp_path: Path) -> None:
    """Found out when the bundle is loaded, not at the first patient."""
    path = make_bundle(tmp_path / "b", bright_network(), BRIGHT, HAND | {"channels": {"7": {"finding": "fracture"}}})
    with pytest.raises(ConfigurationError, match="there is no channel 7, the output has 0 to 1"):
        ForeignBundle(path).load("cpu")


def test_networks_for_volumes_are_refused(tmp_path: Path) -> None:
    """A bundle whose metadata say three dimensions cannot serve X-rays."""
    path = make_bundle(tmp_path / "b", bright_network(), BRIGHT, REGIONS)
    metadata = path / "configs" / "metadata.json"
    shape = {"inputs": {"image": {"num_channels": 1, "spatial_shape": [96, 96, 96]}}, "outputs": {}}
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"network_data_format": shape}))
    with pytest.raises(ConfigurationError, match="two spatial dimensions"):
        ForeignBundle(path)


def test_a_foreign_classifier_shows_where() -> None:
    """Grad-CAM of any network: hottest where the pixels that speak for the class lie, cold for what they oppose."""
    look, weigh = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Linear(2, 2)
    with torch.no_grad():
        look.weight.zero_()[:, 0, 1, 1] = 1.0
        weigh.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    net = nn.Sequential(look, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), weigh).eval()
    pixels = np.zeros((1, 1, 16, 24), np.float32)
    pixels[0, 0, 3:6, 15:20] = 1.0
    maps = gradient_maps(net, pixels, [1, 0])
    assert maps is not None
    assert maps.shape == (1, 2, 16, 24)
    assert hot_box(to_heat(maps[0, 0]), (16, 24)) == pytest.approx((15, 3, 20, 6), abs=1)
    assert maps[0, 1].max() <= 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch prefers torch.export; bundles still hold these
        scripted = torch.jit.trace(net, torch.zeros(1, 1, 16, 24))
    assert gradient_maps(scripted, pixels, [1]) is None
