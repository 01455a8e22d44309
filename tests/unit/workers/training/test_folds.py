"""Grouped folds, and what is reported over all of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.drawn_data import labelled_rows, manifest, rows_of
from tests.unit.workers.training.stub_task import StubTask
from workers.training.classifier_report import classifier_page
from workers.training.cross_validation import cross_validate
from workers.training.folds import grouped_folds, train_and_val
from workers.training.outcome import Outcome
from workers.training.readers import read_collection
from workers.training.report import Page, write_report
from workers.training.task import Evaluation, Training


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


def test_the_figure_that_matters_leads_and_counts_are_no_figures(tmp_path: Path) -> None:
    """Folds side by side: the headline has mean and deviation of the main figure; images and seconds are left out."""

    class Teeth(StubTask):
        def evaluate(self, order: Evaluation) -> dict[str, Any]:
            height = 0.5 + 0.1 * int(order.out.parent.name[-1])
            figures = {"all": {"f1": height, "images": 7}, "seconds_per_image": 0.5}
            write_report(order.out, Page("stub", "measured", {}, [], (), figures))
            return figures

    data = manifest(tmp_path / "mine", labelled_rows(12))
    report = cross_validate(Teeth(), Training(data, tmp_path / "out", minutes=1), 3)
    assert report["headline"].startswith("all.f1 0.600, standard deviation 0.100: 3 folds")
    assert list(report["folds"]) == ["all.f1"]


def test_mistakes_are_shown_and_look_alikes_told(tmp_path: Path) -> None:
    """The pooled page shows the pictures that were judged wrongly, and a copy under another group is on top of it."""

    class Wrong(StubTask):
        def evaluate(self, order: Evaluation) -> dict[str, Any]:
            assert order.bundle is not None
            (order.bundle / "seen.json").write_text(
                json.dumps([record.file.name for record in read_collection(order.data).records])
            )
            return super().evaluate(order)

    data = manifest(tmp_path / "mine", labelled_rows(12))
    (data / "images" / "1.png").write_bytes((data / "images" / "0.png").read_bytes())
    order = Training(data, tmp_path / "out", minutes=1)
    report = cross_validate(Wrong(), order, 12)
    assert report["headline"].startswith("NOT TO BE TRUSTED: the parts share 0 groups and 1 files")
    assert len(report["leakage"]["compared"]) == 12
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("Leakage") < page.index("Figures")
    assert page.count("data:image/png") == 12


def test_folds_of_other_classes_are_not_pooled(tmp_path: Path) -> None:
    """A fold whose bundle tells fewer classes apart stands beside the others."""

    class Fewer(StubTask):
        def evaluate(self, order: Evaluation) -> dict[str, Any]:
            found = super().evaluate(order)
            if order.out.parent.name == "fold-0":
                whole = Outcome.load(order.out / "outcome.npz")
                one = replace(whole, classes=("ill",), scores=whole.scores[:, :1], truth=whole.truth[:, :1],
                              exclusive=False, thresholds=(0.5,))  # fmt: skip
                write_report(order.out, classifier_page("stub", one, {}))
            return found

    data = manifest(tmp_path / "mine", labelled_rows(12))
    report = cross_validate(Fewer(), Training(data, tmp_path / "out", minutes=1), 3)
    assert report["headline"].startswith("macro.auc.value 1.000")
    assert "classes.ill.auc.value" in report["folds"]
    assert "classes.well.auc.value" not in report["folds"]


class Killed(StubTask):
    """Leaves weights behind, and is killed before the third training is through."""

    def train(self, order: Training) -> Path:
        """Raises KeyboardInterrupt in fold 2 unless that is resumed."""
        bundle = super().train(order)
        (bundle / "model.pt").write_bytes(b"")
        if order.out.name == "fold-2" and not order.resume:
            raise KeyboardInterrupt
        return bundle


def test_folds_are_gone_on_with(tmp_path: Path) -> None:
    """Those that were measured stay, the one that was begun is resumed, the others begin; another order begins anew."""
    data = manifest(tmp_path / "mine", labelled_rows(12))
    order = Training(data, tmp_path / "out", minutes=1)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(Killed(), order, 4)
    again = Killed()
    cross_validate(again, replace(order, resume=True, threads=2), 4)
    assert [(o.out.name, o.resume) for o in again.orders] == [("fold-2", True), ("fold-3", False)]
    once_more = Killed()
    cross_validate(once_more, replace(order, resume=True), 4)
    assert not once_more.orders
    other = StubTask()
    cross_validate(other, replace(order, resume=True, minutes=2), 4)
    assert [o.resume for o in other.orders] == [False] * 4


def test_a_fold_that_cannot_be_trained_on_is_told_before_the_first(tmp_path: Path) -> None:
    """All images of a class lie in one group: the fold that holds it out has none to learn from."""
    rows = [row | {"group": "one" if row["labels"] == "well" else row["group"]} for row in labelled_rows(12)]
    task = StubTask()
    with pytest.raises(ConfigurationError, match=r"fold \d cannot be trained on: .*'well' has no example"):
        cross_validate(task, Training(manifest(tmp_path / "mine", rows), tmp_path / "out", 1), 3, labelled=True)
    assert not task.orders


@pytest.mark.parametrize("count", [1, 13])
def test_a_wrong_number_of_folds_is_refused(tmp_path: Path, count: int) -> None:
    """Before anything is trained."""
    data = manifest(tmp_path / "mine", labelled_rows(12))
    task = StubTask()
    with pytest.raises(ConfigurationError, match=rf"--folds {count}: there are 12 groups"):
        cross_validate(task, Training(data, tmp_path / "out", minutes=1), count)
    assert not task.orders
