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
from workers.training.phantom import panoramic_phantom
from workers.training.task import Evaluation, Training
from workers.training.teeth.augment import augment, remove_teeth, surround
from workers.training.teeth.export import export_bundle
from workers.training.teeth.fit import fit, learning_rate
from workers.training.teeth.losses import tooth_loss
from workers.training.teeth.panoramics import (
    IGNORED,
    UNKNOWN,
    load_samples,
    phantom_samples,
    read_manifest,
    to_classes,
)
from workers.training.teeth.plan import Plan, plan_of
from workers.training.teeth.stress import other_scanner
from workers.training.teeth.targets import dense_targets
from workers.training.teeth.task import TEETH
from workers.training.teeth.windows import draw_window

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
    assert json.loads((tmp_path / "run/plan.json").read_text(encoding="utf-8"))["channels"] == [8, 8, 8]
    digest = load_bundle(bundle).algorithm.weights_sha256
    report = TEETH.evaluate(Evaluation(data, tmp_path / "report", bundle=bundle))
    written = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
    assert written["all"] == report["all"]
    assert report["all"]["images"] == report["groups"] == 1
    assert report["weights_sha256"] == digest
    assert "<html" in (tmp_path / "report/report.html").read_text(encoding="utf-8")
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
    (tmp_path / "odd.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match="does not hold weights"):
        fit(data, tmp_path, TINY, start=tmp_path / "odd.pt")


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
    assert np.nanmedian(ratios) > 0.08  # a window may have lost all its teeth


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
    given = (classes[:, None], targets.heat[None], targets.offsets[None], 1)
    losses = [float(tooth_loss(o, *given, targets.known[None]).total) for o in (right, wrong)]
    assert losses[0] < 0.2 * losses[1]


def test_what_is_unknown_teaches_nothing() -> None:
    """Where nobody knows, the loss is the same whatever the network says; elsewhere it is not."""
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 20:31], labels[5:35, 40:50] = 15, UNKNOWN
    classes = torch.tensor(to_classes(labels)).long()[None]
    assert (classes == IGNORED).sum() == 300
    targets = dense_targets(classes)
    assert targets.centres == 1
    given = (targets.classes[None], targets.heat[None], targets.offsets[None], 1, targets.known[None])
    output = torch.randn(1, 36, 40, 60, generator=torch.Generator().manual_seed(0))
    there, beside = output.clone(), output.clone()
    there[..., 5:35, 40:50] += 3 * torch.randn(1, 36, 30, 10, generator=torch.Generator().manual_seed(1))
    beside[..., 5:35, 0:10] += 3 * torch.randn(1, 36, 30, 10, generator=torch.Generator().manual_seed(1))
    before, unknown, known = (float(tooth_loss(o, *given).total) for o in (output, there, beside))
    assert unknown == pytest.approx(before, rel=1e-5)
    assert known != pytest.approx(before, rel=1e-3)


def test_windows_show_a_few_teeth() -> None:
    """A window holds at least two teeth and fewer than half the arch; on its canvas it keeps its shape."""
    (sample,) = phantom_samples([14])
    rng = np.random.default_rng(3)
    drawn = [window for window in (draw_window(sample.classes, rng) for _ in range(30)) if window is not None]
    assert len(drawn) > 20
    assert {window.bitewing for window in drawn} == {True, False}
    for window in drawn:
        x0, y0, x1, y1 = (round(v * 512) for v in window.box)
        part = sample.classes[max(y0, 0) : y1, max(x0, 0) : x1]
        assert 2 <= len(np.unique(part)) - 1 <= 16
        rows, columns = window.extent(sample.aspect, (256, 512))
        true_shape = sample.aspect * (window.box[2] - window.box[0]) / (window.box[3] - window.box[1])
        assert columns / rows == pytest.approx(true_shape, rel=0.05)
        assert np.hypot(rows, columns) == pytest.approx(256 * window.fill, rel=0.02)


def test_surrounds() -> None:
    """A surround hides the corners evenly and leaves the middle alone."""
    pixels = torch.rand(1, 1, 40, 80, generator=torch.Generator().manual_seed(0))
    hidden = surround(pixels, np.random.default_rng(0))
    assert len({float(hidden[0, 0, y, x]) for y in (0, -1) for x in (0, -1)}) == 1
    assert torch.equal(hidden[..., 10:30, 20:60], pixels[..., 10:30, 20:60])


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
