"""The search for settings."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from service.domain.errors import ConfigurationError
from tests.unit.workers.training.drawn_data import labelled_rows, manifest
from tests.unit.workers.training.stub_task import StubTask
from workers.training.aims import aim_of
from workers.training.images.plan import Plan as ClassifierPlan
from workers.training.spine.plan import Plan as SpinePlan
from workers.training.task import Training
from workers.training.tasks import TASKS
from workers.training.teeth.plan import Plan as TeethPlan
from workers.training.tune import SPACES, tune


def test_the_search_finds_what_is_best_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    """Ten trials in two runs make ten, the best is near what the stub likes, and fixed settings stay fixed."""
    pytest.importorskip("optuna")
    data = manifest(tmp_path / "mine", labelled_rows())
    order = Training(data, tmp_path / "out", minutes=1, seed=1, settings={"dropout": 0.1})
    first, second, lines = StubTask(), StubTask(), list[str]()
    tune(first, order, 4, lines.append)
    found = tune(second, order, 10, lines.append)
    assert (len(first.orders), len(second.orders), len(lines)) == (4, 6, 10)
    tried = [o.settings["learning_rate"] for o in (*first.orders, *second.orders)]
    best = found["best"]["settings"]
    assert (
        abs(best["learning_rate"] - 0.003) == min(abs(rate - 0.003) for rate in tried) or found["best"]["value"] > 0.9
    )
    assert "dropout" not in best
    assert {o.settings["dropout"] for o in first.orders} == {0.1}
    assert {o.backbone for o in (*first.orders, *second.orders)} <= {"small", "four-conv"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(report["trials"]) == 10
    assert f"--set learning_rate={best['learning_rate']:.3g}" in report["facts"]["to train with it"]
    assert "Trials, the best first" in (tmp_path / "out" / "report.html").read_text()


def test_what_is_searched_are_settings_of_the_task() -> None:
    """More than the learning rate for every task, and nothing that its plan does not have."""
    classifier = {field.name for field in dataclasses.fields(ClassifierPlan)} | {"backbone"}
    plans = {"teeth": TeethPlan, "spine": SpinePlan}
    assert set(SPACES) == {entry.name for entry in TASKS}
    for task, space in SPACES.items():
        known = {field.name for field in dataclasses.fields(plans[task])} if task in plans else classifier
        assert {"learning_rate", "weight_decay"} < set(space) <= known, task


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to install."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigurationError, match=r"dentgate\[train\]"):
        tune(StubTask(), Training(tmp_path, tmp_path / "out", minutes=1), 1)


def test_the_aim_is_the_first_figure_that_a_report_has() -> None:
    """AUC for classifiers, F1 for teeth, and less of an error is more."""
    assert aim_of({"macro": {"auc": {"value": 0.8}}, "all": {"f1": 0.5}}) == ("macro.auc.value", 0.8)
    assert aim_of({"all": {"f1": 0.5}}) == ("all.f1", 0.5)
    assert aim_of({"smape_two": {"value": 0.1}}) == ("smape_two.value", -0.1)
    with pytest.raises(ConfigurationError, match="none of the figures"):
        aim_of({"images": 5})
