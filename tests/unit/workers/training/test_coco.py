"""COCO files that would teach wrong things are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.drawn_data import picture
from workers.training.coco import pictures, read_coco, rows
from workers.training.conditions import coco_boxes


def document(path: Path, teeth: int, **of_each: int) -> Path:
    """Three pictures with so many teeth each, in the layout of DENTEX."""
    numbers = [{"category_id_1": n // 8, "category_id_2": n % 8} for n in range(teeth)]
    content: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(3)],
        "annotations": [{"image_id": i, "bbox": [1, 1, 9, 9], **n, **of_each} for i in range(3) for n in numbers],
        "categories_1": [{"id": i, "name": i + 1} for i in range(4)],
        "categories_2": [{"id": i, "name": i + 1} for i in range(8)],
        "categories_3": [{"id": 0, "name": "Caries"}],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_file_of_ill_teeth_only(tmp_path: Path) -> None:
    """Diseases and few teeth: sound teeth have no outline and would be background. Few alone are a small mouth."""
    with pytest.raises(ConfigurationError, match=r"ill\.json names diseases and outlines 4 teeth.*take it out"):
        read_coco(document(tmp_path / "ill.json", 4, category_id_3=0))
    assert len(read_coco(document(tmp_path / "few.json", 4))) == 3
    assert len(read_coco(document(tmp_path / "all.json", 28, category_id_3=0))[0][1]) == 28


def test_categories_that_count(tmp_path: Path) -> None:
    """Of categories called 1 to 32 some would pass for FDI numbers; the file is refused instead."""
    content = {
        "images": [{"id": 0, "file_name": "a.png"}],
        "annotations": [{"image_id": 0, "bbox": [1, 1, 9, 9], "category_id": k} for k in range(1, 33)],
        "categories": [{"id": k, "name": str(k)} for k in range(1, 33)],
    }
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="count 1 to 32; name them by FDI number"):
        read_coco(tmp_path / "a.json")


def test_pictures_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    """A name with its folder means that picture; a bare one that lies in two folders is refused, not guessed."""
    for k, folder in enumerate("ab"):
        picture(tmp_path / folder / "1.png", k)
    file = tmp_path / "teeth.json"
    file.write_text(json.dumps({"images": [{"file_name": "b\\1.png"}, {"file_name": "a/1.png"}]}), encoding="utf-8")
    assert [row["file"] for row in pictures(tmp_path, [file])] == ["b/1.png", "a/1.png"]
    file.write_text(json.dumps({"images": [{"file_name": "1.png"}]}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"1\.png, which is .*a/1\.png or .*b/1\.png; give file_name with its"):
        list(pictures(tmp_path, [file]))


def one(data: Path, encoding: str = "utf-8", size: tuple[int, int] = (24, 20), **of_tooth: Any) -> Path:  # noqa: ANN401
    """A picture of 24 columns and 20 rows in the layout of DENTEX, said to be of ``size``, with one tooth."""
    picture(data / "a.png", 0)
    file = document(data / "teeth.json", 1)
    content = json.loads(file.read_text())
    content["images"] = [{"id": 0, "file_name": "a.png", "width": size[0], "height": size[1]}]
    content["annotations"] = [content["annotations"][0] | of_tooth]
    file.write_text(json.dumps(content), encoding=encoding)
    return file


def test_a_byte_order_mark_in_front(tmp_path: Path) -> None:
    """As editors on Windows save JSON."""
    file = one(tmp_path, "utf-8-sig")
    assert [row["file"] for row in rows(tmp_path, [file], tmp_path / "labels")] == [str(tmp_path / "a.png")]
    assert [row["file"] for row in pictures(tmp_path, [file])] == ["a.png"]
    assert coco_boxes.read(file) == []


def test_pictures_resized_after_they_were_annotated(tmp_path: Path) -> None:
    """Every outline would lie elsewhere, and nothing else would tell."""
    file = one(tmp_path, size=(240, 200))
    words = r"a\.png of \(rows, columns\) \(200, 240\), the picture has 20, 24"
    with pytest.raises(ConfigurationError, match=words):
        list(rows(tmp_path, [file], tmp_path / "labels"))
    with pytest.raises(ConfigurationError, match=words):
        list(pictures(tmp_path, [file]))


def test_a_tooth_without_a_place(tmp_path: Path) -> None:
    """A box the wrong way round is told with the tooth and the image; beside an outline it is not needed."""
    with pytest.raises(ConfigurationError, match="tooth 11 of image 0 has neither an outline nor a box with a size"):
        read_coco(one(tmp_path, bbox=[9, 9, -5, -5]))
    outline = [[2, 2, 9, 2, 9, 9]]
    assert read_coco(one(tmp_path, bbox=[9, 9, -5, -5], segmentation=outline))[0][1][0].outlines
