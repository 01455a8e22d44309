"""Reading spine films and their corners: what is right is read, what is wrong is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.training.spine.films import load_films, read_manifest, read_rows
from workers.training.spine.phantom import spine_phantom


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two drawn films, one for each split."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    corners = {}
    for seed in range(2):
        phantom = spine_phantom(seed, rows=200)
        Picture.fromarray(phantom.pixels).save(tmp_path / "images" / f"{seed}.png")
        corners[f"images/{seed}.png"] = phantom.corners.reshape(68, 2).round(2).tolist()
    (tmp_path / "labels/landmarks.json").write_text(json.dumps(corners), encoding="utf-8")
    rows = (
        "file,split,group,labels,cobb_major,cobb_second\nimages/0.png,train,a,double,40.5,30\nimages/1.png,val,b,,,\n"
    )
    (tmp_path / "manifest.csv").write_text(rows, encoding="utf-8")
    return tmp_path


def test_read(data: Path) -> None:
    """A record has its corners in pixels, its group, and its label and angles where the manifest names them."""
    (record,) = read_manifest(data, "train")
    assert record.corners == pytest.approx(spine_phantom(0, rows=200).corners, abs=0.01)
    assert (record.group, record.labels, record.cobb) == ("a", "double", (40.5, 30.0))
    (other,) = read_manifest(data, "val")
    assert (other.labels, other.cobb) == ("", None)
    (film,) = load_films([record])
    assert film.pixels.shape[0] == 200
    assert film.pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda points: points / 300, "are fractions; give them in pixels"),
        (lambda points: points * 3, "lie outside the film of .* x 200 pixels"),
        (lambda points: points[:, ::-1] * (0.3, 1) * (1, 0.3), "lie side by side"),
        (lambda points: points[::-1], "go from the bottom up; give the topmost vertebra first"),
    ],
)
def test_points_of_another_kind(data: Path, change: Callable[[Any], Any], cause: str) -> None:
    """Fractions, other pixels, x and y swapped, from L5 to T1: they would be learnt without a word."""
    file = data / "labels/landmarks.json"
    corners = json.loads(file.read_text(encoding="utf-8"))
    corners["images/0.png"] = change(np.array(corners["images/0.png"])).tolist()
    file.write_text(json.dumps(corners), encoding="utf-8-sig")
    with pytest.raises(ConfigurationError, match=rf"the points of images/0\.png {cause}"):
        read_manifest(data, "train")


def angle(data: Path, text: str) -> None:
    """Another major angle in the manifest."""
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("40.5", text), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda d: (d / "manifest.csv").unlink(), "manifest.csv cannot be read"),
        (lambda d: (d / "manifest.csv").write_text("file,split\na,train\n"), "lacks the column group"),
        (lambda d: (d / "manifest.csv").write_text("file,split,group\na,val,x\n"), "no row whose split is 'train'"),
        (lambda d: (d / "labels/landmarks.json").unlink(), "landmarks.json cannot be read"),
        (lambda d: (d / "labels/landmarks.json").write_text("{"), "landmarks.json is not JSON"),
        (lambda d: (d / "labels/landmarks.json").write_text("[]"), "must be a JSON object"),
        (lambda d: (d / "labels/landmarks.json").write_text("{}"), "has no points for images/0.png"),
        (
            lambda d: (d / "labels/landmarks.json").write_text('{"images/0.png": [[1, 2]]}'),
            "images/0.png needs 68 points",
        ),
        (lambda d: (d / "images/0.png").unlink(), "is named in manifest.csv but is not there"),
        (lambda d: angle(d, "about 40"), "cobb_major of images/0.png is 'about 40'; write degrees"),
        (lambda d: angle(d, "nan"), "cobb_major of images/0.png is 'nan'; a Cobb angle is 0 to 180"),
        (lambda d: angle(d, "-3"), "cobb_major of images/0.png is '-3'; a Cobb angle is 0 to 180"),
    ],
)
def test_wrong_data(data: Path, spoil: Callable[[Path], object], cause: str) -> None:
    """What is missing or wrong ends with one line that names it, before any training."""
    spoil(data)
    with pytest.raises(ConfigurationError, match=cause):
        read_manifest(data, "train")


def test_damaged_picture(data: Path) -> None:
    """A file that is no picture is named."""
    (data / "images/0.png").write_bytes(b"no picture")
    with pytest.raises(ConfigurationError, match="cannot be read as a picture"):
        load_films(read_manifest(data, "train"))


def test_deep_picture(data: Path) -> None:
    """A film of 16 bits keeps its greys, where 255 and more were all white."""
    shallow = spine_phantom(0, rows=200).pixels
    Picture.fromarray(shallow.astype(np.uint16) * 256).save(data / "images/0.png")
    (film,) = load_films(read_manifest(data, "train"))
    scaled = shallow.astype(float) * 255 / shallow.max()
    assert np.abs(film.pixels - scaled).max() <= 0.5


def test_a_manifest_from_a_spreadsheet(data: Path) -> None:
    """The mark that a spreadsheet puts in front does no harm."""
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert len(read_manifest(data, "train")) == 1


def test_other_columns(data: Path) -> None:
    """Rows are read without corners where only labels are wanted, and a lacking column is named."""
    assert len(read_rows(data, "val")) == 1
    with pytest.raises(ConfigurationError, match="curve"):
        read_rows(data, "val", ("file", "split", "group", "curve"))
