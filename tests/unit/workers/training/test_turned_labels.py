"""Boxes and corners on DICOM files lie on the pictures that trainings read where they lay on the stored pixels."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from tests.builders import as_bytes, xray
from tests.unit.workers.training.drawn_data import manifest, picture
from workers.training.conditions.labels import read_films
from workers.training.grey import read_grey
from workers.training.layouts import prepare
from workers.training.readers import read_rows
from workers.training.spine.films import read_manifest
from workers.training.task import Training
from workers.training.tool import run_training

WAYS = (["L", "F"], ["R", "F"], ["L", "H"], ["R", "H"])
ROWS, COLUMNS, BOX = 60, 90, (12, 8, 30, 20)  # x0, y0, x1, y1 in stored pixels
Floats = np.ndarray[Any, np.dtype[np.float64]]


def dicom(path: Path, orientation: list[str], box: tuple[int, int, int, int] = BOX) -> Path:
    """A negative (MONOCHROME1) that shows one bright rectangle, its pixels stored as told."""
    stored = np.full((ROWS, COLUMNS), 4000, np.uint16)
    stored[box[1] : box[3], box[0] : box[2]] = 100
    stored[:, 40:] -= np.uint16(sum(path.name.encode()) % 500)  # no two of the same bytes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_bytes(xray(stored, photometric="MONOCHROME1", PatientOrientation=orientation)))
    return path


def parts(count: int) -> list[str]:
    """Half for each part."""
    return ["val" if i % 2 else "train" for i in range(count)]


def table(file: Path, rows: list[list[object]], *more: str) -> None:
    """Boxes as labels/boxes.csv has them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["file", "label", "xmin", "ymin", "xmax", "ymax", *more], *rows])


def test_boxes_of_conditions(tmp_path: Path) -> None:
    """However the pixels are stored, the box is around what it was around; a second look still finds its box."""
    data = tmp_path / "mine"
    names = [f"images/{i}.dcm" for i in range(4)] + ["images/4.png"]
    for name, way in zip(names, WAYS, strict=False):
        dicom(data / name, way)
    picture(data / "images" / "4.png", 1)
    groups = zip(names, [*parts(4), "train"], strict=True)
    manifest(data, [{"file": n, "split": s, "group": n} for n, s in groups])
    table(data / "labels" / "boxes.csv", [[n, "rct_or_implant", *BOX] for n in names])
    table(
        data / "labels" / "relabelled.csv",
        [[names[3], "rct_or_implant", *BOX, "implant", "high"]],
        "new_label",
        "confidence",
    )
    before = {file: file.read_bytes() for file in data.rglob("*") if file.is_file()}
    prepare(data, tmp_path / "out", 0)
    made = prepare(data, tmp_path / "out", 0)  # also where everything was made before
    films = [*read_films(made, "train"), *read_films(made, "val")]
    assert len(films) == 5
    for film in films[:2] + films[3:]:
        (found,) = film.boxes
        y, x = np.nonzero(film.pixels > 128)
        assert found.box == (float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))
    assert list(films[2].boxes[0].box) == list(BOX), "a picture keeps its boxes"
    assert sorted(film.boxes[0].name for film in films) == ["implant", *["rct_or_implant"] * 4]
    assert {file: file.read_bytes() for file in data.rglob("*") if file.is_file()} == before


def test_boxes_follow_when_the_files_become_pictures(tmp_path: Path) -> None:
    """What was written for DICOM files is not taken for the pictures that a person put in their place."""
    data = tmp_path / "mine"
    dicom(data / "a.dcm", ["R", "F"])
    manifest(data, [{"file": "a.dcm", "split": "", "group": ""}])
    table(data / "labels" / "boxes.csv", [["a.dcm", "implant", *BOX]])
    prepare(data, tmp_path / "out", 0)
    manifest(data, [{"file": "b.png", "split": "", "group": ""}])
    table(data / "labels" / "boxes.csv", [["b.png", "implant", *BOX]])
    made = prepare(data, tmp_path / "out", 0)
    assert "b.png,implant" in (made / "labels" / "boxes.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("alone", [True, False])
def test_corners_of_vertebrae(tmp_path: Path, alone: bool) -> None:  # noqa: FBT001 - a test parameter
    """Corners lie where they lay, and are again top to bottom, top left first, as trainings and angles need them."""
    data, x = tmp_path / "mine", [20.0, 60.0]
    names = [f"{i}.dcm" for i in range(4)]
    for name, way in zip(names, WAYS, strict=True):
        dicom(data / name, way)
    tops = 5 + 3.0 * np.arange(17)
    stored = [[across, top + down] for top in tops for down in (0, 2) for across in x]
    points = dict.fromkeys(names, stored)
    if alone:
        (data / "landmarks.json").write_text(json.dumps(points), encoding="utf-8")
    else:
        (data / "labels").mkdir()
        (data / "labels" / "landmarks.json").write_text(json.dumps(points), encoding="utf-8")
        manifest(data, [{"file": n, "split": s, "group": n} for n, s in zip(names, parts(4), strict=True)])
    made = prepare(data, tmp_path / "out", 0)
    records = {r.image.name[0]: r.corners for split in ("train", "val") for r in read_manifest(made, split)}
    assert records["0"].reshape(-1, 2).tolist() == stored
    for number, way in enumerate(WAYS):
        corners = records[str(number)]
        across = sorted(COLUMNS - value for value in x) if way[0] == "R" else x
        assert corners[:, :, 0].tolist() == [[*across, *across]] * 17
        heights = ROWS - tops[::-1] - 2 if way[1] == "H" else tops
        assert corners[:, :2, 1] == pytest.approx(np.stack([heights, heights], 1))
        assert corners[:, 2:, 1] == pytest.approx(np.stack([heights, heights], 1) + 2)


def test_coco_boxes_of_teeth(tmp_path: Path) -> None:
    """The label map that is drawn from boxes in stored pixels is turned with the picture."""
    x0, y0, x1, y1 = BOX
    entry = {
        "category_id": 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "segmentation": [[x0, y0, x1 - 1, y0, x1 - 1, y1 - 1, x0, y1 - 1]],
    }
    for number, way in enumerate(WAYS):
        dicom(tmp_path / "mine" / f"{number}.dcm", way)
    document = {
        "images": [{"id": i, "file_name": f"{i}.dcm"} for i in range(4)],
        "annotations": [entry | {"image_id": i} for i in range(4)],
        "categories": [{"id": 1, "name": "36"}],
    }
    (tmp_path / "mine" / "teeth.json").write_text(json.dumps(document), encoding="utf-8")
    rows = read_rows(prepare(tmp_path / "mine", tmp_path / "out", 0))
    assert len(rows) == 4
    for row in rows:
        shown = np.asarray(Picture.open(row["file"])) > 128
        assert np.array_equal(np.asarray(Picture.open(row["label_file"])) == 36, shown)


def diseases(data: Path, ending: str) -> None:
    """DENTEX's file of diseases: ill teeth only, and pictures on which all are sound; in two files by part."""
    x0, y0, x1, y1 = BOX
    for part in ("train", "val"):
        names = [f"{part}_{i}{ending}" for i in range(3)]
        for number, name in enumerate(names):
            file = dicom(data / "xrays" / name, WAYS[number])
            if ending == ".png":
                grey = read_grey(file.rename(file.with_suffix(".dcm")))
                Picture.fromarray(grey).save(file)
        document = {
            "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
            "annotations": [
                {
                    "image_id": i,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "category_id_1": 0,
                    "category_id_2": 5,
                    "category_id_3": 0,
                }
                for i in range(2)
            ],
            "categories_1": [{"id": i, "name": str(i + 1)} for i in range(4)],
            "categories_2": [{"id": i, "name": str(i + 1)} for i in range(8)],
            "categories_3": [{"id": 0, "name": "Impacted"}],
        }
        (data / f"{part}_diseases.json").write_text(json.dumps(document), encoding="utf-8")


def test_the_file_of_diseases_needs_no_manifest(tmp_path: Path) -> None:
    """DENTEX as it is handed out, of DICOM files too: the task that reads boxes gets pictures, parts and boxes."""
    diseases(tmp_path / "mine", ".dcm")
    made = prepare(tmp_path / "mine", tmp_path / "out", 0, boxed=True)
    for split in ("train", "val"):
        films = read_films(made, split)
        assert [len(film.boxes) for film in films] == [1, 1, 0]
        for film in films[:2]:
            y, x = np.nonzero(film.pixels > 128)
            assert film.boxes[0].box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
            assert film.boxes[0].name == "impacted"


def test_only_the_task_that_reads_boxes_gets_them(tmp_path: Path) -> None:
    """For teeth the file is refused as before; the tool tells the tasks apart."""
    diseases(tmp_path / "mine", ".dcm")
    with pytest.raises(ConfigurationError, match="outlines 1 teeth in most pictures"):
        run_training("teeth", Training(tmp_path / "mine", tmp_path / "out", 0.01))
    with pytest.raises(ConfigurationError, match="no setting 'nothing'"):
        run_training("conditions", Training(tmp_path / "mine", tmp_path / "out", 0.01, settings={"nothing": 1}))


def test_a_table_of_boxes_needs_no_manifest(tmp_path: Path) -> None:
    """All pictures beside labels/boxes.csv are read, also those on which nothing is marked."""
    data = tmp_path / "mine"
    for number in range(10):
        picture(data / "images" / f"{number}.png", number, (90, 60))
    table(data / "labels" / "boxes.csv", [[f"images/{n}.png", "implant", *BOX] for n in range(6)])
    made = prepare(data, tmp_path / "out", 0, boxed=True)
    films = [*read_films(made, "train"), *read_films(made, "val")]
    assert (len(films), sum(len(film.boxes) for film in films)) == (10, 6)


def test_odd_labels_are_named(tmp_path: Path) -> None:
    """A box that is no four numbers ends it with the name of the file."""
    dicom(tmp_path / "mine" / "a.dcm", ["R", "F"])
    manifest(tmp_path / "mine", [{"file": "a.dcm", "split": "", "group": ""}])
    table(tmp_path / "mine" / "labels" / "boxes.csv", [["a.dcm", "implant", "one", 2, 3, 4]])
    with pytest.raises(ConfigurationError, match=r"boxes\.csv does not hold places"):
        prepare(tmp_path / "mine", tmp_path / "out", 0)


def test_dicom_is_read_where_pictures_are(tmp_path: Path) -> None:
    """Without any preparation too: upright, a negative turned to bright = dense, 8 bits."""
    grey = read_grey(dicom(tmp_path / "film", ["R", "H"]))
    y, x = np.nonzero(grey > 128)
    assert grey.shape == (ROWS, COLUMNS)
    assert grey.dtype == np.uint8
    assert (x.min(), y.min()) == (COLUMNS - BOX[2], ROWS - BOX[3])
