"""Training and measuring of the photograph model, on drawn mouths."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from tests.mouths import mouth_picture
from workers.inference import TorchRunner
from workers.models.bundle import load_bundle
from workers.models.mouth import refuse
from workers.training.outcome import Outcome
from workers.training.photos.elsewhere import draw_elsewhere
from workers.training.photos.measure import among_findings
from workers.training.photos.pictures import STORED, read_photographs, samples_of
from workers.training.photos.plan import plan_of
from workers.training.photos.scope import fit_line
from workers.training.photos.stress import blank, other_camera
from workers.training.photos.task import Photos
from workers.training.task import Evaluation, Training


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen drawn mouths, those with a spot filed as caries, and a banner that is flagged."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "images").mkdir()
    rows = []
    for number in range(16):
        spot = number % 2 == 0
        colour = mouth_picture(40 + number, 72, spot=spot) * np.float32(0.7 + 0.02 * number)
        name = f"images/{number}.png"
        Picture.fromarray(np.round(colour * 255).astype(np.uint8)).save(folder / name)
        split = "train" if number < 10 else "val"
        rows.append([name, split, f"g{number // 2 * 2 + (number >= 10)}", "caries" if spot else "healthy", ""])
    rows.append(["images/banner.png", "train", "b", "caries", "not_a_plain_photo"])
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", "split", "group", "labels", "content_flag"], *rows])
    return folder


@pytest.fixture(autouse=True)
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of eight channels are not worth a conversion to OpenVINO at every look."""
    monkeypatch.setattr(
        "workers.models.oral_photo.open_network", lambda net, _shape, _device: TorchRunner(net, torch.device("cpu"))
    )


def order(data: Path, out: Path, **settings: object) -> Training:
    """Two steps or so of two networks of eight channels."""
    small = {"network": {"_target_": "workers.networks.photo_net.PhotoNet", "widths": [8] * 5, "blocks": [1] * 4}}
    quick = {"members": 2, "size": [32, 48], "batch": 4} | small
    return Training(data=data, out=out, minutes=0.01, settings=quick | settings)


def test_flagged_photographs_train_nothing(data: Path) -> None:
    """Training leaves out what is marked as no plain photograph, without opening it; labels and groups stay."""
    part = read_photographs(data).part("train")
    samples = samples_of(part)
    assert len(samples) == 10
    assert {sample.pixels.shape for sample in samples} == {(*STORED, 3)}
    assert part.classes == ("caries", "healthy")
    assert [sample.labels.tolist() for sample in samples[:2]] == [[1, 0], [0, 1]]


def test_an_unreadable_photograph_is_named(data: Path, tmp_path: Path) -> None:
    """A file that is no picture is a configuration error with its path."""
    record = replace(read_photographs(data).records[0], file=tmp_path / "nothing.png")
    collection = replace(read_photographs(data), records=(record,))
    with pytest.raises(ConfigurationError, match=r"nothing\.png"):
        samples_of(collection)


def test_drawn_pictures_show_no_mouth(data: Path) -> None:
    """They differ from each other, are labelled 0, have the shape of the photographs and depend on the seed only."""
    photographs = samples_of(read_photographs(data).part("train"))
    drawn, again = (draw_elsewhere(photographs, 16, np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(drawn, again, strict=True))
    assert {sample.pixels.shape for sample in drawn} == {(*STORED, 3)}
    assert {float(sample.labels[0]) for sample in drawn} == {0.0}
    assert len({sample.pixels.tobytes() for sample in drawn}) == len({sample.group for sample in drawn}) == 16
    assert sum(sample.pixels.std() > 5 for sample in drawn) > 8


def test_a_training_gives_a_bundle_that_measures_itself(data: Path, tmp_path: Path) -> None:
    """From photographs to a bundle with calibration, a report, and the same figures when it is measured again."""
    bundle = Photos().train(order(data, tmp_path / "out"))
    settings = json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert len(settings["network_def"]["members"]) == 2
    assert settings["canvas"] == [32, 48]
    assert settings["thresholds"] != [0.5, 0.5]
    assert load_bundle(bundle).algorithm.research
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Learning curves, network 2 of 2" in page
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert (metadata["version"][:6], metadata["authors"]) == ("0.0.0+", "whoever trained it")
    assert metadata["data_source"].startswith("11 images of ")
    assert metadata["eval_metrics"]["validation"]["images"] == 6
    assert metadata["data_source"] in (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    report = Photos().evaluate(Evaluation(data, tmp_path / "eval", bundle=bundle))
    trained = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["macro"] == trained["macro"]
    assert set(report["classes"]) == {"caries", "healthy"}
    assert set(report["among_findings"]["classes"]) == {"caries"}
    stressed = Photos().evaluate(Evaluation(data, tmp_path / "stress", bundle=bundle, stress=True))
    assert "another camera" in stressed["data"]


def test_a_finished_run_is_gone_on_with_at_once(data: Path, tmp_path: Path) -> None:
    """What was trained to its end is taken over when a stopped run is resumed: the weights stay."""
    first = load_bundle(Photos().train(order(data, tmp_path / "out", members=1))).algorithm
    again = replace(order(data, tmp_path / "out", members=1), resume=True)
    assert load_bundle(Photos().train(again)).algorithm.weights_sha256 == first.weights_sha256


@pytest.mark.parametrize("settings", [{"members": 0}, {"members": "two"}, {"colour_of_hair": 1}])
def test_unknown_settings_are_named(data: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    """A setting that does not exist or has no sense is an error before the first step."""
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        Photos().train(order(data, tmp_path / "out", **settings))


def test_members_differ_and_share_the_minutes(tmp_path: Path) -> None:
    """Each network has its own seed, and all minutes together are those ordered."""
    given = Training(data=tmp_path, out=tmp_path, minutes=50, seed=4)
    plans = [plan_of(given, ("caries",), member) for member in range(3)]
    assert len({plan.seed for plan in plans}) == 3
    assert sum(plan.minutes for plan in plans) == pytest.approx(50)


def test_the_line_between_mouths_and_the_rest() -> None:
    """Points on either side of a line come out on their sides, whatever the scale; flat features count nothing."""
    rng = np.random.default_rng(0)
    mouth = np.arange(200) < 120
    seen = np.stack([rng.normal(np.where(mouth, 3, 1), 0.3), rng.normal(0, 900, 200), np.full(200, 7.0)], axis=1)
    weights, offset = fit_line(seen, mouth)
    assert (((seen @ weights + offset) > 0) == mouth).all()
    assert abs(weights[0]) > 100 * abs(weights[1])
    assert weights[2] == 0


def test_another_backbone_is_refused(data: Path, tmp_path: Path) -> None:
    """The heat maps need the network that judges parts: any other is refused before the first step."""
    with pytest.raises(ConfigurationError, match="ResNet50"):
        Photos().train(replace(order(data, tmp_path), backbone="ResNet50"))


def test_among_findings_leaves_healthy_photographs_out() -> None:
    """The harder figure knows neither the class nor the photographs of healthy mouths."""
    outcome = Outcome(
        classes=("caries", "healthy", "ulcer"),
        scores=np.arange(12).reshape(4, 3) / 12,
        truth=np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], np.int8),
        groups=list("abcd"),
        names=list("wxyz"),
        exclusive=False,
        thresholds=(0.1, 0.2, 0.3),
        pictures=lambda index: np.full((1, 1), index, np.uint8),
    )
    among = among_findings(outcome)
    assert (among.classes, among.names, among.groups) == (("caries", "ulcer"), ["w", "y"], ["a", "c"])
    assert among.thresholds == (0.1, 0.3)
    np.testing.assert_allclose(among.scores, np.array([[0, 2], [6, 8]]) / 12)
    assert among.pictures is not None
    assert among.pictures(1).item() == 2


def test_another_camera_still_shows_a_mouth() -> None:
    """The changed photograph differs in size and colours but passes as a mouth; a blank has one colour only."""
    picture = mouth_picture(150, 200)
    other = other_camera(picture, np.random.default_rng(1))
    assert other.shape != picture.shape
    assert refuse(other) == ""
    assert np.ptp(blank(picture), axis=(0, 1)).tolist() == [0, 0, 0]
