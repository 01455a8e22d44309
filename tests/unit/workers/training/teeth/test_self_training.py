"""Films that a model numbers for the next training."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.models.panoramic_teeth import LoadedPanoramicTeeth, PanoramicTeeth
from workers.pixels import Image
from workers.regions import Detection
from workers.training.phantom import panoramic_phantom
from workers.training.teeth.panoramics import UNKNOWN, load_samples, read_manifest
from workers.training.teeth.self_training import Mark, mark, number_films, upright
from workers.training.teeth.surround import Cut, cut_surround

PHANTOM = panoramic_phantom(11, rows=256, columns=490)


@pytest.fixture(scope="module")
def model() -> LoadedPanoramicTeeth:
    """The model as a worker loads it on a CPU."""
    return PanoramicTeeth().load("cpu")


def on_white() -> NDArray[np.uint8]:
    """A phantom in an ellipse, white around it, as some collections crop their films."""
    pixels = np.full((290, 540), 255, np.uint8)
    y, x = np.mgrid[-1:1:256j, -1:1:490j]
    pixels[17:273, 25:515] = np.where(x * x + y * y < 1, np.minimum(PHANTOM.pixels >> 4, 230), 255)
    return pixels


def test_white_surround_is_cut() -> None:
    """The film is found where it lies, and what the white hid is as dark as the film beside it."""
    cut = cut_surround(on_white())
    assert abs(cut.top - 17) < 8
    assert abs(cut.left - 25) < 14
    assert cut.pixels.max() < 245
    plain = (PHANTOM.pixels >> 4).astype(np.uint8)
    assert cut_surround(plain).pixels is plain


def test_upright(model: LoadedPanoramicTeeth, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way round in which a model is surer is taken as right; where it is as sure of both, neither is."""

    def analyze(_self: LoadedPanoramicTeeth, image: Image) -> tuple[Detection, ...]:
        return (Detection("tooth", 11, float(image.pixels[: len(image.pixels) // 2].mean())),) * 20

    monkeypatch.setattr(LoadedPanoramicTeeth, "analyze", analyze)
    film = np.repeat(np.linspace(1, 0, 100, dtype=np.float32)[:, None], 200, 1)
    assert upright(film, model) == -upright(film[::-1], model) == 1
    assert upright(np.full((100, 200), 0.5, np.float32), model) == 0


def test_numbered_films(model: LoadedPanoramicTeeth, tmp_path: Path) -> None:
    """A film becomes a sample whose numbers are those of the drawing; an implant's box has none, films of val none."""
    films = tmp_path / "films"
    (films / "images").mkdir(parents=True)
    (films / "labels").mkdir()
    y, x = (int(v.mean()) for v in np.nonzero(PHANTOM.labels == 36))
    Picture.fromarray(on_white()).save(films / "images/a.png")
    with (films / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("file", "split", "group"), ("images/a.png", "train", "a"), ("images/b.png", "val", "b")]
        )
    with (films / "labels/relabelled.csv").open("w", newline="", encoding="utf-8") as file:
        box = (x + 25 - 20, y + 17 - 50, x + 25 + 20, y + 17 + 50)
        csv.writer(file).writerows(
            [("file", "new_label", "xmin", "ymin", "xmax", "ymax"), ("images/a.png", "implant", *box)]
        )
    assert number_films(films, tmp_path / "out", model) == 1
    (record,) = read_manifest(tmp_path / "out", "train")
    labels = np.asarray(Picture.open(record.labels))
    numbers = set(np.unique(labels).tolist()) - {0, UNKNOWN}
    assert len(numbers) >= 12
    assert 36 not in numbers
    assert numbers <= set(np.unique(PHANTOM.labels).tolist())
    assert len(load_samples([record])) == 1


def test_marks() -> None:
    """An implant is background, a pontic unknown, and a boxed tooth without a number is unknown as well."""
    labels = np.zeros((60, 90), np.uint8)
    labels[20:40, 10:20], labels[20:40, 40:50] = 36, 35
    cut = Cut(np.zeros((60, 90), np.uint8), 5, 7)
    boxes = [Mark((15, 23, 28, 47), "implant"), Mark((46, 23, 58, 47), "pontic"), Mark((75, 20, 90, 40), "filling")]
    marked = mark(labels, boxes, cut)
    assert (marked[20:40, 10:20] == 0).all()
    assert (marked[20:40, 40:50] == UNKNOWN).all()
    assert marked[20, 75] == UNKNOWN
    assert (labels[20:40, 10:20] == 36).all()


def test_no_collection(model: LoadedPanoramicTeeth, tmp_path: Path) -> None:
    """A folder without films is one line that says so."""
    with pytest.raises(ConfigurationError, match=r"manifest\.csv cannot be read"):
        number_films(tmp_path, tmp_path / "out", model)
