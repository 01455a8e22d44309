"""The shipped spine model on real films, where a folder that holds the data pack is named (DENTGATE_TEST_DATA)."""

import os
from pathlib import Path

import numpy as np
import pytest

from workers.models.cobb import curves_of, two_largest, type_of
from workers.training.metrics import area_under_roc
from workers.training.spine.films import read_manifest, read_rows
from workers.training.spine.task import SPINE
from workers.training.task import Evaluation

FOLDER = os.environ.get("DENTGATE_TEST_DATA", "")  # noqa: TID251 - the one setting of the tests themselves

pytestmark = pytest.mark.skipif(not FOLDER, reason="DENTGATE_TEST_DATA names no folder of labelled spine films")


def test_rule_of_the_labels() -> None:
    """Of the labelled corners the rule gives the labelled angles (but for 3 films) and types (but for 2) of 457."""
    data = Path(FOLDER) / "scoliosis_aasce609"
    records = [record for split in ("train", "val") for record in read_manifest(data, split)]
    found = [two_largest(curves_of(record.corners)) for record in records]
    angles = [
        abs(a - b) < 0.35
        for pair, r in zip(found, records, strict=True)
        for a, b in zip(pair, r.cobb or (), strict=True)
    ]
    types = [type_of(*pair).value == record.labels for pair, record in zip(found, records, strict=True)]
    assert angles.count(False) <= 6
    assert types.count(False) <= 2


def test_width_alone() -> None:
    """In the other source the width of a film, which sees no spine, tells normal from scoliosis with AUC over 0.9."""
    data = Path(FOLDER) / "scoliosis_fraiwan"
    rows = [row for row in read_rows(data, "val") if row["labels"] in {"normal", "scoliosis"}]
    widths = np.array([float(row["width"]) for row in rows])
    assert area_under_roc(widths, np.array([row["labels"] == "scoliosis" for row in rows])) > 0.9


def test_validation_split(tmp_path: Path) -> None:
    """On the validation split the type of curve agrees in at least 80 of 100 films, and SMAPE is at most 13 %."""
    report = SPINE.evaluate(Evaluation(Path(FOLDER) / "scoliosis_aasce609", tmp_path))
    assert report["type_agreement"]["value"] >= 0.80
    assert report["smape_two"]["value"] <= 0.13
