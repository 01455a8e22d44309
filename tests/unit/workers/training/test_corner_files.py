"""Corner files that are damaged, and our own landmarks.json without a manifest."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.drawn_data import picture, rows_of
from workers.training.layouts import prepare
from workers.training.spine.films import read_manifest

POINTS = [[float(2 * x), float(y)] for y in range(34) for x in range(2)]


def listed(data: Path, place: str, prefix: str = "") -> Path:
    """Six films in images/ and a landmarks.json at ``place`` that names them."""
    for i in range(6):
        picture(data / "images" / f"{i}.png", i, (50, 100))
    (data / place).parent.mkdir(parents=True, exist_ok=True)
    (data / place).write_text(json.dumps({f"{prefix}{i}.png": POINTS for i in range(6)}), encoding="utf-8")
    return data


@pytest.mark.parametrize(
    ("place", "prefix"),
    [("labels/landmarks.json", "images/"), ("landmarks.json", "images/"), ("labels/landmarks.json", "")],
)
def test_landmarks_alone(tmp_path: Path, place: str, prefix: str) -> None:
    """landmarks.json needs no manifest: parts and groups are made, and the films are read with their corners."""
    made = prepare(listed(tmp_path / "mine", place, prefix), tmp_path / "out", 0)
    assert {row["split"] for row in rows_of(made)} == {"train", "val"}
    records = [record for split in ("train", "val") for record in read_manifest(made, split)]
    assert {record.image.name for record in records} == {f"{i}.png" for i in range(6)}
    assert all((record.corners.reshape(68, 2) == POINTS).all() for record in records)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "must be a JSON object of file to 68 points"),
        ("[]", "must be a JSON object of file to 68 points"),
        ('{"0.png": "none"}', "must be a JSON object of file to 68 points"),
        ('{"0.png": [[1, 2]]}', r"0\.png has points of shape \(1, 2\)"),
        (json.dumps({"other.png": POINTS}), "names other.png, which is nowhere in the folder"),
    ],
)
def test_wrong_landmarks(tmp_path: Path, text: str, cause: str) -> None:
    """What is wrong with a landmarks.json that stands alone is said in one line that names the file."""
    data = listed(tmp_path / "mine", "labels/landmarks.json")
    (data / "labels/landmarks.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"landmarks\.json.*{cause}"):
        prepare(data, tmp_path / "out", 0)


def test_damaged_picture_beside_a_table(tmp_path: Path) -> None:
    """A damaged picture in the layout of AASCE is named before anything is made of its size."""
    data = tmp_path / "mine"
    file = picture(data / "film.jpg", 0, (50, 100))
    (data / "filenames.csv").write_text("film.jpg")
    np.savetxt(data / "landmarks.csv", np.full((1, 136), 0.5), delimiter=",")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ConfigurationError, match=rf"{re.escape(str(file))} cannot be read as a picture"):
        prepare(data, tmp_path / "out", 0)


@pytest.mark.parametrize("damage", [b"", b"no MATLAB file at all" * 20, None])
def test_damaged_matlab_file(tmp_path: Path, damage: bytes | None) -> None:
    """A broken .mat ends in one line that names it, whatever is broken in it."""
    file = Path(f"{picture(tmp_path / 'mine' / '0.jpg', 0)}.mat")
    savemat(file, {"p2": np.full((68, 2), 3.5)}, do_compression=True)
    whole = file.read_bytes()
    file.write_bytes(whole[:150] + b"\xff" * 40 + whole[190:] if damage is None else damage)
    with pytest.raises(ConfigurationError, match=r"0\.jpg\.mat holds no p2"):
        prepare(tmp_path / "mine", tmp_path / "out", 0)
