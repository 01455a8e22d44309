"""Bundles made from beginning to end with MONAI's own tools, dropped into the folder, at work on DICOM images."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import DenseNet, UNet
from PIL import Image as Picture
from torch import nn

from service.__main__ import models
from service.storage import get
from tests.bench import Bench, allowing
from tests.builders import as_bytes, xray
from workers.models import shipped
from workers.models.dropped_in import dropped_in

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")  # MONAI's LoadImage says so at every start

DENSE: dict[str, Any] = {
    "init_features": 8,
    "growth_rate": 4,
    "block_config": [2, 2],
    "in_channels": 1,
    "out_channels": 3,
}
FLAT: dict[str, Any] = {"channels": [8, 16], "strides": [2], "in_channels": 1, "out_channels": 3}
HAND = {"modality": ["DX"], "body_part": ["HAND"]}
SIZED = {"_target_": "Resized", "keys": "image", "spatial_size": [64, 48], "mode": "bilinear"}
Pixels = np.ndarray[Any, Any]


def made(path: Path, net: nn.Module, target: str, arguments: dict[str, Any], channels: dict[str, Any]) -> Path:
    """``init_bundle``; of the configuration that it writes only the network is filled in and a size added."""
    monai.bundle.init_bundle(str(path), network=net)
    config = path / "configs" / "inference.json"
    document = json.loads(config.read_text())
    document["network_def"] = {"_target_": target, "spatial_dims": 2} | arguments
    document["preprocessing"]["transforms"].insert(3, SIZED)
    config.write_text(json.dumps(document))
    (path / "dentgate.json").write_text(json.dumps(HAND | {"channels": channels}))
    return path


def hand() -> Pixels:
    """A picture of 8 bits: dark, a grey oval, and in it a bright spot away from every middle."""
    row, column = np.mgrid[:160, :120]
    oval = ((row - 80) / 70) ** 2 + ((column - 60) / 45) ** 2 < 1
    spot = ((row - 50) / 14) ** 2 + ((column - 75) / 10) ** 2 < 1
    noise = np.random.default_rng(0).integers(0, 12, row.shape)
    return np.asarray(30 + oval * 90 + spot * 100 + noise, np.uint8)


def trained() -> nn.Module:
    """MONAI's UNet that learnt to tell the grey oval (1) and the bright spot (2) from the dark, by their tones."""
    torch.manual_seed(0)
    net = UNet(2, **{**FLAT, "channels": (8, 16), "strides": (2,)})
    truth = torch.randint(0, 3, (8, 1, 12, 16)).repeat_interleave(4, 2).repeat_interleave(4, 3)
    pixels = truth * 0.45 + 0.05 * torch.rand(truth.shape)
    optimizer, threads = torch.optim.Adam(net.parameters(), 0.02), torch.get_num_threads()
    torch.set_num_threads(1)  # so little work is slower in many
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pixels), truth[:, 0]).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return net.eval()


def by_monai(path: Path, picture: Path) -> Pixels:
    """What MONAI itself makes of a picture file: probabilities, (classes,) or (channels, columns, rows)."""
    parser = ConfigParser()
    parser.read_config(str(path / "configs" / "inference.json"))
    parser["bundle_root"] = str(path)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(path / "models" / "model.pt", weights_only=True))
    given = parser.get_parsed_content("preprocessing")({"image": str(picture)})["image"]
    with torch.inference_mode():
        output = parser.get_parsed_content("inferer")(given[None], network)[0]
    found = parser.get_parsed_content("postprocessing").transforms[0]({"pred": output})["pred"]
    return np.asarray(found)


@pytest.fixture
def site(bench: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Bench]:
    """A bench with the models of the folder alone."""
    monkeypatch.setattr(shipped, "MODELS", ())

    def open_site() -> Bench:
        folder = tmp_path / "bundles"
        text = allowing(tmp_path / "out").replace("[analysis]\n", f'[analysis]\nbundles = "{folder}"\n')
        found = bench(text)
        loaded: dict[str, Any] = {}
        load = lambda model: loaded.setdefault(model.name, model.load("cpu"))  # noqa: E731
        found.context = replace(found.context, models=lambda: dropped_in(folder), load=load)
        return found

    return open_site


def received(at: Bench) -> dict[str, Any]:
    """A hand arrives as DICOM and goes the whole way; its analyses by model."""
    ds = xray(hand(), modality="DX", bits=8, BodyPartExamined="HAND")
    at.receive(as_bytes(ds))
    at.work()
    assert at.job().state == "delivered", [row.message for row in at.rows()]
    analyses = [json.loads(get(at.services.storage, each.storage_key)) for each in at.artifacts("analysis")]
    return {each["algorithm"]["name"]: each for each in analyses}


def test_a_classifier_and_a_segmenter_of_monai_serve(
    site: Callable[[], Bench], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both give of a DICOM image what MONAI's own transforms and inferer give of the same picture as a file."""
    torch.manual_seed(1)
    (tmp_path / "bundles").mkdir()
    dense = DenseNet(2, **{**DENSE, "block_config": (2, 2)}).eval()
    classes = {
        "1": {"finding": "fracture", "threshold": 0.01},
        "2": {"finding": "SCT:1:Other", "site": "hand", "threshold": 0.01},
    }
    classifier = made(tmp_path / "bundles" / "hand_class", dense, "DenseNet", DENSE, classes)
    regions = {"2": {"finding": "fracture", "site": "hand"}}
    segmenter = made(tmp_path / "bundles" / "hand_seg", trained(), "monai.networks.nets.UNet", FLAT, regions)
    Picture.fromarray(hand()).save(tmp_path / "hand.png")
    at = site()
    assert models(at.services.settings, None, None) == 0  # type: ignore[arg-type]  # the command takes more
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["ok", "hand_class"],
        ["ok", "hand_seg"],
    ]
    found = received(at)
    chances = by_monai(classifier, tmp_path / "hand.png")
    told = [finding["certainty"] for finding in found["hand_class"]["findings"]]
    assert told == pytest.approx(chances[1:], abs=1e-3)
    wanted = by_monai(segmenter, tmp_path / "hand.png").argmax(0).T == 2  # (rows, columns) of the network's grid
    (spot,) = found["hand_seg"]["findings"]
    rows, columns = np.nonzero(wanted)
    box = (
        np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        / (64, 48, 64, 48)
        * (120, 160, 120, 160)
    )
    assert np.abs(np.array(spot["region"]["box"]) - box).max() <= 3
    (seg,) = (path for path in (tmp_path / "out").rglob("*") if path.name.startswith("seg"))
    assert pydicom.dcmread(seg).Rows == 160


def test_torchscript_from_monais_export_serves_alike(site: Callable[[], Bench], tmp_path: Path) -> None:
    """``ckpt_export`` makes models/model.ts of a bundle; alone it gives the same certainty."""
    torch.manual_seed(1)
    (tmp_path / "bundles").mkdir()
    dense = DenseNet(2, **{**DENSE, "block_config": (2, 2)}).eval()
    channels = {"1": {"finding": "fracture", "threshold": 0.01}}
    path = made(tmp_path / "bundles" / "hand_class", dense, "DenseNet", DENSE, channels)
    Picture.fromarray(hand()).save(tmp_path / "hand.png")
    chances = by_monai(path, tmp_path / "hand.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers torch.export by now
        monai.bundle.ckpt_export(
            net_id="network_def", filepath=str(path / "models" / "model.ts"),
            use_trace=True, input_shape=[1, 1, 64, 48],
            ckpt_file=str(path / "models" / "model.pt"), meta_file=str(path / "configs" / "metadata.json"),
            config_file=str(path / "configs" / "inference.json"),
        )  # fmt: skip
    (path / "models" / "model.pt").unlink()
    (finding,) = received(site())["hand_class"]["findings"]
    assert finding["certainty"] == pytest.approx(chances[1], abs=1e-3)
