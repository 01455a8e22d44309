"""The task spine from a folder of films to a bundle and a report."""

import io
import json
import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers import inference
from workers.inference import TorchRunner
from workers.models.bundle import load_bundle
from workers.models.cobb import tilts_of
from workers.networks.spine_net import SpineNet
from workers.training.averaged_run import learning_rate
from workers.training.cross_validation import cross_validate
from workers.training.journal import read_journal
from workers.training.report import learning_curves
from workers.training.spine import fit as fitting
from workers.training.spine.calibrate import overlap
from workers.training.spine.evaluate import cases
from workers.training.spine.export import export_bundle
from workers.training.spine.fit import Run, fit
from workers.training.spine.phantom import spine_phantom
from workers.training.spine.plan import Plan
from workers.training.spine.stress import other_device
from workers.training.spine.task import SPINE, plan_of
from workers.training.spine.watch import Watch
from workers.training.task import Evaluation, Training

TINY = {
    "batch": 1, "canvas": (64, 32), "small": (64, 32), "channels": (8, 8, 8), "features": 8, "res_units": 1,
    "phantom_share": 0.0, "mixed": False,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def torch_only() -> Iterator[None]:
    """Networks run as they are: converting them takes longer than all that these tests do with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "OpenVinoRunner", lambda net, _shape: TorchRunner(net, torch.device("cpu")))
        yield


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


def told(bundle: Path) -> None:
    """What the bundle says is about this training: nothing of the data, the licence or the machine of another."""
    metadata = json.loads((bundle / "configs/metadata.json").read_text(encoding="utf-8"))
    assert metadata["version"].startswith("0.0.0+")
    assert metadata["data_source"].startswith("2 images of 2 groups (split train) and 2 images of 2 groups (split val)")
    assert metadata["training"]["seed"] == 0
    assert metadata["training"]["start"] == "random weights"
    assert "CPU cores" in metadata["training"]["hardware"]
    assert metadata["eval_metrics"]["validation"]["films"] == 2
    card = (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert "Trained on: 2 images" in card
    assert "- smape_two: " in card
    for foreign in ("AASCE", "SpineWeb", "388"):
        assert foreign not in json.dumps(metadata), foreign
        assert foreign not in card, foreign


def order(data: Path, out: Path, **changed: Any) -> Training:  # noqa: ANN401 - any field of an order
    """Two seconds of training of a tiny network."""
    return replace(Training(data, out, minutes=0.03, device="cpu", settings=TINY), **changed)


def test_train_and_evaluate(data: Path, tmp_path: Path) -> None:
    """Two seconds give a bundle that loads, a log, a report in both forms; evaluate gives the same figures again."""
    bundle = SPINE.train(order(data, tmp_path / "run"))
    told(bundle)
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


def test_resume_needs_a_run(data: Path, tmp_path: Path) -> None:
    """--resume where nothing was run is an error, as is a state that is no state; a run has one from its first step."""
    plan = plan_of(order(data, tmp_path))
    with pytest.raises(ConfigurationError, match=r"state\.pt does not hold a run of this plan \(FileNotFoundError\)"):
        fit(data, tmp_path, plan, device="cpu", resume=True)
    for content in (b"", b"garbage", pickle.dumps([1, 2])):
        (tmp_path / "state.pt").write_bytes(content)
        with pytest.raises(ConfigurationError, match="does not hold a run of this plan"):
            fit(data, tmp_path, plan, device="cpu", resume=True)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "state.pt").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(data, tmp_path, plan, device="cpu")
    assert fit(data, tmp_path, plan, device="cpu", resume=True).is_file()


def test_folds_go_on(data: Path, tmp_path: Path) -> None:
    """Folds go on where they were killed, and a fold that had not begun begins."""
    first = order(data, tmp_path, minutes=0.01)
    cross_validate(SPINE, first, 2)
    before = torch.load(tmp_path / "fold-0" / "state.pt", weights_only=True)["done"]
    for file in sorted((tmp_path / "fold-1").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    report = cross_validate(SPINE, replace(first, resume=True), 2)
    assert torch.load(tmp_path / "fold-0" / "state.pt", weights_only=True)["done"] == before
    assert torch.load(tmp_path / "fold-1" / "state.pt", weights_only=True)["done"][0] > 0
    assert len(report["folds"]["type_agreement.value"]["folds"]) == 2


def test_journal(data: Path, tmp_path: Path) -> None:
    """The log holds the loss on training and validation films, drawn in one chart, and TensorBoard gets them too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "_LOG_STEPS", 2)
        fit(data, tmp_path, plan_of(order(data, tmp_path)), device="cpu")
    lines = read_journal(tmp_path)
    assert all({"step", "seconds", "loss", "centre"} <= line.keys() for line in lines)
    assert any(math.isfinite(line["val_loss"]) for line in lines if "val_loss" in line)
    charts = learning_curves(tmp_path / "log.jsonl")
    assert charts is not None
    assert "loss" in [caption for caption, _ in charts.charts]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_patience(data: Path, tmp_path: Path) -> None:
    """With patience a training ends when the validation loss no longer falls, and keeps the weights of the least."""
    losses = iter([0.5, 0.3, 0.4, 0.6, 0.2])
    kept = dict[float, Any]()

    def loss(_: Watch, net: torch.nn.Module) -> float:
        kept[value := next(losses)] = {key: tensor.clone() for key, tensor in net.state_dict().items()}
        return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "loss", loss)
        patch.setattr(Watch, "due", lambda _: True)
        patch.setattr(fitting, "_LOG_STEPS", 2)
        plan = plan_of(order(data, tmp_path, minutes=5.0, settings=TINY | {"patience": 2}))
        weights = torch.load(fit(data, tmp_path, plan, device="cpu"), weights_only=True)
    assert next(losses) == 0.2  # two looks without a smaller one ended it
    assert all(torch.equal(weights[key], kept[0.3][key]) for key in weights)
    assert not all(torch.equal(weights[key], kept[0.6][key]) for key in weights)
    assert fit(data, tmp_path, plan, device="cpu", resume=True).is_file()  # it is at an end: at once


def test_weight_decay(data: Path, tmp_path: Path) -> None:
    """The plan's weight decay reaches the optimizer; as it comes it is that of the shipped model."""
    assert Plan(1.0).weight_decay == 0.01
    plan = plan_of(order(data, tmp_path, settings=TINY | {"weight_decay": "0.3"}))
    assert Run(plan, torch.device("cpu"), None).optimizer.param_groups[0]["weight_decay"] == 0.3


def test_start(data: Path, tmp_path: Path) -> None:
    """Weights of the same network are a start; a file that holds none is refused before training."""
    start = fit(data, tmp_path / "a", plan_of(order(data, tmp_path)), device="cpu")
    assert fit(data, tmp_path / "b", plan_of(order(data, tmp_path)), device="cpu", start=start).is_file()
    wrapped = tmp_path / "wrapped.pt"
    torch.save({"state_dict": torch.load(start, weights_only=True)}, wrapped)
    run = Run(plan_of(order(data, tmp_path)), torch.device("cpu"), wrapped)
    assert all(torch.equal(run.net.state_dict()[k], v) for k, v in torch.load(start, weights_only=True).items())


def stored(content: object) -> bytes:
    """A file that torch wrote."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (lambda: b"", "is no file of torch tensors"),
        (lambda: b"text", "is no file of torch tensors"),
        (lambda: pickle.dumps({"a": 1}), "is no file of torch tensors|holds no weights"),
        (lambda: stored([1, 2]), "holds no weights"),
        (lambda: stored({"weight": torch.zeros(3)}), "does not hold weights of this network: .* is missing"),
        (lambda: stored({"layer1.0.conv1.weight": torch.zeros(3)}), "looks like ResNet|looks like a ResNet"),
        (
            lambda: stored(SpineNet((8, 8, 8), 16, 1).state_dict()),
            r"has shape \(.*same plan \(channels, features, res_units\)",
        ),
    ],
)
def test_wrong_start(data: Path, tmp_path: Path, content: Callable[[], bytes], cause: str) -> None:
    """A file that is no start ends with one line that says what it is, before anything is written."""
    file = tmp_path / "other.pt"
    file.write_bytes(content())
    with pytest.raises(ConfigurationError, match=cause):
        fit(data, tmp_path / "c", plan_of(order(data, tmp_path)), device="cpu", start=file)
    assert not (tmp_path / "c").exists()


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
    export_bundle(weights, plan_of(order(data, tmp_path)), bundle, order(data, tmp_path))
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
    assert (tmp_path / "report/report.html").read_text(encoding="utf-8").count("Ranking by the angles") <= 1
    other = "\n".join(["file,split,group,labels", f"{data / 'images'}/2.png,val,g2,spondylolisthesis"])
    (folder / "manifest.csv").write_text(other, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="nor a film of split 'val' labelled normal, scoliosis"):
        SPINE.evaluate(Evaluation(folder, tmp_path / "report", bundle=bundle))


def test_angles_that_the_manifest_does_not_name(data: Path, tmp_path: Path) -> None:
    """A film with corners and a type but no angle is measured against the angle of its corners, not against 0."""
    manifest = (data / "manifest.csv").read_text(encoding="utf-8").splitlines()
    folder = tmp_path / "typed"
    folder.mkdir()
    for name in ("images", "labels"):
        (folder / name).symlink_to(data / name)
    kinds = ("labels", "single", "single", "AIS", "double")
    text = "\n".join(f"{row},{kind}" for row, kind in zip(manifest, kinds, strict=True))
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    _, plain = cases(data, "val")
    _, typed = cases(folder, "val")
    for one, other in zip(plain, typed, strict=True):
        assert other.cobb == one.cobb
        assert other.cobb is not None
        assert other.cobb[0] > 10
        assert other.truth == (one.truth if other.name == "2.png" else "double")


def test_stress() -> None:
    """Another device's film shows the same corners elsewhere, whole, and the angles are what they were."""
    phantom = spine_phantom(5, 14 * np.sin(np.arange(17) / 3), rows=320)
    pixels = np.zeros(phantom.pixels.shape, np.float32)
    for x, y in phantom.corners.reshape(-1, 2):
        pixels[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = 1
    shapes = set()
    for seed in range(8):
        moved, corners = other_device(pixels, phantom.corners, np.random.default_rng(seed))
        assert corners is not None
        shapes.add(moved.shape)
        assert tilts_of(corners) == pytest.approx(tilts_of(phantom.corners), abs=1e-3)
        assert corners.min() >= 0
        assert (corners.max((0, 1)) <= moved.shape[::-1]).all()
        lit = [moved[int(y), int(x)] for x, y in corners.reshape(-1, 2)]
        assert min(lit) > np.median(moved) + 0.1
    assert len(shapes) > 4
    bare, none = other_device(pixels, None, np.random.default_rng(0))
    assert none is None
    assert min(bare.shape) > 0.8 * min(pixels.shape)


def test_stress_is_ordered(data: Path, tmp_path: Path) -> None:
    """With --stress changed films are measured, the report says so, and it is the same each time."""
    facts, angles = [], []
    for name, stress in (("plain", False), ("one", True), ("two", True)):
        SPINE.evaluate(Evaluation(data, tmp_path / name, stress=stress))
        report = json.loads((tmp_path / name / "report.json").read_text(encoding="utf-8"))
        facts.append(report["facts"]["data"])
        angles.append((report["cobb_error_major"], report["points_error"]))
    assert "as they are" in facts[0]
    assert "as another device might make them" in facts[1]
    assert angles[1] == angles[2] != angles[0]


def test_overlap() -> None:
    """Of a square with itself 1, with its half shifted a third, with one elsewhere 0."""
    square = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], float)
    assert overlap(square, square) == pytest.approx(1.0)
    assert overlap(square, square + np.array([5, 0])) == pytest.approx(1 / 3, abs=0.03)
    assert overlap(square, square + np.array([40, 0])) == 0.0
