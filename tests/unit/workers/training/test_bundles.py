"""What a bundle says of itself, and which words survive the next training into the same folder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.workers.training.drawn_data import labelled_rows, manifest
from workers.training.bundles import note_figures, provenance, write_card, write_metadata, write_weights
from workers.training.task import Training

WORDS = {"name": "mine", "description": "A network.", "pred_classes": "ill, well"}


def written(bundle: Path, source: str, weight: float = 1.0) -> dict[str, Any]:
    """A bundle with figures and a card; its metadata."""
    words = WORDS | {"data_source": source, "license": "ask", "authors": "whoever trained it"}
    write_metadata(bundle, words, write_weights(bundle, {"w": torch.full((1,), weight)}))
    note_figures(bundle, {"headline": f"AUC of {source}, and a few more words to make a line of it that is long"})
    write_card(bundle)
    return dict(json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8")))


def test_a_second_training_tells_of_its_own_images_and_figures(tmp_path: Path) -> None:
    """Source and card are those of the last training; the licence that a person wrote in between stays."""
    first = written(tmp_path, "12 images")
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(first | {"license": "CC0"}), encoding="utf-8")
    second = written(tmp_path, "90 images")
    assert (second["version"][:6], second["data_source"], second["license"]) == ("0.0.0+", "90 images", "CC0")
    card = (tmp_path / "docs" / "README.md").read_text(encoding="utf-8")
    assert "AUC of 90 images" in card
    assert "12 images" not in card


@pytest.mark.parametrize("card", ["# Mine", ""])
def test_what_a_person_released_stays(tmp_path: Path, card: str) -> None:
    """A released bundle keeps its words, a card that was rewritten its text."""
    first = written(tmp_path, "12 images")
    released = json.dumps(first | {"version": "1.2.0", "data_source": "ours"})
    (tmp_path / "configs" / "metadata.json").write_text(released, encoding="utf-8")
    (tmp_path / "docs" / "README.md").write_text(card, encoding="utf-8")
    assert written(tmp_path, "90 images")["data_source"] == "ours"
    assert (tmp_path / "docs" / "README.md").read_text(encoding="utf-8") == card


def test_two_weights_never_have_one_version(tmp_path: Path) -> None:
    """Trained over a release: its version with the digest of the new weights behind it; the same weights keep it."""
    first = written(tmp_path, "12 images")
    file = tmp_path / "configs" / "metadata.json"
    file.write_text(json.dumps(first | {"version": "1.2.0"}), encoding="utf-8")
    assert written(tmp_path, "12 images")["version"] == "1.2.0"
    second, third = written(tmp_path, "90 images", 2.0), written(tmp_path, "91 images", 3.0)
    for found in (second, third):
        assert found["version"] == f"1.2.0+{found['weights_sha256'][:8]}"
    assert second["version"] != third["version"]
    file.write_text(json.dumps(third | {"version": "1.3.0"}), encoding="utf-8")
    assert written(tmp_path, "91 images", 3.0)["version"] == "1.3.0"


def test_the_source_names_parts_and_groups(tmp_path: Path) -> None:
    """How many images of how many groups were trained on; nothing is claimed of licence or authors."""
    words = provenance(Training(manifest(tmp_path / "mine", labelled_rows()), tmp_path, 1))
    wanted = "9 images of 9 groups (split train) and 3 images of 3 groups (split val) of the folder mine"
    assert words["data_source"] == wanted
    assert words["authors"] == "whoever trained it"
