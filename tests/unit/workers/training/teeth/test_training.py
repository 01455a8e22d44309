"""Training and evaluation, from a folder of labelled images to a bundle and a report."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.models.bundle import load_bundle
from workers.networks.tooth_net import ToothNet
from workers.training.averaged_run import learning_rate
from workers.training.bundles import write_weights
from workers.training.leakage import Leakage
from workers.training.phantom import panoramic_phantom
from workers.training.task import Evaluation, Training
from workers.training.teeth.evaluate import evaluate
from workers.training.teeth.export import INTRAORAL, PANORAMIC, export_bundle
from workers.training.teeth.fit import Run, fit
from workers.training.teeth.panoramics import (
    load_samples,
    read_manifest,
)
from workers.training.teeth.plan import Plan, plan_of
from workers.training.teeth.task import TEETH

TINY = Plan(
    minutes=0.05,
    batch=1,
    small=(64, 128),
    large=(64, 128),
    channels=(8, 8, 8),
    features=8,
    res_units=1,
    phantom_share=0.0,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms as a data set, stretched to squares like the real one."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "group", "label_file"])
        for seed, split in enumerate(["train", "train", "val"]):
            phantom = panoramic_phantom(seed, rows=256, columns=455)
            for name, plane, how in (
                ("images", (phantom.pixels >> 4).astype(np.uint8), Picture.Resampling.BILINEAR),
                ("labels", phantom.labels, Picture.Resampling.NEAREST),
            ):
                Picture.fromarray(plane).resize((256, 256), how).save(folder / name / f"{seed}.png")
            writer.writerow([f"images/{seed}.png", split, f"g{seed}", f"labels/{seed}.png"])
    return folder


SETTINGS = {
    "batch": 1,
    "small": "64,128",
    "large": (64, 128),
    "channels": "8,8,8",
    "features": "8",
    "res_units": 1,
    "phantom_share": 0.0,
}


def test_train_export_load_evaluate(data: Path, tmp_path: Path) -> None:
    """Three seconds of training give weights, a log, a calibrated bundle that loads, and a report as JSON and page."""
    order = Training(data, tmp_path / "run", 0.05, settings=SETTINGS | {"numbered": str(data)})
    bundle = TEETH.train(order)
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    for title in ("Figures", "Wrong numbers", "Learning curves", "Films with most mistakes", "Leakage between"):
        assert f"<h2>{title}" in page
    metadata = json.loads((bundle / "configs/metadata.json").read_text(encoding="utf-8"))
    assert metadata["eval_metrics"]["validation"]["images"] == 1
    assert "2 images of 2 groups (split train)" in metadata["data_source"]
    assert "UFBA" not in json.dumps(metadata)
    assert "model card" in (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "run/plan.json").read_text(encoding="utf-8"))["channels"] == [8, 8, 8]
    digest = load_bundle(bundle).algorithm.weights_sha256
    (tmp_path / "log.jsonl").write_text('{"step": 50, "loss": 2.5}\n{"step": 100, "loss": 1.5}\n', encoding="utf-8")
    shared = Leakage({"train": 2, "val": 1}, ("ann",), ())
    report = evaluate(Evaluation(data, tmp_path / "report", bundle=bundle), tmp_path / "log.jsonl", shared)
    written = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
    assert written["all"] == report["all"]
    assert report["all"]["images"] == report["groups"] == 1
    assert report["weights_sha256"] == digest
    assert "NOT TO BE TRUSTED" in written["headline"]
    assert written["leakage"]["groups_in_two_splits"] == ["ann"]
    assert ">loss<" in (tmp_path / "report/report.html").read_text(encoding="utf-8")
    assert len(json.loads((bundle / "configs/inference.json").read_text(encoding="utf-8"))["certainty_intraoral"]) == 3


def test_a_killed_training_goes_on(data: Path, tmp_path: Path) -> None:
    """A run taken up again keeps its steps and ends with the minutes it was given; without a run that is an error."""
    plan = replace(TINY, minutes=0.02)
    fit(data, tmp_path / "run", plan)
    first = torch.load(tmp_path / "run/state.pt", weights_only=True)["done"]
    fit(data, tmp_path / "run", replace(plan, minutes=0.04), resume=True)
    second = torch.load(tmp_path / "run/state.pt", weights_only=True)["done"]
    assert second[0] > first[0]
    assert second[1] < 60 * 0.04 + 1
    with pytest.raises(ConfigurationError, match="train without --resume"):
        fit(data, tmp_path / "nothing", plan, resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"colour": 1}, "no setting 'colour'"), ({"batch": "many"}, "batch is 'many'"), ({"large": "a,b"}, "large is")],
)
def test_wrong_settings(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    """A setting that is not there or not of its kind is one line, before anything is computed."""
    with pytest.raises(ConfigurationError, match=message):
        plan_of(Training(tmp_path, tmp_path, 1, settings=settings))


def test_what_the_task_cannot_do(data: Path, tmp_path: Path) -> None:
    """Another backbone, frozen layers and weights of another network are refused in one line."""
    for order in (Training(data, tmp_path, 1, backbone="vgg11"), Training(data, tmp_path, 1, frozen=True)):
        with pytest.raises(ConfigurationError, match="one network"):
            TEETH.train(order)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_start_of_another_network(data: Path, tmp_path: Path, wrapped: bool) -> None:  # noqa: FBT001 - a parameter
    """What is no checkpoint, is another network's or of another size is refused by name, bare or in a state_dict."""
    other = {"layer1.0.conv1.weight": torch.zeros(1), "layer1.0.conv3.weight": torch.zeros(1)}
    starts: list[tuple[object, str]] = [
        ([1], "holds no weights"),
        (other, "does not hold weights of this network: it looks like a ResNet"),
        (ToothNet((8, 8, 16), 8, 1).state_dict(), "of another size; set channels"),
    ]
    for content, words in starts:
        torch.save({"state_dict": content} if wrapped else content, tmp_path / "start.pt")
        with pytest.raises(ConfigurationError, match=words):
            fit(data, tmp_path, TINY, start=tmp_path / "start.pt")
    for text in (b"", b"nothing", b"\x80\x04K\x01."):  # nothing, no pickle, and a pickle of a number
        (tmp_path / "odd.pt").write_bytes(text)
        with pytest.raises(ConfigurationError, match=r"odd\.pt"):
            fit(data, tmp_path, TINY, start=tmp_path / "odd.pt")


def test_a_start_of_our_own(tmp_path: Path) -> None:
    """Weights of a training, bare or in a state_dict, those of a bundle and a ``state.pt`` are gone on from."""
    run = Run(TINY, torch.device("cpu"), None)
    run.save(tmp_path / "state.pt")
    state = run.averaged.state_dict()
    torch.save(state, tmp_path / "model.pt")
    torch.save({"state_dict": state}, tmp_path / "wrapped.pt")
    write_weights(tmp_path / "bundle", state)
    for file, exact in (
        ("state.pt", True),
        ("model.pt", True),
        ("wrapped.pt", True),
        ("bundle/models/model.pt", False),
    ):
        loaded = Run(TINY, torch.device("cpu"), tmp_path / file).net.state_dict()
        for key, value in state.items():
            torch.testing.assert_close(loaded[key], value, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-3)


def test_a_finished_run_is_not_trained_again(data: Path, tmp_path: Path) -> None:
    """Taking up a run that had its minutes gives its weights, without a step and without losing its log."""
    fit(data, tmp_path, replace(TINY, minutes=0.01))
    before = [(tmp_path / name).read_bytes() for name in ("state.pt", "log.jsonl")]
    fit(data, tmp_path, replace(TINY, minutes=0.01), resume=True)
    assert [(tmp_path / name).read_bytes() for name in ("state.pt", "log.jsonl")] == before
    lines = [json.loads(line) for line in before[1].decode().splitlines()]
    assert lines[-1]["step"] >= 1
    assert 0 <= lines[-1]["val_dice"] <= 1


def test_a_run_killed_at_once_can_go_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first step on there is a state, and it is not that of an earlier run in the same folder."""
    fit(data, tmp_path, replace(TINY, minutes=0.01))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(data, tmp_path, TINY)
    monkeypatch.undo()
    run = Run(TINY, torch.device("cpu"), None)
    run.restore(tmp_path / "state.pt")
    assert (run.steps, run.seconds) == (0, 0.0)


def test_patience(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a better look a run with patience ends early with its best weights; without patience it goes on."""
    looks = iter([0.5, 0.7, 0.6, 0.7])
    weights: list[float] = []

    def look(net: ToothNet, *_: object) -> float:
        weights.append(float(next(net.parameters()).detach().sum()))
        return next(looks)

    monkeypatch.setattr("workers.training.teeth.fit.quick_dice", look)
    monkeypatch.setattr("workers.training.teeth.fit._SAVE_SECONDS", 0.0)
    monkeypatch.setattr("workers.training.teeth.fit._LOG_STEPS", 1)
    file = fit(data, tmp_path, replace(TINY, minutes=5, patience=2))
    assert len(weights) == 4
    kept = torch.load(file, weights_only=True)
    assert float(next(iter(kept.values())).sum()) == pytest.approx(weights[1])
    assert weights[1] != pytest.approx(weights[3], abs=1e-9)
    taken_up = Run(replace(TINY, minutes=5, patience=2), torch.device("cpu"), None)
    taken_up.restore(tmp_path / "state.pt")
    assert taken_up.over
    assert not Run(TINY, torch.device("cpu"), None).over


def test_weight_decay_is_a_setting(tmp_path: Path) -> None:
    """The optimizer takes the plan's; as before a thousandth unless it is set."""
    plans = [plan_of(Training(tmp_path, tmp_path, 1, settings=given)) for given in ({}, {"weight_decay": "0.2"})]
    runs = [Run(replace(TINY, weight_decay=plan.weight_decay), torch.device("cpu"), None) for plan in plans]
    assert [run.optimizer.param_groups[0]["weight_decay"] for run in runs] == [1e-3, 0.2]


def test_half_precision_keeps_batch_statistics(data: Path, tmp_path: Path) -> None:
    """Export rounds kernels only: a variance too large for half precision survives."""
    net = ToothNet(TINY.channels, TINY.features, TINY.res_units)
    state = net.state_dict()
    key = next(k for k in state if k.endswith("running_var"))
    state[key] += 1e6
    torch.save(state, tmp_path / "model.pt")
    export_bundle(tmp_path / "model.pt", TINY, tmp_path / "bundle", Training(data, tmp_path, 1))
    assert load_bundle(tmp_path / "bundle").network.state_dict()[key].max() > 1e6


def test_bundles_say_what_they_are(data: Path, tmp_path: Path) -> None:
    """Each of the two models says its own name and images, and its data; words given to a release stay."""
    run = Run(TINY, torch.device("cpu"), None)
    torch.save(run.averaged.state_dict(), tmp_path / "model.pt")
    order = Training(data, tmp_path, 1)
    plan = replace(TINY, numbered=str(data), phantom_share=0.1)
    for name, images in ((PANORAMIC, "panoramic"), (INTRAORAL, "intra-oral")):
        bundle = tmp_path / name
        export_bundle(tmp_path / "model.pt", plan, bundle, order, name)
        assert load_bundle(bundle).algorithm.name == name
        file = bundle / "configs/metadata.json"
        metadata = json.loads(file.read_text(encoding="utf-8"))
        assert metadata["image_classes"].startswith(images)
        for words in (f"2 films of the folder {data.name} that a model numbered", "drawn phantoms"):
            assert words in metadata["data_source"]
        file.write_text(json.dumps(metadata | {"version": "1.0.0", "license": "ours"}), encoding="utf-8")
        export_bundle(tmp_path / "model.pt", plan, bundle, order, name)
        assert json.loads(file.read_text(encoding="utf-8"))["license"] == "ours"


def test_no_data_set(tmp_path: Path, data: Path) -> None:
    """A folder that is no data set, or lacks the split, is one line that says so."""
    with pytest.raises(ConfigurationError, match=r"manifest\.csv cannot be read"):
        read_manifest(tmp_path, "val")
    with pytest.raises(ConfigurationError, match="no image of split 'test'"):
        read_manifest(data, "test")
    (tmp_path / "manifest.csv").write_text("file,split\na,val\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="label_file"):
        read_manifest(tmp_path, "val")


def test_stretched_squares_are_wide_films(data: Path) -> None:
    """A square image is taken as 16:9."""
    assert load_samples(read_manifest(data, "val"))[0].aspect == pytest.approx(16 / 9)


def test_learning_rate_warms_up_and_ends_at_nothing() -> None:
    """The learning rate rises, stays, and falls to about a hundredth by the end of the minutes."""
    plan = replace(TINY, minutes=1)
    rates = [learning_rate(plan, done) for done in (0.0, 0.03, 0.3, 0.7, 1.0)]
    assert rates[0] < rates[3] < rates[2] == pytest.approx(rates[1])
    assert rates[4] <= 0.011 * plan.learning_rate
