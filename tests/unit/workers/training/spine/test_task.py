"""The task spine from a folder of films to a bundle and a report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.models.bundle import load_bundle
from workers.training.spine.calibrate import overlap
from workers.training.spine.export import export_bundle
from workers.training.spine.fit import fit, learning_rate
from workers.training.spine.phantom import spine_phantom
from workers.training.spine.plan import Plan
from workers.training.spine.task import SPINE, plan_of
from workers.training.task import Evaluation, Training

TINY = {
    "batch": 1, "canvas": (64, 32), "small": (64, 32), "channels": (8, 8, 8), "features": 8, "res_units": 1,
    "phantom_share": 0.0, "mixed": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn films with corners, two for each split."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    corners, rows = {}, ["file,split,group"]
    for seed in range(4):
        phantom = spine_phantom(seed, 14 * np.sin(np.arange(17) / 3 + seed), rows=160)
        Picture.fromarray(phantom.pixels).save(folder / "images" / f"{seed}.png")
        corners[f"images/{seed}.png"] = phantom.corners.reshape(68, 2).round(2).tolist()
        rows.append(f"images/{seed}.png,{'train' if seed < 2 else 'val'},g{seed}")
    (folder / "labels/landmarks.json").write_text(json.dumps(corners), encoding="utf-8")
    (folder / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def order(data: Path, out: Path, **changed: Any) -> Training:  # noqa: ANN401 - any field of an order
    """Two seconds of training of a tiny network."""
    return replace(Training(data, out, minutes=0.03, device="cpu", settings=TINY), **changed)


def test_train_and_evaluate(data: Path, tmp_path: Path) -> None:
    """Two seconds give a bundle that loads, a log, a report in both forms; evaluate gives the same figures again."""
    bundle = SPINE.train(order(data, tmp_path / "run"))
    assert load_bundle(bundle).algorithm.research
    assert len(json.loads((bundle / "configs/inference.json").read_text())["curve_certainty"]) == 3
    for name in ("log.jsonl", "plan.json", "model.pt", "state.pt", "report.html", "report.json"):
        assert (tmp_path / "run" / name).is_file(), name
    report = SPINE.evaluate(Evaluation(data, tmp_path / "again", bundle=bundle))
    assert report["films"] == report["groups"] == 2
    first = json.loads((tmp_path / "run/report.json").read_text(encoding="utf-8"))
    assert first["confusion"] == report["confusion"]
    assert "Type of curve agrees" in (tmp_path / "again/report.html").read_text(encoding="utf-8")


def test_resume(data: Path, tmp_path: Path) -> None:
    """A run goes on where it was stopped: its steps and seconds count on; another plan's run is refused."""
    plan = plan_of(order(data, tmp_path))
    fit(data, tmp_path, plan, device="cpu")
    before = torch.load(tmp_path / "state.pt", weights_only=True)["done"]
    longer = plan_of(order(data, tmp_path, minutes=0.05))
    fit(data, tmp_path, longer, device="cpu", resume=True)
    after = torch.load(tmp_path / "state.pt", weights_only=True)["done"]
    assert after[0] > before[0]
    assert 3.0 <= after[1] < before[1] + 3.0
    wider = plan_of(order(data, tmp_path, settings=TINY | {"features": 16}))
    with pytest.raises(ConfigurationError, match="does not hold a run of this plan"):
        fit(data, tmp_path, wider, device="cpu", resume=True)


def test_start(data: Path, tmp_path: Path) -> None:
    """Weights of the same network are a start; a file that holds none is refused before training."""
    start = fit(data, tmp_path / "a", plan_of(order(data, tmp_path)), device="cpu")
    assert fit(data, tmp_path / "b", plan_of(order(data, tmp_path)), device="cpu", start=start).is_file()
    other = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, other)
    with pytest.raises(ConfigurationError, match="does not hold weights of this network"):
        fit(data, tmp_path / "c", plan_of(order(data, tmp_path)), device="cpu", start=other)


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"settings": {"batches": 3}}, "no setting 'batches'"),
        ({"settings": {"batch": "many"}}, "setting batch is 'many'"),
        ({"settings": {"mixed": "maybe"}}, "setting mixed is 'maybe'"),
        ({"backbone": "resnet50"}, "leave --backbone"),
        ({"frozen": True}, "leave --backbone"),
    ],
)
def test_wrong_orders(data: Path, tmp_path: Path, changed: dict[str, object], cause: str) -> None:
    """An order that the task cannot follow is refused before the first step."""
    with pytest.raises(ConfigurationError, match=cause):
        SPINE.train(order(data, tmp_path / "run", **changed))
    assert not (tmp_path / "run").exists()


def test_settings_from_text() -> None:
    """Settings may come as text, as from a command line."""
    plan = plan_of(Training(Path(), Path(), 1.0, settings={"batch": "2", "canvas": "64,32", "mixed": "false"}))
    assert (plan.batch, plan.canvas, plan.mixed) == (2, (64, 32), False)


def test_learning_rate() -> None:
    """It rises from nearly nothing and ends at nearly nothing."""
    plan = Plan(1.0)
    rates = [learning_rate(plan, done) for done in (0.0, 0.03, 0.3, 0.7, 1.0)]
    assert rates[0] < 0.02 * plan.learning_rate
    assert rates[1] == rates[2] == pytest.approx(plan.learning_rate)
    assert rates[2] > rates[3] > rates[4]
    assert rates[4] < 0.02 * plan.learning_rate


def test_labels_alone(data: Path, tmp_path: Path) -> None:
    """A folder with labels and no corners measures the types; films of another class are left out."""
    torch.manual_seed(0)
    bundle = tmp_path / "bundle"
    weights = fit(data, tmp_path / "run", plan_of(order(data, tmp_path)), device="cpu")
    export_bundle(weights, plan_of(order(data, tmp_path)), bundle, "0.0.0", {})
    rows = ["file,split,group,labels,curve"]
    for seed, (label, curve) in enumerate((("normal", "none"), ("scoliosis", "double"), ("spondylolisthesis", "none"))):
        rows.append(f"{data / 'images'}/{seed}.png,val,g{seed},{label},{curve}")
    folder = tmp_path / "labelled"
    folder.mkdir()
    (folder / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    report = SPINE.evaluate(Evaluation(folder, tmp_path / "report", bundle=bundle))
    assert report["films"] == 2
    assert set(report["confusion"]) == {"normal", "single", "double"}
    assert "smape_two" not in report


def test_overlap() -> None:
    """Of a square with itself 1, with its half shifted a third, with one elsewhere 0."""
    square = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], float)
    assert overlap(square, square) == pytest.approx(1.0)
    assert overlap(square, square + np.array([5, 0])) == pytest.approx(1 / 3, abs=0.03)
    assert overlap(square, square + np.array([40, 0])) == 0.0
