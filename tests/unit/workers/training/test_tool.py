"""``dentgate train``, ``evaluate`` and ``tune`` as a user meets them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.__main__ import main
from service.domain.errors import ConfigurationError
from tests.unit.workers.models.foreign_bundle import image_of
from tests.unit.workers.training.drawn_data import class_folders, labelled_rows, manifest, picture
from tests.unit.workers.training.stub_task import StubTask
from workers.models.dropped_in import dropped_in
from workers.training import tasks, tool
from workers.training.task import Evaluation, Training


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubTask:
    """The task images learns in no time."""
    task = StubTask()
    monkeypatch.setattr(tasks.Entry, "load", lambda _: task)
    return task


def test_every_task_is_there() -> None:
    """What the list names can be imported, is called so and says what it is for."""
    for entry in tasks.TASKS:
        task = entry.load()
        assert task.name == entry.name
        assert task.purpose
    with pytest.raises(ConfigurationError, match="no task 'hearts'; known: teeth"):
        tasks.find_task("hearts")


def test_options_reach_the_task(tmp_path: Path, stub: StubTask, capsys: pytest.CaptureFixture[str]) -> None:
    """Minutes, seed, start, backbone, device, threads and settings; what was made is printed; the order is kept."""
    data = class_folders(tmp_path / "mine")
    start = tmp_path / "start.pt"
    start.write_bytes(b"weights")
    options = [
        "--minutes",
        "2.5",
        "--seed",
        "9",
        "--start",
        str(start),
        "--frozen",
        "--backbone",
        "resnet50",
        "--device",
    ]
    options += ["cpu", "--threads", "2", "--resume", "--set", "learning_rate=0.01", "--set", "size=96,96"]
    assert main(["train", "images", "--data", str(data), "--out", str(tmp_path / "out"), *options]) == 0
    (order,) = stub.orders
    expected = Training(
        tmp_path / "out" / "data" / "mine", tmp_path / "out", 2.5, 9, start, frozen=True, backbone="resnet50",
        device="cpu", resume=True, threads=2, settings={"learning_rate": 0.01, "size": "96,96"},
    )  # fmt: skip
    assert order == expected
    printed = capsys.readouterr().out
    assert f"bundle {tmp_path / 'out' / 'bundle'}" in printed
    assert f"report {tmp_path / 'out' / 'report.html'}" in printed
    facts = json.loads((tmp_path / "out" / "report.json").read_text())["facts"]
    assert facts["command"].startswith(f"dentgate train images --data {data}")
    assert "--backbone resnet50" in facts["command"]
    assert facts["seed"] == "9"


def test_a_training_over_a_release_says_so(tmp_path: Path, stub: StubTask) -> None:
    """Weights in the place of released ones: the user is told whose words still stand there, and to name a version."""
    data, file = class_folders(tmp_path / "mine"), tmp_path / "out" / "bundle" / "configs" / "metadata.json"
    file.parent.mkdir(parents=True)
    for version, told in (("0.2.0+1f3c9a2e", True), ("0.2.0", False), ("0.0.0+1f3c9a2e", False)):
        file.write_text(json.dumps({"version": version}), encoding="utf-8")
        lines = tool.run_training("images", Training(data, tmp_path / "out", 1.0))
        assert [line for line in lines if "released as 0.2.0" in line] == lines[2:]
        assert (len(lines) == 3) == told
    assert len(stub.orders) == 3


def test_folds_and_trials(tmp_path: Path, stub: StubTask, capsys: pytest.CaptureFixture[str]) -> None:
    """--folds trains so often, --trials so often; each ends with the figure and the report."""
    pytest.importorskip("optuna")
    data = str(class_folders(tmp_path / "mine"))
    assert main(["train", "images", "--data", data, "--out", str(tmp_path / "folds"), "--folds", "3"]) == 0
    assert len(stub.orders) == 3
    assert "accuracy 1.000" in capsys.readouterr().out
    assert main(["tune", "images", "--data", data, "--out", str(tmp_path / "tuned"), "--trials", "2"]) == 0
    assert len(stub.orders) == 5
    assert "Best macro.auc.value" in capsys.readouterr().out


def test_evaluate_takes_all_images_of_somebody_elses_data(
    tmp_path: Path, stub: StubTask, capsys: pytest.CaptureFixture[str]
) -> None:
    """--split all measures every image of a folder without parts."""
    data = class_folders(tmp_path / "mine")
    stub.train(Training(manifest(tmp_path / "other", labelled_rows()), tmp_path / "trained", 1))
    bundle = str(tmp_path / "trained" / "bundle")
    options = ["--data", str(data), "--out", str(tmp_path / "out"), "--bundle", bundle, "--split", "all"]
    assert main(["evaluate", "images", *options]) == 0
    assert "on 20 images of 20 groups" in capsys.readouterr().out


@pytest.mark.usefixtures("stub")
def test_a_bundle_is_measured_on_what_it_was_not_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parts that are made fall as in its training, whatever its seed; else it is said how many images it had seen."""
    data, out = class_folders(tmp_path / "mine"), tmp_path / "out"
    options = ["--data", str(data), "--out"]
    assert main(["train", "images", *options, str(out), "--seed", "5"]) == 0
    assert main(["evaluate", "images", *options, str(tmp_path / "same"), "--bundle", str(out / "bundle")]) == 0
    assert "trained on" not in capsys.readouterr().out
    picture(data / "ill" / "another.png", 4242)  # the parts fall another way
    assert main(["evaluate", "images", *options, str(tmp_path / "more"), "--bundle", str(out / "bundle")]) == 0
    printed = re.search(
        r"NOT TO BE TRUSTED: the bundle was trained on (\d) of these \d images", capsys.readouterr().out
    )
    assert printed
    assert int(printed[1]) > 0
    facts = json.loads((tmp_path / "more" / "report.json").read_text())["facts"]
    assert facts["NOT TO BE TRUSTED"].startswith(f"the bundle was trained on {printed[1]}")


@pytest.mark.parametrize("task", ["photos", "images"])
def test_what_is_no_bundle_is_one_line(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder above it, or a task without one that ships: nobody needs to install Dentgate again."""
    options = ["--data", str(class_folders(tmp_path / "mine")), "--out", str(tmp_path / "out")]
    assert main(["evaluate", task, *options]) == 2
    assert f"task {task} ships no bundle; name the one to measure with --bundle" in capsys.readouterr().err
    assert main(["evaluate", task, *options, "--bundle", str(tmp_path)]) == 2
    assert f"--bundle {tmp_path} is no bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--start", "nothing.pt"], "--start nothing.pt: there is no such file"),
        (["--set", "learning_rate"], "it must be KEY=VALUE"),
        (["--folds", "99"], "--folds 99: there are 20 groups"),
        (["--minutes", "0"], "--minutes 0: a training needs more than 0"),
        (["--minutes", "-1"], "--minutes -1: a training needs more than 0"),
        (["--minutes", "nan"], "--minutes nan: a training needs more than 0"),
        (["--threads", "0"], "--threads 0: the least is 1"),
        (["--seed", "-1"], "--seed -1: the least is 0"),
        (["--set", "minutes=3"], "--set minutes=3: it is an option of its own, --minutes 3"),
        (["--frozen"], "--frozen keeps the weights of --start, which is not given"),
    ],
)
def test_wrong_options_are_one_line(
    tmp_path: Path, stub: StubTask, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    """Exit status 2 and the mend, before anything is trained."""
    data = class_folders(tmp_path / "mine")
    assert main(["train", "images", "--data", str(data), "--out", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err
    assert not stub.orders


def test_an_out_that_is_no_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in its place, as a disk that is full or not ours: what and where, no traceback."""
    (tmp_path / "out").write_text("mine")
    data = class_folders(tmp_path / "mine")
    assert main(["train", "images", "--data", str(data), "--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dentgate: {tmp_path / 'out'}")


def test_nothing_is_written_into_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even by an order that is refused because --out lies in there: the next one would take it for a class."""
    data = class_folders(tmp_path / "mine")
    before = sorted(data.rglob("*"))
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "metadata.json").write_text("{}")
    for verb in ("train", "tune", "evaluate"):
        options = ["--bundle", str(tmp_path / "bundle")] if verb == "evaluate" else []
        assert main([verb, "images", "--data", str(data), "--out", str(data / "run"), *options]) == 2
        assert "name a folder outside" in capsys.readouterr().err
    assert sorted(data.rglob("*")) == before


def test_weights_by_name_reach_the_tasks_that_take_them(
    tmp_path: Path, stub: StubTask, capsys: pytest.CaptureFixture[str]
) -> None:
    """--start torchvision:NAME is no file; a task with one network refuses it."""
    data, out = str(class_folders(tmp_path / "mine")), str(tmp_path / "out")
    options = ["--data", data, "--out", out, "--start", "torchvision:resnet50"]
    assert main(["train", "images", *options]) == 0
    assert str(stub.orders[0].start) == "torchvision:resnet50"
    assert main(["train", "teeth", *options]) == 2
    assert "task teeth has a network of its own" in capsys.readouterr().err


def test_damaged_pictures_end_a_measurement_with_one_line(
    tmp_path: Path, stub: StubTask, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named; what lies in other parts is not looked at."""
    data = manifest(tmp_path / "mine", labelled_rows())
    bundle = str(stub.train(Training(data, tmp_path / "trained", 1)))
    options = ["--data", str(data), "--out", str(tmp_path / "out"), "--bundle", bundle]
    (data / "images" / "0.png").write_bytes(b"of the training part")
    assert main(["evaluate", "images", *options]) == 0
    (data / "images" / "3.png").write_bytes(b"no picture")
    assert main(["evaluate", "images", *options]) == 2
    assert "3.png is damaged or no picture" in capsys.readouterr().err


def test_damaged_data_end_before_the_training(
    tmp_path: Path, stub: StubTask, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named; nothing was trained."""
    data = class_folders(tmp_path / "mine")
    (data / "ill" / "ill-3.png").write_bytes(b"no picture")
    assert main(["train", "images", "--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "ill-3.png is damaged or no picture" in capsys.readouterr().err
    assert not stub.orders


def test_a_stop_is_no_accident(
    tmp_path: Path, stub: StubTask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends with one line that says how to go on."""

    def stopped(_order: Training) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(stub, "train", stopped)
    data = class_folders(tmp_path / "mine")
    assert main(["train", "images", "--data", str(data), "--out", str(tmp_path / "out")]) == 1
    assert "--resume goes on" in capsys.readouterr().err


def bars(data: Path, count: int) -> Path:
    """A bone, whole or with a gap: classes "normal" and "fracture"."""
    rng = np.random.default_rng(0)
    for name in ("normal", "fracture"):
        (data / name).mkdir(parents=True)
        for i in range(count):
            plane = rng.normal(50, 8, (40, 32))
            plane[:, 10:22] += 130
            if name == "fracture":
                plane[18:22] -= 90
            Picture.fromarray(plane.clip(0, 255).astype(np.uint8)).save(data / name / f"{i}.png")
    return data


def test_a_classifier_from_folders_serves_when_it_is_dropped_in(tmp_path: Path) -> None:
    """The way of a clinic's data scientist: folders of pictures, train, read the report, drop the bundle in."""
    data = bars(tmp_path / "bones", 12)
    order = Training(data, tmp_path / "out", minutes=0.05, seed=1, backbone="four-conv")
    settings = {"size": "32,32", "batch": 8, "balance": 0, "strength": 0.2}
    lines = tool.run_training("images", replace(order, settings=settings))
    bundle = Path(lines[0].removeprefix("bundle "))
    assert "Macro AUC" in (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "bundles").mkdir()
    bundle.rename(tmp_path / "bundles" / "bones")
    (model,) = dropped_in(tmp_path / "bundles")
    assert model.looks_for == ("fracture",)
    pixels = np.asarray(Picture.open(data / "fracture" / "0.png"), np.float32) / 255
    image = image_of(pixels, Modality="DX")
    assert model.judge(image.header).accepted
    loaded = model.load("cpu")
    for found in loaded.analyze(image):  # a training this short may find nothing
        assert found.kind == "fracture"
        assert found.heat is not None
    report = tool.run_evaluation("images", Evaluation(data, tmp_path / "again", "all", tmp_path / "bundles" / "bones"))
    assert "on 24 images" in report[0]


def test_classes_without_codes_leave_a_template(tmp_path: Path) -> None:
    """The user is told to fill it in; as it is it is refused, filled in it serves."""
    data = bars(tmp_path / "bones", 12)
    (data / "fracture").rename(data / "gap")
    settings = {"size": "32,32", "batch": 8}
    order = Training(data, tmp_path / "out", minutes=0.01, backbone="four-conv", settings=settings)
    lines = tool.run_training("images", order)
    assert "dentgate.json.example" in lines[-1]
    bundle = Path(lines[0].removeprefix("bundle "))
    (tmp_path / "bundles").mkdir()
    bundle = bundle.rename(tmp_path / "bundles" / "bones")
    (model,) = dropped_in(tmp_path / "bundles")
    assert "docs/training.md" in model.judge(Dataset()).reason
    text = (bundle / "dentgate.json.example").read_text()
    (bundle / "dentgate.json").write_text(text)
    (model,) = dropped_in(tmp_path / "bundles")
    assert "site 'SITE' is not known" in model.judge(Dataset()).reason
    (bundle / "dentgate.json").write_text(text.replace("CODE", "125605004").replace("SITE", "bone"))
    (model,) = dropped_in(tmp_path / "bundles")
    assert model.looks_for == ("SCT:125605004:gap", "SCT:125605004:normal")


def test_weights_of_another_network_are_refused_before_training(tmp_path: Path) -> None:
    """The checkpoint is named, and no step was done."""
    data = bars(tmp_path / "bones", 5)
    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    order = Training(data, tmp_path / "out", minutes=1, start=tmp_path / "other.pt", backbone="four-conv")
    with pytest.raises(ConfigurationError, match=r"other\.pt"):
        tool.run_training("images", order)
    assert not (tmp_path / "out" / "model.pt").exists()
