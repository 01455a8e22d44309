"""Bundles in the folder that the settings name."""

import json
import shutil
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from service.domain.errors import ConfigurationError
from tests.unit.workers.models.foreign_bundle import BRIGHT, bright_network, make_bundle
from workers.models.bundle import BUNDLES
from workers.models.dropped_classifier import DroppedClassifier
from workers.models.dropped_in import dropped_in, with_dropped_in
from workers.models.image_classifier import ImageClassifier
from workers.models.panoramic_teeth import PanoramicTeeth

MAPPING = {"modality": ["DX"], "channels": {"1": {"finding": "fracture"}}, "size": [32, 32]}


def test_no_folder_is_no_bundles(tmp_path: Path) -> None:
    """Most sites drop nothing in."""
    assert dropped_in(tmp_path / "bundles") == ()


def test_a_foreign_bundle_stands_behind_the_models_that_ship(tmp_path: Path) -> None:
    """In the order of the folders' names; hidden folders and files are no bundles."""
    for name in ("b_hands", "a_hands"):
        make_bundle(tmp_path / name, bright_network(), BRIGHT, MAPPING)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    models = with_dropped_in((PanoramicTeeth(),), tmp_path)
    assert [model.name for model in models] == ["teeth_panoramic", "a_hands", "b_hands"]


def test_a_retrained_model_takes_the_place_of_the_one_that_ships(tmp_path: Path) -> None:
    """The user's own weights for the same task: one answer for each image, and it is theirs."""
    mine = tmp_path / "mine"
    shutil.copytree(BUNDLES / "teeth_panoramic", mine)
    (mine / "models" / "model.pt").write_bytes(b"so that loading tells where it looked")
    (model,) = with_dropped_in((PanoramicTeeth(),), tmp_path)
    assert isinstance(model, PanoramicTeeth)
    with pytest.raises(ConfigurationError, match=f"bundle {mine}"):
        model.load("cpu")


def test_a_classifier_of_ours_keeps_its_thresholds_unless_the_mapping_says_others(tmp_path: Path) -> None:
    """A channel without a threshold is judged by the bundle's own, measured one, not by one half."""
    settings = json.loads((BUNDLES / "fracture" / "configs" / "inference.json").read_text(encoding="utf-8"))
    for name, channel, expected in (("own", {}, settings["thresholds"]), ("told", {"threshold": 0.3}, [0.3])):
        shutil.copytree(BUNDLES / "fracture", tmp_path / name)
        mapping = {"modality": ["DX"], "channels": {"0": {"finding": "fracture"} | channel}}
        (tmp_path / name / "dentgate.json").write_text(json.dumps(mapping))
        loaded = DroppedClassifier(tmp_path / name).load("cpu")
        assert isinstance(loaded, ImageClassifier)
        assert list(loaded.settings.thresholds) == expected


def test_a_broken_bundle_says_so_and_harms_no_other(tmp_path: Path) -> None:
    """It refuses every image with the reason, and loading it fails with the same words."""
    make_bundle(tmp_path / "good", bright_network(), BRIGHT, MAPPING)
    make_bundle(tmp_path / "unmapped", bright_network(), BRIGHT, None)
    (tmp_path / "empty").mkdir()
    empty, good, unmapped = dropped_in(tmp_path)
    assert good.load("cpu").algorithm.name == "good"
    for broken, words in ((empty, "metadata.json"), (unmapped, "has no dentgate.json")):
        verdict = broken.judge(Dataset())
        assert not verdict.accepted
        assert words in verdict.reason
        with pytest.raises(ConfigurationError, match=words):
            broken.load("cpu")
