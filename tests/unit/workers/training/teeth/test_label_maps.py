"""What stands in label maps and pictures is read as it stands, and what is wrong with it is said before any work."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.regions import Detection
from workers.training.task import Evaluation, Training
from workers.training.teeth.cases import Case, cases, windows_of
from workers.training.teeth.evaluate import lies_on
from workers.training.teeth.panoramics import UNKNOWN, check_films, check_labels, load_samples, read_manifest
from workers.training.teeth.plan import Plan
from workers.training.teeth.scoring import truths_of
from workers.training.teeth.task import TEETH, leakage_of, numbered
from workers.training.tool import run_evaluation


def plane(*numbers: int) -> NDArray[np.uint8]:
    """A map with a column for each number."""
    return np.repeat(np.array([numbers], np.uint8), 20, 0).repeat(10, 1)


def data_set(folder: Path, maps: dict[str, Picture.Image], picture: Picture.Image | None = None) -> Path:
    """A film for each named map; "train" and "val" in the name give the split."""
    folder.mkdir()
    rows = [("file", "split", "group", "label_file")]
    for name, labels in maps.items():
        grey = picture or Picture.fromarray(np.tile(np.arange(labels.width, dtype=np.uint8), (labels.height, 1)))
        grey.resize(labels.size).save(folder / f"{name}.png")
        labels.save(folder / f"{name}-map.png")
        rows.append((f"{name}.png", "val" if "val" in name else "train", name, f"{name}-map.png"))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


def map_of(*numbers: int) -> Picture.Image:
    """A map as Pillow writes it."""
    return Picture.fromarray(plane(*numbers))


def test_deep_pictures_and_palettes(tmp_path: Path) -> None:
    """A picture of 16 bits keeps its greys, a map with a palette its numbers."""
    deep = Picture.fromarray(np.linspace(0, 40_000, 600).reshape(20, 30).astype(np.uint16))
    colours = map_of(0, 11, 12)
    colours.putpalette([value for n in range(256) for value in (n, 255 - n, 7)])
    (sample,) = load_samples(read_manifest(data_set(tmp_path / "deep", {"train": colours}, deep), "train"))
    assert len(np.unique(sample.pixels)) > 100
    assert set(np.unique(sample.classes)) == {0, 1, 2}


def test_numbers_that_are_not_fdi(tmp_path: Path) -> None:
    """The map is named, its numbers, and for class indices that FDI is meant; so is a split without any tooth."""
    for name, numbers, words in (
        ("indices", (0, 1, 2, 3, 11, 30), r"train-map\.png.*not FDI: 1, 2, 3, 30; these look like class indices"),
        ("odd", (0, 11, 99), "not FDI: 99; give each pixel"),
        ("mask", (0, 255), "no map of split train.*holds a permanent tooth"),
        ("milk", (0, 51, 85), "no map of split train.*holds a permanent tooth"),
    ):
        data = data_set(tmp_path / name, {"train": map_of(*numbers), "val": map_of(0, 11)})
        with pytest.raises(ConfigurationError, match=words):
            TEETH.train(Training(data, tmp_path / "out", 60))
        with pytest.raises(ConfigurationError, match=words):
            TEETH.evaluate(Evaluation(data, tmp_path / "out", "train"))
        check_labels(read_manifest(data, "val"))


def test_deciduous_teeth_are_background(tmp_path: Path) -> None:
    """They may stand in a map; training and measuring take them for no permanent tooth, not for something unknown."""
    data = data_set(tmp_path / "mixed", {"val": map_of(0, 11, 55, 255)})
    check_films(data, "val")
    (sample,) = load_samples(read_manifest(data, "val"))
    assert set(np.unique(sample.classes)) == {0, 1, 33}
    (case,) = cases(data, "val", stress=False)[1]
    assert set(np.unique(case.labels)) == {0, 11, UNKNOWN}
    assert case.name == "val.png"


def test_what_nobody_knows_is_not_measured() -> None:
    """What is unknown is no tooth to find, and a tooth found there is neither right nor wrong."""
    labels = plane(0, 11, UNKNOWN, UNKNOWN, 12)
    assert [truth.tooth for truth in truths_of(labels)] == [11, 12]
    there, beside = (Detection("tooth", 13, 0.9, (x, 0, x + 10, 20), np.ones((20, 10), np.bool_)) for x in (20, 10))
    assert lies_on(there, labels, frozenset({UNKNOWN}))
    assert not lies_on(beside, labels, frozenset({UNKNOWN}))


def test_windows_do_not_count_the_unknown() -> None:
    """A window of two teeth and something unknown is not taken for a film of three."""
    labels = np.zeros((100, 200), np.uint8)
    labels[20:80, 20:40], labels[20:80, 45:60], labels[40:60, 41:44] = 16, 15, UNKNOWN
    for third, windows in ((UNKNOWN, False), (14, True)):
        labels[40:60, 41:44] = third
        case = Case(np.zeros(labels.shape, np.float32), labels, "a")
        assert any(list(windows_of(case, np.random.default_rng(seed))) for seed in range(8)) == windows


def test_a_row_without_a_map(tmp_path: Path) -> None:
    """An empty cell is said to be one, before training; it would name the folder."""
    data = data_set(tmp_path / "data", {"train": map_of(0, 11), "val": map_of(0, 11)})
    text = (data / "manifest.csv").read_text(encoding="utf-8").replace("train-map.png", "")
    (data / "manifest.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"train\.png has no label_file \(1 such rows in split train\)"):
        TEETH.train(Training(data, tmp_path / "out", 60))


def test_damaged_pictures(tmp_path: Path) -> None:
    """Measuring, and films to be numbered or numbered before, are looked through first; the file is named."""
    sound = data_set(tmp_path / "sound", {"train": map_of(0, 11), "val": map_of(0, 11)})
    data = data_set(tmp_path / "data", {"train": map_of(0, 11), "val": map_of(0, 11)})
    for name in ("train", "val"):
        content = (data / f"{name}.png").read_bytes()
        (data / f"{name}.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigurationError, match=r"val\.png is damaged"):
        run_evaluation("teeth", Evaluation(data, tmp_path / "out"))
    for setting in ("films", "numbered"):
        with pytest.raises(ConfigurationError, match=r"train\.png is damaged"):
            TEETH.train(Training(sound, tmp_path / "out", 60, settings={setting: str(data)}))
    with pytest.raises(ConfigurationError, match=r"nowhere.*cannot be read"):
        TEETH.train(Training(sound, tmp_path / "out", 60, settings={"films": str(tmp_path / "nowhere")}))


def test_numbered_films_are_compared_with_the_validation(tmp_path: Path) -> None:
    """A film of the validation among the films numbered before is told of; groups of two collections are not."""
    noise = np.random.default_rng(0).integers(0, 255, (3, 8, 8)).astype(np.uint8)
    data, others = tmp_path / "data", tmp_path / "others"
    for folder in (data, others):
        data_set(folder, {"train": Picture.fromarray(np.zeros((64, 64), np.uint8)), "val": map_of(0, 11)})
    for file, picture in zip((data / "train.png", data / "val.png", others / "train.png"), noise, strict=True):
        Picture.fromarray(picture).resize((64, 64), Picture.Resampling.BICUBIC).save(file)
    plan = Plan(minutes=1, numbered=str(others))
    assert leakage_of(data, plan).clean
    (others / "train.png").write_bytes((data / "val.png").read_bytes())
    found = leakage_of(data, plan)
    assert not found.groups
    assert [pair.why for pair in found.pairs] == ["same bytes"]


def test_films_of_which_none_can_be_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said before training; a run that goes on does not number again what was numbered to the end."""
    monkeypatch.setattr("workers.training.teeth.task.number_films", lambda *_: 0)
    monkeypatch.setattr("workers.training.teeth.task.PanoramicTeeth.load", lambda *_: None)
    order = Training(tmp_path, tmp_path / "out", 1)
    with pytest.raises(ConfigurationError, match="sure of none; train without the setting films"):
        numbered(order, tmp_path)
    (tmp_path / "out/numbered").mkdir(parents=True)
    (tmp_path / "out/numbered/manifest.csv").write_text("file,split,group,label_file\n", encoding="utf-8")
    assert numbered(replace(order, resume=True), tmp_path) == tmp_path / "out/numbered"
