"""The shipped model on real panoramics, where a folder that holds the data pack is named (DENTGATE_TEST_DATA)."""

import os
from pathlib import Path

import pytest

from workers.training.task import Evaluation
from workers.training.teeth.evaluate import evaluate

FOLDER = os.environ.get("DENTGATE_TEST_DATA", "")  # noqa: TID251 - the one setting of the tests themselves

pytestmark = pytest.mark.skipif(not FOLDER, reason="DENTGATE_TEST_DATA names no folder of labelled panoramics")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("stress", [False, pytest.param(True, marks=pytest.mark.long)])
def test_validation_split(stress: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a test parameter
    """On the validation split F1 is at least 0.92, also re-framed as by another scanner, and no number is doubled."""
    report = evaluate(Evaluation(Path(FOLDER) / "pano_fdi_ufba425", tmp_path, stress=stress))
    assert report["all"]["f1"] >= 0.92
    assert report["all"]["dice_matched"] >= 0.89
    assert report["all"]["duplicates"] == 0
    assert report["all"]["right_among_unflagged"] > report["all"]["right_among_flagged"]
