"""The baseline: the type of curve from the whole film."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.drawn_data import manifest
from workers import inference
from workers.inference import TorchRunner
from workers.models.dropped_classifier import DroppedClassifier
from workers.training.spine.direct import SCOLIOSIS, scoliosis_recipe
from workers.training.spine.phantom import spine_phantom
from workers.training.task import Training


@pytest.fixture(scope="module", autouse=True)
def torch_only() -> Iterator[None]:
    """Networks run as they are: converting them takes longer than all that these tests do with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "OpenVinoRunner", lambda net, _shape: TorchRunner(net, torch.device("cpu")))
        yield


def films(data: Path, labels: tuple[str, ...]) -> Path:
    """A drawn film of each label for training, and one for validation."""
    rows = []
    for seed, label in enumerate(labels * 2):
        file = data / "images" / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(spine_phantom(seed, rows=160).pixels).save(file)
        split = "train" if seed < len(labels) else "val"
        rows.append({"file": f"images/{seed}.png", "split": split, "group": f"g{seed}", "labels": label})
    return manifest(data, rows)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("double", "normal", "single"), ("normal", "single", "double")),
        (("spondylolisthesis", "scoliosis", "normal"), ("normal", "scoliosis")),
    ],
)
def test_films_that_are_asked_about(tmp_path: Path, labels: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Normal and the curves are the classes, one of each film; films of anything else are left out."""
    recipe = scoliosis_recipe(films(tmp_path / "mine", labels), tmp_path / "out", 0, "")
    collection = recipe.collection
    assert collection.classes == classes
    assert collection.exclusive
    assert len(collection.records) == 2 * len(classes)
    for record in collection.records:
        assert classes[record.truth.index(1)] == (labels * 2)[int(record.file.stem)]


@pytest.mark.parametrize("labels", [("single", "double"), ("normal", "hernia")])
def test_nothing_to_tell_apart(tmp_path: Path, labels: tuple[str, ...]) -> None:
    """Without normal films, or with nothing else, the classes that are there are named."""
    with pytest.raises(ConfigurationError, match=rf"the classes {', '.join(sorted(labels))}; normal and"):
        scoliosis_recipe(films(tmp_path / "mine", labels), tmp_path / "out", 0, "")


def test_it_trains(tmp_path: Path) -> None:
    """Out comes a bundle that takes spines when it is dropped in, and a report with the shortcut among its caveats."""
    data = films(tmp_path / "mine", ("double", "normal", "single"))
    settings = {"size": [32, 16], "batch": 3}
    bundle = SCOLIOSIS.train(
        Training(data, tmp_path / "out", 0.02, backbone="four-conv", settings=settings, device="cpu")
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert set(report["classes"]) == {"normal", "single", "double"}
    assert any("Shape and size" in text for text in report["caveats"])
    assert DroppedClassifier(bundle).looks_for == ("scoliosis",)
    assert "WSPINE" in json.loads((bundle / "dentgate.json").read_text(encoding="utf-8"))["body_part"]
