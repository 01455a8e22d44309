"""From labelled films to a bundle that the gateway loads, in seconds: drawn panoramics with drawn labels."""

import json
import shutil
from collections.abc import Iterator
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
from workers.models.bundle import BUNDLES, own_version
from workers.models.conditions import CONDITIONS, HEADS, ToothConditions
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.models.tooth_crops import Jaws
from workers.networks.object_net import KINDS, ObjectNet
from workers.networks.residual import ResNet, SmallResNet
from workers.networks.several import apart
from workers.training.bundles import UNRELEASED
from workers.training.conditions import fit as training
from workers.training.conditions import objects
from workers.training.conditions.crops import image_of, without_surround
from workers.training.conditions.labels import Film, Labelled, read_films
from workers.training.conditions.start import read_start
from workers.training.conditions.task import TASK
from workers.training.phantom import panoramic_phantom
from workers.training.task import Evaluation, Training
from workers.training.teeth.scoring import truths_of

NAMES = {
    11: ("filling_or_crown", "filling"), 13: ("filling_or_crown", "crown"), 16: ("rct_or_implant", "rct"),
    26: ("rct_or_implant", "implant"), 36: ("impacted", "impacted"), 46: ("caries_destroyed", "root_stump"),
    33: ("filling_or_crown", "pontic"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def torch_only() -> Iterator[None]:
    """Networks run as they are: converting them takes longer than all that these tests do with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "OpenVinoRunner", lambda net, _shape: TorchRunner(net, torch.device("cpu")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn films, two to train on."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    manifest, boxes, again = ["file,split,group"], ["file,label,xmin,ymin,xmax,ymax"], list[str]()
    for seed in range(3):
        phantom = panoramic_phantom(seed, rows=256, columns=512, missing=())
        file = f"images/{seed}.png"
        Picture.fromarray((phantom.pixels >> 4).astype(np.uint8)).save(folder / file)
        manifest.append(f"{file},{'val' if seed == 2 else 'train'},{seed}")
        for truth in truths_of(phantom.labels):
            if truth.tooth in NAMES:
                first, second = NAMES[truth.tooth]
                line = ",".join([file, first, *(str(side) for side in truth.box)])
                boxes.append(line)
                again.append(f"{line},{second},high")
    (folder / "manifest.csv").write_text("\n".join(manifest) + "\n")
    (folder / "labels" / "boxes.csv").write_text("\n".join(boxes) + "\n")
    (folder / "labels" / "relabelled.csv").write_text("\n".join([f"{boxes[0]},new_label,confidence", *again]) + "\n")
    return folder


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a few seconds of training give."""
    return TASK.train(order_of(data, tmp_path_factory.mktemp("out")))


def order_of(data: Path, out: Path) -> Training:
    """Seconds of training of a small network, in epochs of one step: each is logged however slow the machine is."""
    small = {
        "batch": 64,
        "members": 2,
        "network": {"_target_": "workers.networks.residual.SmallResNet", "widths": [4], "blocks": [1]},
    }
    return Training(data, out, minutes=0.05, settings=small, device="cpu")


def unreachable(*_: object, **__: object) -> None:
    """In place of what must not be called."""
    pytest.fail("a network ran")


def test_training_makes_a_bundle_that_serves(bundle: Path, data: Path) -> None:
    """The bundle loads, says which algorithm it is, and gives each head a curve and two thresholds."""
    assert (bundle.parent / "report.html").is_file(), "the report of the training is missing"
    model = ToothConditions(bundle).load("cpu")
    assert model.algorithm.name == "tooth_conditions"
    assert model.algorithm.research
    assert model.settings.curves.shape == (len(HEADS), 2)
    assert model.settings.thresholds.shape == (2, len(HEADS))
    assert model.analyze(image_of(read_films(data, "val")[0].pixels)) == ()


def test_the_report_shows_both_trainings_and_the_splits(bundle: Path) -> None:
    """Learning curves of both networks, from logs with losses on both parts; and the check of the splits."""
    page = (bundle.parent / "report.html").read_text()
    for folder, name in (("crops/member-1", "network of the crops 2 of 2"), ("objects", "object network")):
        assert f"Learning curves, {name}" in page
        lines = [json.loads(line) for line in (bundle.parent / folder / "log.jsonl").read_text().splitlines()]
        assert all(line["loss"] > 0 for line in lines)
        assert any("val_loss" in line for line in lines)
    assert "Leakage between the parts" in page
    assert json.loads((bundle.parent / "report.json").read_text())["leakage"]["compared"] == {"train": 2, "val": 1}


def test_the_words_of_a_bundle_are_of_its_training(bundle: Path, data: Path) -> None:
    """Metadata, card and report speak of the images and the machine it was trained on, not of those of ours."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    shipped = json.loads((BUNDLES / "tooth_conditions" / "configs" / "metadata.json").read_text())
    assert metadata["version"] == own_version(UNRELEASED, metadata["weights_sha256"])
    assert data.name in metadata["data_source"]
    assert "2 images of 2 groups (split train)" in metadata["data_source"]
    assert "teeth_panoramic" in metadata["license"]
    assert metadata["training"]["hardware"] != shipped["training"]["hardware"]
    assert set(CONDITIONS) <= set(metadata["eval_metrics"]["validation"])
    card = (bundle / "docs" / "README.md").read_text()
    report = (bundle.parent / "report.html").read_text()
    assert data.name in card
    assert "crown: AUC" in card
    for words in (json.dumps(metadata), card, report):
        assert not {word for word in ("Kaggle", "clinician", "ellipse", "93 %") if word in words}


@pytest.fixture(scope="module")
def few(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same films with final labels of crowns and impacted teeth, and of an implant on a film for training alone."""
    folder = tmp_path_factory.mktemp("few")
    (folder / "labels").mkdir()
    (folder / "images").symlink_to(data / "images")
    shutil.copy(data / "manifest.csv", folder)
    head, *rows = (data / "labels" / "relabelled.csv").read_text().splitlines()
    lines = [",".join(head.split(",")[:6])]
    for row in rows:
        file, _, *box, label, _ = row.split(",")
        if label in {"crown", "impacted"} or (label == "implant" and file == "images/0.png"):
            lines.append(",".join([file, label, *box]))
    (folder / "labels" / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_conditions_without_examples_are_left_out(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels of a few conditions train a bundle that looks for these alone: it says of the others not even "absent"."""
    bundle = TASK.train(order_of(few, tmp_path / "out"))
    assert "filling, root-canal-treated, implant, destroyed-crown, pontic" in capsys.readouterr().out.splitlines()[0]
    model = ToothConditions(bundle)
    assert model.looks_for == ("crown", "impacted")
    assert ToothConditions().looks_for == CONDITIONS
    loaded = model.load("cpu")
    assert (loaded.settings.thresholds.min(0) > 1).tolist() == [head not in {"crown", "impacted"} for head in HEADS]
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["pred_classes"] == "crown, impacted"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(report["served"]) == {"crown", "impacted"}
    assert report["classes"]["filling"]["images"] == 0
    assert "does not look for filling" in (tmp_path / "out" / "report.html").read_text()


def test_no_network_runs_before_the_labels_are_checked(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes that nothing can be learnt from are refused at once, not after the tooth model ran over all films."""
    monkeypatch.setattr(PanoramicTeeth, "load", unreachable)
    boxes = few / "labels" / "boxes.csv"
    shutil.copytree(few, tmp_path / "data", symlinks=True)
    (tmp_path / "data" / "labels" / "boxes.csv").write_text(boxes.read_text().replace("crown", "caries"))
    with pytest.raises(pytest.fail.Exception):
        TASK.train(order_of(tmp_path / "data", tmp_path / "out"))  # impacted is left
    text = (tmp_path / "data" / "labels" / "boxes.csv").read_text().replace("impacted", "caries")
    (tmp_path / "data" / "labels" / "boxes.csv").write_text(text)
    with pytest.raises(ConfigurationError, match="no condition has a box in both"):
        TASK.train(order_of(tmp_path / "data", tmp_path / "out"))


def test_films_without_a_box_are_not_measured(few: Path, tmp_path: Path) -> None:
    """A split without a box is refused by name."""
    shutil.copytree(few, tmp_path / "data", symlinks=True)
    boxes = (few / "labels" / "boxes.csv").read_text().splitlines()
    (tmp_path / "data" / "labels" / "boxes.csv").write_text("\n".join(b for b in boxes if "2.png" not in b) + "\n")
    with pytest.raises(ConfigurationError, match=r"'val'.*has a box"):
        TASK.evaluate(Evaluation(tmp_path / "data", tmp_path / "out"))


@pytest.mark.parametrize("change", [{"backbone": "resnet50"}, {"frozen": True}])
def test_what_the_task_cannot_do_is_refused(data: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    """Another backbone or a frozen one is refused instead of ignored."""
    with pytest.raises(ConfigurationError, match="one network"):
        TASK.train(replace(order_of(data, tmp_path), **change))


def test_a_foreign_start_is_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of another network are refused before any network runs; the message says whose they look like."""
    monkeypatch.setattr(PanoramicTeeth, "load", unreachable)
    torch.save(ResNet(50, 2).state_dict(), tmp_path / "foreign.pt")
    with pytest.raises(ConfigurationError, match=r"looks like ResNet50; task conditions has one network"):
        TASK.train(replace(order_of(data, tmp_path / "out"), start=tmp_path / "foreign.pt"))


def test_a_bundle_is_a_start(bundle: Path) -> None:
    """Both networks of a bundle of this task can be gone on from; of the crops' own weights, that network alone."""
    own = json.loads((bundle / "configs" / "inference.json").read_text())["network_def"]
    definition, net = training.objects_from_teeth()
    assert definition == own["objects"]
    crops = SmallResNet(**{key: value for key, value in own["teeth"].items() if key != "members"})
    both = read_start(bundle / "models" / "model.pt", crops, net)
    weights = torch.load(bundle.parent / "objects" / "model.pt", weights_only=True)
    assert torch.allclose(net.state_dict()["objects.bias"], weights["objects.bias"])
    assert [set(member) for member in apart(both.crops)] == [set(crops.state_dict())] * 2
    alone = read_start(bundle.parent / "crops" / "member-1" / "model.pt", crops, net)
    assert set(alone.crops) == set(crops.state_dict())
    assert not alone.objects


def test_what_is_trained_is_not_trained_again(bundle: Path, data: Path, tmp_path: Path) -> None:
    """After a kill behind both trainings, ``--resume`` takes their weights as they are; without it both begin anew."""
    order = order_of(data, tmp_path / "out")
    for part in ("crops", "objects"):
        shutil.copytree(bundle.parent / part, order.out / part)
    files = [order.out / part / "log.jsonl" for part in ("crops/member-0", "crops/member-1", "objects")]
    logs = [file.read_bytes() for file in files]
    again = TASK.train(replace(order, resume=True))
    assert (again / "models" / "model.pt").read_bytes() == (bundle / "models" / "model.pt").read_bytes()
    assert [file.read_bytes() for file in files] == logs


class Killed(Exception):  # noqa: N818 - a kill is no error
    """In place of a signal."""


def test_the_object_network_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was saved before a kill is not repeated: weights, steps, time and log go on where they were."""
    step, plan = objects.Run.step, objects.ObjectPlan(minutes=5, size=(32, 64), batch=2, device="cpu")
    jaws = Jaws(np.random.default_rng(0).random((80, 160), np.float32), [])
    films = [(jaws, (Labelled((60, 30, 70, 50), np.zeros(len(HEADS), np.float32), "implant"),))]

    def killed(run: objects.Run, batch: tuple[torch.Tensor, torch.Tensor]) -> float:
        if run.steps == 3:
            raise Killed
        return step(run, batch)

    def again(plan: objects.ObjectPlan, *, resume: bool) -> ObjectNet:
        return objects.train_objects(small_run(mixed=False).net, films, films, plan, tmp_path, resume=resume)

    monkeypatch.setattr(objects, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(objects.Run, "step", killed)
    with pytest.raises(Killed):
        again(plan, resume=False)
    monkeypatch.undo()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    little = replace(plan, minutes=(saved["done"][1] + 0.5) / 60)
    net = again(little, resume=True)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines[:3]] == [1, 2, 3]
    assert lines[-1]["step"] > 3
    assert lines[-1]["seconds"] >= saved["done"][1]
    assert not (tmp_path / "checkpoint.pt").exists()
    monkeypatch.setattr(objects.Run, "step", unreachable)
    kept = again(little, resume=True).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())


def test_the_object_network_ends_when_it_does_not_get_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With patience it ends after so many looks at the held films without a smaller loss, with the best weights."""
    plan = objects.ObjectPlan(minutes=5, size=(32, 64), batch=2, patience=2, device="cpu")
    losses, kept = iter([0.5, 0.3, 0.4, 0.6]), list[dict[str, torch.Tensor]]()

    def told(run: objects.Run, _films: object) -> float:
        kept.append({name: value.clone() for name, value in run.averaged.state_dict().items()})
        return next(losses)

    monkeypatch.setattr(objects, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(objects.Run, "loss_on", told)
    jaws = Jaws(np.random.default_rng(0).random((80, 160), np.float32), [])
    films = [(jaws, (Labelled((60, 30, 70, 50), np.zeros(len(HEADS), np.float32), "implant"),))]
    found = objects.train_objects(small_run(mixed=False).net, films, films, plan, tmp_path)
    assert len(kept) == 4
    assert all(torch.equal(value, kept[1][name]) for name, value in found.state_dict().items())


def test_a_run_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    """A damaged checkpoint is named; one of an earlier run in the same folder is forgotten by a new order."""
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match="checkpoint"):
        small_run(mixed=False).restore(tmp_path / "checkpoint.pt")
    objects.forget(tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def small_run(*, mixed: bool) -> objects.Run:
    """Of the object network, before its first step."""
    net = ObjectNet(channels=(8, 16), features=8)
    return objects.Run(net, objects.ObjectPlan(minutes=1, mixed=mixed, device="cpu"))


@pytest.mark.parametrize("mixed", [True, False])
def test_mixed_precision_of_the_object_network(mixed: bool) -> None:  # noqa: FBT001 - a test parameter
    """With the setting it computes in bfloat16 and keeps its loss and weights in float32; without, all in float32."""
    run, seen = small_run(mixed=mixed), list[torch.dtype]()
    run.net.objects.register_forward_hook(lambda _module, _given, made: seen.append(made.dtype))
    targets = torch.zeros(1, len(KINDS) + 3, 16, 32)
    targets[0, 0, 5, 5] = 1
    run.seconds = 30
    before = run.net.objects.bias.detach().clone()
    assert run.step((torch.randn(1, 1, 32, 64), targets)) > 0
    assert seen == [torch.bfloat16 if mixed else torch.float32]
    assert run.net.objects.bias.dtype == torch.float32
    assert not torch.equal(run.net.objects.bias, before)


def test_mixed_holds_for_both_networks(data: Path, tmp_path: Path) -> None:
    """``--set mixed=true`` reaches the crops and the objects; crops that are not square are refused."""
    order = replace(order_of(data, tmp_path), settings={"mixed": "true", "size": "96,96"})
    assert training.crop_plan(order).mixed
    assert training.crop_plan(order).size == (96, 96)
    assert training.object_plan(order).mixed
    with pytest.raises(ConfigurationError, match="square"):
        training.crop_plan(replace(order, settings={"size": "96,80"}))


def test_evaluation_writes_a_report(bundle: Path, data: Path, tmp_path: Path) -> None:
    """Every condition is counted once for each labelled tooth, found or not; the report lies beside its figures."""
    report = TASK.evaluate(Evaluation(data, tmp_path, bundle=bundle))
    assert {name: row["labelled"] for name, row in report["served"].items()} == dict.fromkeys(CONDITIONS, 1)
    assert sum(row["boxes"] for row in report["routes"].values()) == len(NAMES)
    assert "crown" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["boxes"]["images"] == len(NAMES)


def test_settings_of_another_model_are_refused(bundle: Path, tmp_path: Path) -> None:
    """A bundle whose heads stand in another order is refused by name, before it says nonsense."""
    for part in ("configs", "models"):
        (tmp_path / part).symlink_to(bundle / part)
    (tmp_path / "configs").unlink()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_bytes((bundle / "configs" / "metadata.json").read_bytes())
    settings = json.loads((bundle / "configs" / "inference.json").read_text())
    settings["heads"] = settings["heads"][::-1]
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigurationError, match="tooth_conditions"):
        ToothConditions(tmp_path).load("cpu")


def test_unknown_settings_are_refused(data: Path, tmp_path: Path) -> None:
    """A misspelt setting is an error before training, not a training without it."""
    with pytest.raises(ConfigurationError, match="learning_speed"):
        TASK.train(Training(data, tmp_path, minutes=0.01, settings={"learning_speed": 1}))


def test_the_white_around_a_film_is_filled() -> None:
    """An ellipse on white loses its white corners and keeps its place; a film without stays as it is."""
    rows, columns = 200, 400
    y, x = np.mgrid[-1:1:200j, -1:1:400j]
    plain = np.full((rows, columns), 90, np.uint8)
    film = Film(np.where(x * x + y * y > 0.98, 255, plain).astype(np.uint8), (), "g", "n")
    filled = without_surround(film)
    assert filled.pixels.shape == (rows, columns)
    assert filled.pixels.max() < 130
    assert (without_surround(replace(film, pixels=plain)).pixels == plain).all()
