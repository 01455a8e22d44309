"""The tasks from a folder of pictures to a bundle that serves."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.test_monai_config import by_monai, verify
from workers.models.dropped_classifier import DroppedClassifier
from workers.models.image_classifier import ImageClassifier
from workers.models.picture_files import read_picture
from workers.pixels import Image
from workers.training.images.nothing import drawn_nothing
from workers.training.images.pictures import as_other_device, in_colour
from workers.training.images.tasks import FRACTURE, IMAGES, images_recipe
from workers.training.task import Evaluation, Training

TINY = {"size": [32, 32], "batch": 8, "strength": 0.5, "rotation": "5", "learning_rate": "0.005"}


def draw(folder: Path, classes: dict[str, int], count: int, *, colour: bool = False) -> None:
    """Pictures of noise with a bright bar of a given number of rows, in folders by class."""
    rng = np.random.default_rng(0)
    for name, bar in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 80, (40, 30, 3) if colour else (40, 30)).astype(np.uint8)
            pixels[10 : 10 + bar] += 150
            Picture.fromarray(pixels).save(folder / name / f"{number}.png")


def test_folders_of_classes_become_a_bundle_that_serves(tmp_path: Path) -> None:
    """The user's own classes: trained, measured, and dropped in, with the classes named like findings as findings."""
    draw(tmp_path / "data", {"fracture": 20, "normal": 0}, 24)
    order = Training(tmp_path / "data", tmp_path / "out", 0.05, backbone="four-conv", settings=TINY, device="cpu")
    bundle = IMAGES.train(order)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["classes"]["fracture"]["auc"]["value"] == 1
    assert (tmp_path / "out" / "report.html").exists()
    again = IMAGES.evaluate(Evaluation(tmp_path / "data", tmp_path / "again", "val", bundle))
    assert again["headline"] == report["headline"]
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["eval_metrics"]["validation"]["classes"] == report["classes"]
    assert metadata["version"] == f"0.0.0+{metadata['weights_sha256'][:8]}", "no other weights have it"
    assert metadata["authors"] == "whoever trained it"
    assert "of the folder data" in metadata["data_source"]
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert report["headline"] in card
    for name in ("fracture/0.png", "normal/1.png"):
        file = tmp_path / "data" / name
        probabilities = ImageClassifier(bundle, "cpu", "torch").read(read_picture(file)).probabilities
        assert by_monai(bundle, image=str(file))[1] == pytest.approx(probabilities, abs=1e-4), "its transforms serve"
    verify(bundle)
    dropped = DroppedClassifier(bundle)
    header = Dataset()
    header.Modality = "DX"
    assert dropped.judge(header).accepted
    assert dropped.looks_for == ("fracture",)
    model = dropped.load("cpu")
    pixels = np.random.default_rng(1).random((80, 60), np.float32) * 0.3
    assert model.analyze(_image(pixels)) == ()
    pixels[20:60] += 0.6
    (found,) = model.analyze(_image(pixels))
    assert found.kind == "fracture"
    assert found.certainty > 0.5
    header.Modality = "CT"
    assert not dropped.judge(header).accepted


def _image(pixels: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Image:
    return Image(pixels, Dataset(), flipped_x=False, flipped_y=False, notes=())


def test_the_fracture_task_reads_its_labels(tmp_path: Path) -> None:
    """Fractured or not in any spelling; flagged pictures are left out; the bundle answers one question."""
    draw(tmp_path / "data", {"fractured": 20, "not fractured": 0}, 12)
    rows = ["file,split,group,labels,content_flag"]
    for name in ("fractured", "not fractured"):
        rows += [f"{name}/{n}.png,{'val' if n % 3 == 0 else 'train'},{name}{n},{name}," for n in range(12)]
    Picture.new("L", (30, 40)).save(tmp_path / "data" / "scan.png")
    rows.append("scan.png,val,other,fractured,not_plain_xray")
    (tmp_path / "data" / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    bundle = FRACTURE.train(
        Training(tmp_path / "data", tmp_path / "out", 0.06, backbone="four-conv", settings=TINY, device="cpu")
    )
    assert bundle.name == "fracture"
    settings = ImageClassifier(bundle, "cpu", "torch").settings
    assert settings.classes == ("fracture",)
    assert settings.findings == {"fracture": "fracture"}
    report = FRACTURE.evaluate(Evaluation(tmp_path / "data", tmp_path / "again", "val", bundle, stress=True))
    assert report["images"] == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbone": "alexnet"}, "no backbone 'alexnet'"),
        ({"settings": {"sise": 3}}, "no setting 'sise'; known: .*batch"),
        ({"settings": {"batch": "many"}}, "batch is 'many'"),
        ({"settings": {"channels": 2}}, "no setting 'channels'"),
        ({"settings": {"weights": "1,1,1"}}, "weights has 3 numbers; it must have one for each of fracture, normal"),
        ({"settings": {"optimizer": "sgd"}}, "optimizer is 'sgd'; it must be one of adamw, adam"),
        ({"start": Path("timm:nothing")}, "checkpoint file"),
    ],
)
def test_a_wrong_order_is_refused_before_training(change: dict[str, object], words: str, tmp_path: Path) -> None:
    """Each mistake has a sentence that names it."""
    draw(tmp_path / "data", {"fracture": 20, "normal": 0}, 10)
    order = Training(tmp_path / "data", tmp_path / "out", 0.05, **({"settings": TINY} | change))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=words):
        IMAGES.train(order)


def test_foreign_labels_and_bundles_are_refused(tmp_path: Path) -> None:
    """Labels that the fracture task does not know, and a bundle of other classes, are named."""
    draw(tmp_path / "data", {"cat": 20, "dog": 0}, 10)
    with pytest.raises(ConfigurationError, match="'cat'"):
        FRACTURE.train(Training(tmp_path / "data", tmp_path / "out", 0.05))
    with pytest.raises(ConfigurationError, match="--bundle"):
        IMAGES.evaluate(Evaluation(tmp_path / "data", tmp_path / "out"))


def test_colours_are_noticed(tmp_path: Path) -> None:
    """A grey X-ray saved with three channels is grey; photographs keep their colours and modality."""
    draw(tmp_path / "colour", {"caries": 20, "healthy": 0}, 10, colour=True)
    recipe = images_recipe(tmp_path / "colour", tmp_path / "out", 0, "")
    assert in_colour(recipe.collection)
    assert (recipe.channels, recipe.facts.modalities) == (3, ("XC",))
    assert recipe.findings == {"caries": "caries"}
    grey = np.repeat(np.random.default_rng(0).integers(0, 255, (20, 20, 1)).astype(np.uint8), 3, axis=2)
    Picture.fromarray(grey).save(tmp_path / "grey.png")
    assert read_picture(tmp_path / "grey.png").shape == (20, 20)
    (tmp_path / "torn.png").write_bytes(b"no picture")
    with pytest.raises(ConfigurationError, match=r"torn\.png"):
        read_picture(tmp_path / "torn.png")


def test_nothing_is_of_no_class() -> None:
    """Drawn pictures that show nothing fit among the samples, differ from each other, and are of no class."""
    samples = drawn_nothing(6, (24, 24), (1, 99), 2, np.random.default_rng(0))
    assert {sample.pixels.shape for sample in samples} == {(24, 24, 1)}
    assert len({sample.pixels.tobytes() for sample in samples}) == len({sample.group for sample in samples}) == 6
    assert not np.any([sample.labels for sample in samples])


def test_another_device_is_the_same_each_time() -> None:
    """The stress test changes framing and tone, by the number of the picture alone."""
    pixels = np.random.default_rng(0).random((100, 80)).astype(np.float32)
    first, second = (as_other_device(pixels, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape != pixels.shape
    assert 0 <= first.min() <= first.max() <= 1
