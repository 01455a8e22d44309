"""COCO files that would teach wrong things are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.domain.errors import ConfigurationError
from workers.training.coco import read_coco


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
