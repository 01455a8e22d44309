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
from workers.models.arch import CLASS_OF, MIRRORED
from workers.models.bundle import load_bundle
from workers.networks.tooth_net import CLASSES, OFFSET_UNIT
from workers.training.augment import augment, remove_teeth
from workers.training.evaluate import evaluate
from workers.training.export import export_bundle
from workers.training.fit import learning_rate, train
from workers.training.losses import tooth_loss
from workers.training.panoramics import load_samples, phantom_samples, read_manifest
from workers.training.phantom import panoramic_phantom
from workers.training.plan import Plan
from workers.training.stress import other_scanner
from workers.training.targets import dense_targets

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


def test_train_export_load_evaluate(data: Path, tmp_path: Path) -> None:
    """Three seconds of training give weights, a log, a bundle that loads, and a report with all its figures."""
    weights = train("teeth", data, tmp_path / "run", 0.05, TINY)
    assert json.loads((tmp_path / "run/plan.json").read_text(encoding="utf-8"))["seed"] == 0
    digest = export_bundle(weights, TINY, tmp_path / "bundle", "0.0.1", {})
    assert load_bundle(tmp_path / "bundle").algorithm.weights_sha256 == digest
    report = evaluate("teeth", data, tmp_path / "report", "val", tmp_path / "bundle")
    assert report == json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8")) | {
        "f1_interval_95": report["f1_interval_95"]
    }
    assert report["all"]["images"] == report["groups"] == 1
    assert report["weights_sha256"] == digest


def test_half_precision_keeps_batch_statistics(tmp_path: Path) -> None:
    """Export rounds kernels only: a variance too large for half precision survives."""
    from workers.networks.tooth_net import ToothNet  # noqa: PLC0415

    net = ToothNet(TINY.channels, TINY.features, TINY.res_units)
    state = net.state_dict()
    key = next(k for k in state if k.endswith("running_var"))
    state[key] += 1e6
    torch.save(state, tmp_path / "model.pt")
    export_bundle(tmp_path / "model.pt", TINY, tmp_path / "bundle", "0.0.1", {})
    assert load_bundle(tmp_path / "bundle").network.state_dict()[key].max() > 1e6


@pytest.mark.parametrize("task", ["caries", ""])
def test_unknown_task(task: str, data: Path, tmp_path: Path) -> None:
    """An unknown task is one line, before anything is computed."""
    with pytest.raises(ConfigurationError, match="known: teeth"):
        train(task, data, tmp_path, 1)
    with pytest.raises(ConfigurationError, match="known: teeth"):
        evaluate(task, data, tmp_path)


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


def test_examples_keep_pixels_and_labels_together() -> None:
    """After any augmentation teeth are brighter than their surroundings: image and labels moved alike."""
    (sample,) = phantom_samples([11])
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(12):
        example = augment(sample, (128, 256), rng)
        assert example.pixels.shape == (1, 1, 128, 256)
        small = example.pixels[..., ::2, ::2]
        ratios.append(float(small[example.classes > 0].mean() - small[example.classes == 0].mean()))
    assert np.median(ratios) > 0.08


def test_mirroring_swaps_sides() -> None:
    """In every example, mirrored or not, quadrant 1 lies left of quadrant 2."""
    (sample,) = phantom_samples([12])
    rng = np.random.default_rng(1)
    for _ in range(12):
        columns = torch.nonzero(augment(sample, (128, 256), rng).classes[0, 0])
        classes = augment(sample, (128, 256), rng).classes[0, 0]
        right, left = ((classes >= a) & (classes <= a + 7) for a in (1, 9))
        if right.any() and left.any() and len(columns):
            assert torch.nonzero(right)[:, 1].float().mean() < torch.nonzero(left)[:, 1].float().mean()
    assert MIRRORED[CLASS_OF[48]] == CLASS_OF[38]


def test_removed_teeth_vanish() -> None:
    """A removed tooth loses its label and its brightness; its neighbours keep theirs."""
    (sample,) = phantom_samples([13])
    pixels = torch.tensor(sample.pixels[::2, ::2]).float()[None, None] / 255
    classes = torch.tensor(sample.classes[::4, ::4]).long()[None, None]
    gone = next(c for c in (CLASS_OF[46], CLASS_OF[47], CLASS_OF[36]) if (classes == c).any())
    after, left = remove_teeth(pixels, classes, [gone], np.random.default_rng(0))
    assert not (left == gone).any()
    assert ((left == classes) | (classes == gone)).all()
    there = torch.nn.functional.interpolate((classes == gone).float(), pixels.shape[-2:], mode="nearest") > 0
    assert after[there].mean() < pixels[there].mean() - 0.03


def test_targets_point_to_centres() -> None:
    """Every pixel of a tooth plus its offset is the centre of the tooth, where the heat is highest."""
    classes = torch.zeros(1, 40, 60, dtype=torch.long)
    classes[0, 10:30, 20:31] = 5
    targets = dense_targets(classes)
    row, column = divmod(int(targets.heat.argmax()), 60)
    assert (row, column) in {(19, 25), (20, 25)}
    assert targets.offsets[1, 15, 20] * OFFSET_UNIT == pytest.approx(5)
    assert targets.centres == 1


def test_loss_prefers_the_truth() -> None:
    """The loss of the right answer is far below that of background everywhere."""
    classes = torch.zeros(1, 40, 60, dtype=torch.long)
    classes[0, 10:30, 20:31] = 5
    targets = dense_targets(classes)
    right = torch.zeros(1, 36, 40, 60)
    right[:, :CLASSES] = 12 * torch.nn.functional.one_hot(classes, CLASSES).permute(0, 3, 1, 2)
    right[:, CLASSES] = torch.logit(targets.heat.clamp(1e-4, 1 - 1e-4))
    right[:, CLASSES + 1 :] = targets.offsets
    wrong = torch.zeros_like(right)
    wrong[:, 0], wrong[:, CLASSES] = 12, -9
    losses = [
        float(tooth_loss(o, classes[:, None], targets.heat[None], targets.offsets[None], 1).total)
        for o in (right, wrong)
    ]
    assert losses[0] < 0.2 * losses[1]


def test_learning_rate_warms_up_and_ends_at_nothing() -> None:
    """The learning rate rises, stays, and falls to about a hundredth by the end of the minutes."""
    plan = replace(TINY, minutes=1)
    rates = [learning_rate(plan, done) for done in (0.0, 0.03, 0.3, 0.7, 1.0)]
    assert rates[0] < rates[3] < rates[2] == pytest.approx(rates[1])
    assert rates[4] <= 0.011 * plan.learning_rate


@pytest.mark.parametrize("seed", range(6))
def test_other_scanner_keeps_every_tooth(seed: int) -> None:
    """Re-framing as another scanner cuts no tooth off and moves image and labels alike."""
    phantom = panoramic_phantom(seed, rows=256, columns=480)
    pixels, labels = other_scanner(
        phantom.pixels.astype(np.float32) / np.float32(4095), phantom.labels, np.random.default_rng(seed)
    )
    assert pixels.shape == labels.shape
    assert pixels.dtype == np.float32
    assert set(np.unique(labels)) == set(np.unique(phantom.labels))
    assert pixels[labels > 0].mean() > pixels[labels == 0].mean()
