"""From labelled films to a bundle that the gateway loads, in seconds: drawn panoramics with drawn labels."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers import inference
from workers.inference import TorchRunner
from workers.models.conditions import CONDITIONS, HEADS, ToothConditions
from workers.training.conditions.crops import image_of, without_surround
from workers.training.conditions.labels import Film, read_films
from workers.training.conditions.task import TASK
from workers.training.phantom import panoramic_phantom
from workers.training.task import Evaluation, Training
from workers.training.teeth.scoring import truths_of

NAMES = {
    11: ("filling_or_crown", "filling"), 13: ("filling_or_crown", "crown"), 16: ("rct_or_implant", "rct"),
    26: ("rct_or_implant", "implant"), 36: ("impacted", "impacted"), 46: ("caries_destroyed", "root_stump"),
    33: ("filling_or_crown", "pontic"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def torch_only() -> Iterator[None]:
    """Networks run as they are: converting them takes longer than all that these tests do with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "OpenVinoRunner", lambda net, _shape: TorchRunner(net, torch.device("cpu")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn films, two to train on."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    manifest, boxes, again = ["file,split,group"], ["file,label,xmin,ymin,xmax,ymax"], list[str]()
    for seed in range(3):
        phantom = panoramic_phantom(seed, rows=256, columns=512, missing=())
        file = f"images/{seed}.png"
        Picture.fromarray((phantom.pixels >> 4).astype(np.uint8)).save(folder / file)
        manifest.append(f"{file},{'val' if seed == 2 else 'train'},{seed}")
        for truth in truths_of(phantom.labels):
            if truth.tooth in NAMES:
                first, second = NAMES[truth.tooth]
                line = ",".join([file, first, *(str(side) for side in truth.box)])
                boxes.append(line)
                again.append(f"{line},{second},high")
    (folder / "manifest.csv").write_text("\n".join(manifest) + "\n")
    (folder / "labels" / "boxes.csv").write_text("\n".join(boxes) + "\n")
    (folder / "labels" / "relabelled.csv").write_text("\n".join([f"{boxes[0]},new_label,confidence", *again]) + "\n")
    return folder


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a few seconds of training give."""
    small = {"batch": 4, "network": {"_target_": "workers.networks.residual.SmallResNet", "widths": [4], "blocks": [1]}}
    out = tmp_path_factory.mktemp("out")
    return TASK.train(Training(data, out, minutes=0.05, settings=small, device="cpu"))


def test_training_makes_a_bundle_that_serves(bundle: Path, data: Path) -> None:
    """The bundle loads, says which algorithm it is, and gives each head a curve and two thresholds."""
    assert (bundle.parent / "report.html").is_file(), "the report of the training is missing"
    model = ToothConditions(bundle).load("cpu")
    assert model.algorithm.name == "tooth_conditions"
    assert model.algorithm.research
    assert model.settings.curves.shape == (len(HEADS), 2)
    assert model.settings.thresholds.shape == (2, len(HEADS))
    assert model.analyze(image_of(read_films(data, "val")[0].pixels)) == ()


def test_evaluation_writes_a_report(bundle: Path, data: Path, tmp_path: Path) -> None:
    """Every condition is counted once for each labelled tooth, found or not; the report lies beside its figures."""
    report = TASK.evaluate(Evaluation(data, tmp_path, bundle=bundle))
    assert {name: row["labelled"] for name, row in report["served"].items()} == dict.fromkeys(CONDITIONS, 1)
    assert sum(row["boxes"] for row in report["routes"].values()) == len(NAMES)
    assert "crown" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["boxes"]["images"] == len(NAMES)


def test_settings_of_another_model_are_refused(bundle: Path, tmp_path: Path) -> None:
    """A bundle whose heads stand in another order is refused by name, before it says nonsense."""
    for part in ("configs", "models"):
        (tmp_path / part).symlink_to(bundle / part)
    (tmp_path / "configs").unlink()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_bytes((bundle / "configs" / "metadata.json").read_bytes())
    settings = json.loads((bundle / "configs" / "inference.json").read_text())
    settings["heads"] = settings["heads"][::-1]
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigurationError, match="tooth_conditions"):
        ToothConditions(tmp_path).load("cpu")


def test_unknown_settings_are_refused(data: Path, tmp_path: Path) -> None:
    """A misspelt setting is an error before training, not a training without it."""
    with pytest.raises(ConfigurationError, match="learning_speed"):
        TASK.train(Training(data, tmp_path, minutes=0.01, settings={"learning_speed": 1}))


def test_the_white_around_a_film_is_filled() -> None:
    """An ellipse on white loses its white corners and keeps its place; a film without stays as it is."""
    rows, columns = 200, 400
    y, x = np.mgrid[-1:1:200j, -1:1:400j]
    plain = np.full((rows, columns), 90, np.uint8)
    film = Film(np.where(x * x + y * y > 0.98, 255, plain).astype(np.uint8), (), "g", "n")
    filled = without_surround(film)
    assert filled.pixels.shape == (rows, columns)
    assert filled.pixels.max() < 130
    assert (without_surround(replace(film, pixels=plain)).pixels == plain).all()
