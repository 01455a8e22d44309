"""Every layout becomes a folder with a complete manifest, and the user's own folder stays as it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from scipy.io import savemat

from service.domain.errors import ConfigurationError
from tests.builders import as_bytes, xray
from tests.unit.workers.training.drawn_data import class_folders, labelled_rows, manifest, picture, rows_of
from workers.training.layouts import prepare
from workers.training.readers import read_collection


def listing(folder: Path) -> list[tuple[str, bytes]]:
    """Every file of a folder with its content."""
    return [(str(p.relative_to(folder)), p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()]


def test_a_complete_manifest_is_used_as_it_is(tmp_path: Path) -> None:
    """Nothing is copied where nothing is missing."""
    data = manifest(tmp_path / "mine", labelled_rows())
    assert prepare(data, tmp_path / "out", 0) == data
    assert not (tmp_path / "out").exists()


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    """Labels are the folders' names, one group in five is for validation, of each class; the data stay untouched."""
    data = class_folders(tmp_path / "mine")
    before = listing(data)
    made = prepare(data, tmp_path / "out", 0)
    collection = read_collection(made)
    assert collection.classes == ("ill", "well")
    assert collection.exclusive
    assert len(collection.records) == 20
    assert collection.part("val").truth.sum(0).tolist() == [2, 2]
    assert all(record.file.is_file() for record in collection.records)
    assert listing(data) == before


def test_what_other_systems_leave_behind_is_no_picture(tmp_path: Path) -> None:
    """A folder from a Mac, an archive made there, a network drive: shadows of pictures, thumbnails, indexes."""
    data = class_folders(tmp_path / "mine")
    names = ("ill/._ill-0.png", "__MACOSX/ill/._ill-0.png", "well/@eaDir/well-0.png/THUMB.jpg", ".Trash/a.png")
    for name in (*names, "ill/.DS_Store", "Thumbs.db", "well/desktop.ini"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"\0\5\x16\7")
    assert len(rows_of(prepare(data, tmp_path / "out", 0))) == 20


def test_parts_are_seeded(tmp_path: Path) -> None:
    """The same seed gives the same parts, another gives others."""
    data = class_folders(tmp_path / "mine")
    parts = [
        [row["split"] for row in rows_of(prepare(data, tmp_path / f"out{i}", seed))] for i, seed in enumerate((1, 1, 2))
    ]
    assert parts[0] == parts[1] != parts[2]


def test_folders_of_patients_below_the_classes_are_groups(tmp_path: Path) -> None:
    """A patient's pictures stay together, also where they lie under two classes."""
    data = tmp_path / "mine"
    for i in range(8):
        for k, name in enumerate(("before", "after")):
            picture(data / name / f"patient{i}" / "a.png", 10 * i + k)
    rows = rows_of(prepare(data, tmp_path / "out", 0))
    assert {row["group"] for row in rows} == {f"patient{i}" for i in range(8)}
    parts = {row["group"]: set[str]() for row in rows}
    for row in rows:
        parts[row["group"]].add(row["split"])
    assert all(len(found) == 1 for found in parts.values())


def test_folders_of_parts_above_the_classes_are_kept(tmp_path: Path) -> None:
    """train, valid and test as others hand data out: the user's split wins."""
    data = tmp_path / "mine"
    for part in ("train", "valid", "test"):
        class_folders(data / part, count=3)
    rows = rows_of(prepare(data, tmp_path / "out", 0))
    assert sorted(row["split"] for row in rows) == ["test"] * 6 + ["train"] * 6 + ["val"] * 6


def test_a_picture_filed_twice_is_one_with_both_labels(tmp_path: Path) -> None:
    """Equal bytes under two classes are one picture that shows both, so classes do not exclude each other."""
    data = class_folders(tmp_path / "mine", count=5)
    (data / "well" / "again.png").write_bytes((data / "ill" / "ill-0.png").read_bytes())
    collection = read_collection(prepare(data, tmp_path / "out", 0))
    assert len(collection.records) == 10
    assert not collection.exclusive
    assert (collection.truth.sum(1) == 2).sum() == 1


def test_equal_bytes_in_two_given_parts_stay_and_share_a_group(tmp_path: Path) -> None:
    """The user's parts are not changed in silence; the shared group lets the check refuse them."""
    data = tmp_path / "mine"
    class_folders(data / "train", count=3)
    class_folders(data / "val", count=2)
    rows = rows_of(prepare(data, tmp_path / "out", 0))
    same = [row for row in rows if row["file"].endswith("/ill-0.png")]
    assert [row["split"] for row in same] == ["train", "val"]
    assert same[0]["group"] == same[1]["group"]


def test_pictures_and_label_maps_of_other_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few without a map are left out and told; where none fits, the names are the fault and the message says so."""
    data = tmp_path / "mine"
    for i in range(4):
        picture(data / "images" / f"film {i}.JPG", i)
        picture(data / "labels" / f"film {i}.{('PNG', 'tif', 'png', 'png')[i]}", 50 + i)
    (data / "labels" / "film 3.png").rename(data / "labels" / "film 3_mask.png")
    assert len(rows_of(prepare(data, tmp_path / "out", 0))) == 3
    assert "1 of 4 pictures are left out: no label map is called like film 3.JPG" in capsys.readouterr().out
    for file in sorted((data / "labels").iterdir()):
        file.rename(file.with_name(f"{file.stem}_teeth.png"))
    with pytest.raises(ConfigurationError, match=r"no label map of 4 in .*; call the map of film 0\.JPG film 0\.png"):
        prepare(data, tmp_path / "other", 0)


def test_coco_files_in_a_folder_below(tmp_path: Path) -> None:
    """The layout of COCO itself has them in annotations/, which is no class; the message says where they belong."""
    data = class_folders(tmp_path / "mine")
    (data / "annotations").mkdir()
    (data / "annotations" / "train.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="annotations holds JSON files and no picture; COCO files belong into"):
        prepare(data, tmp_path / "out", 0)


def test_an_incomplete_manifest_is_completed(tmp_path: Path) -> None:
    """Without split and group they are made; other columns and files beside the manifest are still there."""
    rows = [{"file": row["file"], "labels": row["labels"], "note": "x"} for row in labelled_rows()]
    data = manifest(tmp_path / "mine", rows)
    (data / "more").mkdir()
    (data / "more" / "labels.json").write_text("{}")
    made = prepare(data, tmp_path / "out", 0)
    found = rows_of(made)
    assert {row["split"] for row in found} == {"train", "val"}
    assert all(row["group"] and row["note"] == "x" and (made / row["file"]).is_file() for row in found)
    assert (made / "more" / "labels.json").read_text() == "{}"


def test_empty_cells_of_group_are_filled(tmp_path: Path) -> None:
    """Equal bytes are one group, a named one where one of them has a name; what has a group or a part keeps it."""
    rows = [row | {"group": "patient" if i < 2 else ""} for i, row in enumerate(labelled_rows())]
    rows[5]["split"] = ""
    data = manifest(tmp_path / "mine", rows)
    (data / "images" / "4.png").write_bytes((data / "images" / "0.png").read_bytes())
    found = {row["file"]: row for row in rows_of(prepare(data, tmp_path / "out", 0))}
    assert [found[f"images/{i}.png"]["group"] for i in (0, 1, 4)] == ["patient"] * 3
    assert len({row["group"] for row in found.values()}) == 10
    assert [row["split"] for row in found.values()] == [row["split"] for row in rows]


def dicom(path: Path, orientation: list[str]) -> Path:
    """An X-ray whose rows and columns run as told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = xray()
    ds.PatientOrientation = orientation
    path.write_bytes(as_bytes(ds))
    return path


def test_a_label_map_is_turned_with_its_dicom_file(tmp_path: Path) -> None:
    """What a viewer shows mirrored has its labels mirrored; else the map stays where it is."""
    data, numbers = tmp_path / "mine", np.zeros((200, 320), np.uint8)
    numbers[3, 5] = 11
    (data / "labels").mkdir(parents=True)
    for name, orientation in (("plain", ["L", "F"]), ("turned", ["R", "H"]), ("1.2.3", ["L", "F"])):
        dicom(data / "images" / (f"{name}.dcm" if name.isalpha() else name), orientation)
        Picture.fromarray(numbers).save(data / "labels" / f"{name}.png")
    before = listing(data)
    rows = {Path(row["file"]).name.partition("-")[0]: row for row in rows_of(prepare(data, tmp_path / "out", 0))}
    assert len(rows) == 3, "a UID is a name too"
    assert np.argwhere(np.asarray(Picture.open(rows["turned"]["label_file"]))).tolist() == [[196, 314]]
    assert Path(rows["plain"]["label_file"]) == (data / "labels" / "plain.png").resolve()
    assert np.asarray(Picture.open(rows["plain"]["file"])).shape == (200, 320)
    assert listing(data) == before


def test_all_as_a_split_takes_every_image(tmp_path: Path) -> None:
    """To measure a bundle on somebody else's data, whatever parts they have."""
    data = manifest(tmp_path / "mine", labelled_rows())
    assert {row["split"] for row in rows_of(prepare(data, tmp_path / "out", 0, "all"))} == {"all"}


def test_label_maps_beside_images(tmp_path: Path) -> None:
    """images/ and labels/ with one name: pairs; an image without a map is left out."""
    for i in range(6):
        picture(tmp_path / "mine" / "images" / f"{i}.jpg", i)
        if i:
            picture(tmp_path / "mine" / "labels" / f"{i}.png", 50 + i)
    rows = rows_of(prepare(tmp_path / "mine", tmp_path / "out", 0))
    assert len(rows) == 5
    assert all(Path(row["label_file"]).stem == Path(row["file"]).stem for row in rows)


def dentex(annotations: list[dict[str, Any]], images: int = 5) -> dict[str, Any]:
    """A document as DENTEX has it: ids from 0, names from 1."""
    return {
        "images": [{"id": i, "file_name": f"train_{i}.png"} for i in range(images)],
        "annotations": annotations,
        "categories_1": [{"id": i, "name": str(i + 1)} for i in range(4)],
        "categories_2": [{"id": i, "name": str(i + 1)} for i in range(8)],
    }


def test_coco_boxes_with_fdi_categories(tmp_path: Path) -> None:
    """DENTEX: quadrant and tooth give the FDI number; the map's tight boxes are the boxes; outlines are drawn."""
    data = tmp_path / "mine"
    boxes = [
        {"image_id": i, "bbox": [10, 5, 20, 30], "category_id_1": 0, "category_id_2": 5, "segmentation": []}
        for i in range(5)
    ]
    outline = {"segmentation": [[40, 10, 50, 10, 50, 40, 40, 40]], "category_id_1": 2, "category_id_2": 0}
    boxes.append({"image_id": 2, "bbox": [40, 10, 11, 31]} | outline)
    data.mkdir()
    (data / "teeth.json").write_text(json.dumps(dentex(boxes)))
    for i in range(5):
        picture(data / "xrays" / f"train_{i}.png", i, (80, 60))
    rows = {Path(row["file"]).name: row for row in rows_of(prepare(data, tmp_path / "out", 0))}
    assert len(rows) == 5
    labels = np.asarray(Picture.open(rows["train_2.png"]["label_file"]))
    assert labels.shape == (60, 80)
    assert set(np.unique(labels)) == {0, 16, 31}
    for number, box in ((16, (10, 5, 30, 35)), (31, (40, 10, 51, 41))):
        y, x = np.nonzero(labels == number)
        assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == box


def test_coco_with_numbers_as_names(tmp_path: Path) -> None:
    """Categories called 11 to 48, or "tooth 36"; others (caries, implant) are not teeth."""
    document = dentex([{"image_id": 0, "bbox": [1, 1, 9, 9], "category_id": k} for k in (1, 2)], images=1)
    document = {key: document[key] for key in ("images", "annotations")}
    document["categories"] = [{"id": 1, "name": "tooth 36"}, {"id": 2, "name": "caries"}]
    picture(tmp_path / "mine" / "train_0.png", 0)
    (tmp_path / "mine" / "a.json").write_text(json.dumps(document))
    (row,) = rows_of(prepare(tmp_path / "mine", tmp_path / "out", 0))
    assert set(np.unique(np.asarray(Picture.open(row["label_file"])))) == {0, 36}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not COCO"),
        ("{}", "is not COCO"),
        (json.dumps(dentex([])), "no annotation with an FDI number"),
        (
            json.dumps(dentex([{"image_id": 0, "bbox": [0, 0, 5, 5], "category_id_1": 0, "category_id_2": 0}])),
            "nowhere",
        ),
    ],
)
def test_wrong_coco_is_explained(tmp_path: Path, text: str, words: str) -> None:
    """The file is named, and what it lacks."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.json").write_text(text)
    with pytest.raises(ConfigurationError, match=f"a.json.*{words}"):
        prepare(tmp_path / "mine", tmp_path / "out", 0)


def test_corners_as_fractions_in_a_table(tmp_path: Path) -> None:
    """AASCE: 68 x, then 68 y as fractions become points in pixels, under the name of the file in the manifest."""
    data = tmp_path / "mine"
    names = [f"film{i}.jpg" for i in range(6)]
    for i, name in enumerate(names):
        picture(data / "data" / name, i, (50, 100))
    (data / "labels").mkdir()
    (data / "labels" / "filenames.csv").write_text("\n".join(names))
    fractions = np.tile(np.concatenate([np.full(68, 0.5), np.linspace(0, 1, 68)]), (6, 1))
    np.savetxt(data / "labels" / "landmarks.csv", fractions, delimiter=",")
    made = prepare(data, tmp_path / "out", 0)
    points = json.loads((made / "labels" / "landmarks.json").read_text())
    for row in rows_of(made):
        corners = np.array(points[row["file"]])
        assert corners.shape == (68, 2)
        assert (corners[:, 0] == 25).all()
        assert corners[-1, 1] == 100


def test_corners_in_matlab_files(tmp_path: Path) -> None:
    """SpineWeb: NAME.jpg.mat with p2 in pixels."""
    for i in range(5):
        file = picture(tmp_path / "mine" / f"{i}.jpg", i)
        savemat(f"{file}.mat", {"p2": np.full((68, 2), 3.5)})
    made = prepare(tmp_path / "mine", tmp_path / "out", 0)
    assert len(rows_of(made)) == 5
    assert len(json.loads((made / "labels" / "landmarks.json").read_text())) == 5
    savemat(tmp_path / "mine" / "0.jpg.mat", {"p2": np.zeros((3, 2))})
    with pytest.raises(ConfigurationError, match=r"0\.jpg\.mat.*\(3, 2\)"):
        prepare(tmp_path / "mine", tmp_path / "out", 0)


def test_folders_that_hold_nothing_known_are_refused(tmp_path: Path) -> None:
    """No such folder, nothing in it, an empty class, an --out that would be read as data."""
    with pytest.raises(ConfigurationError, match="no such folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out", 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="no labelled images; it may hold manifest"):
        prepare(tmp_path / "empty", tmp_path / "out", 0)
    data = class_folders(tmp_path / "mine", count=2)
    (data / "third").mkdir()
    with pytest.raises(ConfigurationError, match=r"class folder .*third holds no picture"):
        prepare(data, tmp_path / "out", 0)
    with pytest.raises(ConfigurationError, match="lies in --data"):
        prepare(data, data / "out", 0)
