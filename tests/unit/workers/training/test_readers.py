"""Labels in a manifest: names or columns of 0 and 1."""

from pathlib import Path

import pytest

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.drawn_data import labelled_rows, manifest
from workers.training.readers import read_collection

BASE = {"file": "a.png", "split": "train", "group": "g"}


def test_names_joined_by_a_bar(tmp_path: Path) -> None:
    """Several, one or none for an image: classes then do not exclude each other."""
    rows = [BASE | {"file": f"{i}.png", "labels": text} for i, text in enumerate(["caries|ulcer", "caries", ""])]
    found = read_collection(manifest(tmp_path, rows))
    assert found.classes == ("caries", "ulcer")
    assert found.truth.tolist() == [[1, 1], [1, 0], [0, 0]]
    assert not found.exclusive


def test_columns_of_nought_and_one(tmp_path: Path) -> None:
    """Without a column labels; empty and -1 are unknown; columns that hold something else are no classes."""
    rows = [
        BASE | {"file": "0.png", "caries": "1", "ulcer": "", "age": "41"},
        BASE | {"file": "1.png", "caries": "0", "ulcer": "-1", "age": "7"},
    ]
    found = read_collection(manifest(tmp_path, rows))
    assert found.classes == ("caries", "ulcer")
    assert found.truth.tolist() == [[1, -1], [0, -1]]


def test_one_label_each_is_exclusive(tmp_path: Path) -> None:
    """Then exactly one class holds, and the training uses it; parts hold their images only."""
    found = read_collection(manifest(tmp_path, labelled_rows(12)))
    assert found.exclusive
    assert len(found.part("val").records) == 3
    with pytest.raises(ConfigurationError, match="no image of split 'test'; it has train, val"):
        found.part("test")


def test_a_mark_of_a_spreadsheet_in_front_is_no_column(tmp_path: Path) -> None:
    """CSV UTF-8 as spreadsheets write it begins with a byte order mark."""
    manifest(tmp_path, labelled_rows())
    file = tmp_path / "manifest.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_collection(tmp_path).classes == ("ill", "well")


@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_tables_of_spreadsheets_in_other_languages(tmp_path: Path, mark: str) -> None:
    """Semicolons or tabs, Windows line ends, blanks, empty columns and lines at the end, folders with backslashes."""
    lines = ["file;split ;group;labels;;", "bilder\\Ä 1.png; train;g1;ill;;", '"b;2.png";val;g2;well;;', ";;;;;", ""]
    text = "\r\n".join(lines).replace(";;", mark + mark).replace(";", mark)
    (tmp_path / "manifest.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = read_collection(tmp_path)
    assert [str(record.file.relative_to(tmp_path)) for record in found.records] == ["bilder/Ä 1.png", f"b{mark}2.png"]
    assert [record.split for record in found.records] == ["train", "val"]
    assert found.classes == ("ill", "well")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no rows"),
        (b"file,split,group\n", "has no rows"),
        (b"file,part,labels\na.png,train,x\n", "lacks the column split, group; it has file, part, labels"),
        (b"file,split,group\na.png,train,g\n", "neither labels nor a column of 0 and 1"),
        (b"file,split,group,labels\na.png,train,g,\n", "its column labels is empty"),
        (b"file,split,group,labels\na.png,train,g,x,y\n", "line 2 has more fields than there are columns"),
        (b"file,split,group,labels\na.png,train,g,x\nb.png,train,g,x,y\n", "line 3 has more fields than"),
        ("file,split,group,labels\nä.png,train,g,x\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_wrong_manifests_are_explained(tmp_path: Path, content: bytes, words: str) -> None:
    """The file is named, and what to mend."""
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"manifest\.csv.*" + words):
        read_collection(tmp_path)
