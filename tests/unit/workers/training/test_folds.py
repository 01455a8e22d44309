"""Grouped folds, and what is reported over all of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.drawn_data import labelled_rows, manifest, rows_of
from tests.unit.workers.training.stub_task import StubTask
from workers.training.cross_validation import cross_validate
from workers.training.folds import grouped_folds, train_and_val
from workers.training.outcome import Outcome
from workers.training.task import Training


def test_groups_stay_whole_and_labels_are_spread() -> None:
    """Of 300 images in groups of one to six with a rare label, every fold gets its share of each label."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 7, 90)
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    kinds = rng.choice(["common", "other", "rare"], 90, p=[0.6, 0.3, 0.1])
    labels = [str(kinds[i]) for i, size in enumerate(sizes) for _ in range(size)]
    fold = grouped_folds(groups, labels, 5, np.random.default_rng(1))
    for group in set(groups):
        assert len({int(f) for f, g in zip(fold, groups, strict=True) if g == group}) == 1
    for kind in ("common", "other", "rare"):
        counts = np.bincount(fold[np.array(labels) == kind], minlength=5)
        assert counts.max() - counts.min() <= 6, (kind, counts)
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 12


def test_folds_follow_the_seed() -> None:
    """The same seed deals the same."""
    groups, labels = [str(i) for i in range(40)], ["a", "b"] * 20
    one, same, other = (grouped_folds(groups, labels, 4, np.random.default_rng(s)).tolist() for s in (1, 1, 2))
    assert one == same != other


def test_too_few_groups() -> None:
    """Three groups cannot be four folds; a single group is all training."""
    with pytest.raises(ValueError, match="3 groups"):
        grouped_folds(["a", "b", "c"], ["x"] * 3, 4, np.random.default_rng(0))
    assert train_and_val(["a", "a"], ["x", "y"], np.random.default_rng(0)) == ["train", "train"]


def test_every_image_is_judged_once_by_a_bundle_that_did_not_see_it(tmp_path: Path) -> None:
    """The pooled report covers all images but the test part; a stub that is wrong on what it saw is right on all."""
    rows = labelled_rows(24)
    rows[0]["split"] = "test"
    data = manifest(tmp_path / "mine", rows)
    task = StubTask()
    report = cross_validate(task, Training(data, tmp_path / "out", minutes=1, seed=3), 4)
    pooled = Outcome.load(tmp_path / "out" / "outcome.npz")
    assert sorted(pooled.names) == sorted(Path(row["file"]).name for row in rows[1:])
    assert report["accuracy"]["value"] == 1
    assert report["images"] == 23
    assert len(task.orders) == 4
    for order in task.orders:
        parts = {row["file"]: row["split"] for row in rows_of(order.data)}
        assert len(parts) == 23
        assert 4 <= list(parts.values()).count("val") <= 8
    assert (tmp_path / "out" / "report.html").is_file()


def test_folds_of_other_tasks_stand_side_by_side(tmp_path: Path) -> None:
    """Without outcomes to pool: each number of the reports, its mean and its deviation."""
    data = manifest(tmp_path / "mine", labelled_rows(12))
    cross_validate(StubTask(classifier=False), Training(data, tmp_path / "out", minutes=1), 3)
    folds = json.loads((tmp_path / "out" / "report.json").read_text())["folds"]
    assert list(folds) == ["score"]
    assert folds["score"]["mean"] == pytest.approx(0.54)
    assert len(folds["score"]["folds"]) == 3


@pytest.mark.parametrize("count", [1, 13])
def test_a_wrong_number_of_folds_is_refused(tmp_path: Path, count: int) -> None:
    """Before anything is trained."""
    data = manifest(tmp_path / "mine", labelled_rows(12))
    task = StubTask()
    with pytest.raises(ConfigurationError, match=rf"--folds {count}: there are 12 groups"):
        cross_validate(task, Training(data, tmp_path / "out", minutes=1), count)
    assert not task.orders
