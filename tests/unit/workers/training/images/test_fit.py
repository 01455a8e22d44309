"""The core that trains image classifiers: it learns, resumes, balances, and refuses what cannot be trained on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.domain.errors import ConfigurationError
from workers.training.descent import Optimizer, Schedule
from workers.training.images.augment import augment
from workers.training.images.fit import build_network, fit, logits_of, predict
from workers.training.images.learner import Learner, loss_of
from workers.training.images.plan import Augmentation, Plan
from workers.training.images.samples import Sample, check_samples, drawing_chances
from workers.training.journal import read_journal

STILL = Augmentation(0, 0, 0, 0, flip=False, contrast=0, gamma=0, brightness=0, colour=0, blur=0, noise=0, erasing=0)
PLAN = Plan(
    classes=("square",),
    network={"_target_": "workers.networks.convolutions.FourConvolutions", "widths": [4, 8, 8, 16]},
    minutes=0.06,
    size=(32, 32),
    batch=16,
    learning_rate=5e-3,
    device="cpu",
)


def drawn(count: int, seed: int = 0, channels: int = 1) -> list[Sample]:
    """Noise, every second one with a bright square; two of a group."""
    rng, samples = np.random.default_rng(seed), []
    for number in range(count):
        pixels = rng.integers(0, 90, (32, 32, channels)).astype(np.uint8)
        if number % 2:
            top, left = rng.integers(2, 20, 2)
            pixels[top : top + 10, left : left + 10] += 120
        samples.append(Sample(pixels, np.array([number % 2], np.float32), f"{seed}-{number // 2}", str(number)))
    return samples


def test_it_learns(tmp_path: Path) -> None:
    """A few seconds tell squares from noise; the log has losses and AUC, and model.pt holds what was returned."""
    network = fit(drawn(64), drawn(24, seed=1), PLAN, tmp_path)
    probabilities = predict(network, drawn(24, seed=2), PLAN, mirrored=True)[:, 0]
    assert probabilities[1::2].min() > probabilities[::2].max()
    lines = read_journal(tmp_path)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert max(line.get("val_auc", 0) for line in lines) == 1
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert torch.equal(state["fc.weight"], network.state_dict()["fc.weight"])
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_training_that_diverged_ends(tmp_path: Path) -> None:
    """It does not train on for the hour with weights that are no numbers."""
    plan = replace(PLAN, deviation=(1e-38,), minutes=1)
    with pytest.raises(ConfigurationError, match="after 1 steps the loss is nan; set a smaller learning_rate"):
        fit(drawn(32), [], plan, tmp_path)


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """From the file that a killed run left, the same steps follow as without the kill."""
    torch.manual_seed(0)
    first = Learner(drawn(32), build_network(PLAN), PLAN, frozenset())
    for _ in range(3):
        first.step(0.5)
    first.seconds, first.watched = 1.5, (0.75, 2.0)
    first.save(tmp_path / "checkpoint.pt")
    second = Learner(drawn(32), build_network(PLAN), PLAN, frozenset())
    second.restore(tmp_path / "checkpoint.pt")
    assert (second.steps, second.seconds, second.watched) == (3, 1.5, (0.75, 2.0))
    resumed = [second.step(0.6) for _ in range(2)]
    torch.set_rng_state(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["torch_rng"])
    assert resumed == pytest.approx([first.step(0.6) for _ in range(2)])
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(ConfigurationError, match="damaged"):
        second.restore(tmp_path / "checkpoint.pt")


def test_resume_trains_for_the_time_that_is_left(tmp_path: Path) -> None:
    """A run whose time was nearly up when it was killed ends after a moment, and its log goes on."""
    plan = replace(PLAN, minutes=10)
    learner = Learner(drawn(32), build_network(plan), plan, frozenset())
    learner.step(0.9)
    learner.seconds = 599.8
    learner.save(tmp_path / "checkpoint.pt")
    (tmp_path / "log.jsonl").write_text('{"epoch": 0}\n', encoding="utf-8")
    fit(drawn(32), [], plan, tmp_path, resume=True)
    assert read_journal(tmp_path)[0] == {"epoch": 0}
    assert json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["minutes"] == 10


def test_resume_without_anything_to_resume_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed before its state was first kept, or another folder: nobody believes that it goes on."""
    fit(drawn(32), [], replace(PLAN, minutes=0.002), tmp_path, resume=True)
    assert f"{tmp_path} holds no training that was stopped half-way: it begins anew" in capsys.readouterr().out


def test_a_finished_training_is_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Resumed with the same plan its weights are given at once; another plan, or no resume, trains anew."""
    plan = replace(PLAN, minutes=0.005)
    first = fit(drawn(32), [], plan, tmp_path).state_dict()["fc.weight"]
    log = (tmp_path / "log.jsonl").read_bytes()
    again = fit(drawn(32), [], plan, tmp_path, resume=True).state_dict()["fc.weight"]
    assert torch.equal(again, first)
    assert "trained to its end before" in capsys.readouterr().out
    assert (tmp_path / "log.jsonl").read_bytes() == log
    assert not torch.equal(
        fit(drawn(32), [], replace(plan, seed=5), tmp_path, resume=True).state_dict()["fc.weight"], first
    )
    (tmp_path / "checkpoint.pt").write_bytes(b"of a run that was killed")
    fit(drawn(32), [], plan, tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    """Without hope of a better AUC it ends long before its minutes are over."""
    validation = [replace(s, labels=np.array([k % 4 > 1], np.float32)) for k, s in enumerate(drawn(8, seed=1))]
    network = fit(drawn(32), validation, replace(PLAN, minutes=1, patience=2), tmp_path)
    lines = [line for line in read_journal(tmp_path) if "val_auc" in line]
    assert lines[-1]["seconds"] < 30
    logits = logits_of(network, validation, PLAN)
    assert logits.shape == (8, 1)


def test_unknown_labels_teach_nothing() -> None:
    """The loss and its slope do not depend on the logit of an unknown label."""
    plan = replace(PLAN, classes=("a", "b"), smoothing=0)
    labels = torch.tensor([[1, torch.nan], [0, 1]])
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = loss_of(logits, labels, plan)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert loss.item() == pytest.approx(np.log(2))
    assert loss_of(logits, torch.tensor([[1.0, 0], [0, 1]]), replace(plan, exclusive=True)).item() == pytest.approx(
        np.log(2)
    )


def test_groups_count_once_and_rare_labels_as_often() -> None:
    """Ten copies of a picture are drawn as often as one of another group; balanced, either label half of the time."""
    copies = [replace(drawn(1)[0], group="copies") for _ in range(10)]
    others = [replace(s, labels=np.array([1], np.float32), group=str(k)) for k, s in enumerate(drawn(4, seed=1))]
    plain, balanced = drawing_chances(copies + others, 0), drawing_chances(copies + others, 1)
    assert plain[:10].sum() == pytest.approx(0.2)
    assert balanced[:10].sum() == pytest.approx(0.5)


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    """With ``frozen`` only what the checkpoint did not bring is trained."""
    before = build_network(PLAN).state_dict()
    torch.save(before, tmp_path / "start.pt")
    after = fit(drawn(32), [], replace(PLAN, minutes=0.01), tmp_path, start=tmp_path / "start.pt", frozen=True)
    state = after.state_dict()
    assert torch.equal(state["features.0.weight"], before["features.0.weight"])
    assert torch.equal(state["features.1.running_mean"], before["features.1.running_mean"])
    assert not torch.equal(state["fc.weight"], before["fc.weight"])


@pytest.mark.parametrize("bad", ["none", "shapes", "one class", "columns", "network"])
def test_bad_input_is_refused_before_the_first_step(bad: str, tmp_path: Path) -> None:
    """Each says what is wrong; nothing is written."""
    samples, plan = drawn(8), PLAN
    if bad == "shapes":
        samples = [*samples, replace(samples[0], pixels=np.zeros((16, 32, 1), np.uint8))]
    elif bad == "one class":
        samples = samples[::2]
    elif bad == "columns":
        plan = replace(plan, classes=("a", "b"))
    elif bad == "network":
        plan = replace(plan, network={"_target_": "workers.networks.convolutions.FiveConvolutions"})
    with pytest.raises(ConfigurationError):
        fit([] if bad == "none" else samples, [], plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    if bad == "one class":
        with pytest.raises(ConfigurationError, match="'square' has no example"):
            check_samples(samples, plan.classes)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_changes_a_picture_stays(channels: int) -> None:
    """With all changes off augmentation gives the picture back."""
    pixels = torch.from_numpy(np.stack([s.pixels for s in drawn(4, channels=channels)]).transpose(0, 3, 1, 2).copy())
    result = augment(pixels, (32, 32), STILL, np.random.default_rng(0))
    assert torch.allclose(result, pixels / 255, atol=1e-3)


def test_changes_come_from_the_generator_and_spare_masks() -> None:
    """The same seed gives the same pictures, another one others; a mask keeps its two values wherever it is moved."""
    pixels = torch.from_numpy(np.stack([s.pixels for s in drawn(4, channels=2)]).transpose(0, 3, 1, 2).copy())
    pixels[:, 1] = 255
    how = Augmentation(blur=1, erasing=1, noise=0.1, invert=0.5)
    first, same, other = (augment(pixels, (24, 24), how, np.random.default_rng(seed), 1) for seed in (0, 0, 1))
    assert first.shape == (4, 2, 24, 24)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    middle = first[:, 1, 8:16, 8:16]
    assert torch.allclose(middle, torch.ones_like(middle))


def test_a_turn_keeps_angles_on_an_oblong_picture() -> None:
    """A square on a picture twice as wide as high is turned, not sheared: its area stays."""
    pixels = torch.zeros(16, 1, 40, 80, dtype=torch.uint8)
    pixels[:, :, 12:28, 32:48] = 255
    turned = augment(pixels, (40, 80), replace(STILL, rotation=45), np.random.default_rng(0))
    assert turned.sum((1, 2, 3)).numpy() == pytest.approx(256, rel=0.03)


def test_learning_rate_ends_near_zero() -> None:
    """It warms up, and the last steps are small whatever the number of steps was."""
    rates = [PLAN.learning_rate_at(done) for done in (0, 0.05, 0.5, 1)]
    assert rates[0] < rates[1] > rates[2] > rates[3]
    assert rates[3] <= 0.011 * PLAN.learning_rate


@pytest.mark.parametrize(
    ("schedule", "shares"), [(Schedule.CONSTANT, (1, 1, 1, 1)), (Schedule.STEP, (1, 0.1, 0.01, 0.01))]
)
def test_other_schedules(schedule: Schedule, shares: tuple[float, ...]) -> None:
    """After the same warm-up constant stays, step falls at half and at three quarters of the time."""
    plan = replace(PLAN, schedule=schedule)
    assert plan.learning_rate_at(0) == pytest.approx(0.02 * PLAN.learning_rate)
    rates = [plan.learning_rate_at(done) for done in (0.2, 0.5, 0.75, 1)]
    assert rates == pytest.approx([share * PLAN.learning_rate for share in shares])


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_the_optimizer_is_the_one_that_was_chosen(optimizer: Optimizer) -> None:
    """AdamW and Adam are different things, and each does a step."""
    learner = Learner(drawn(32), build_network(PLAN), replace(PLAN, optimizer=optimizer), frozenset())
    assert type(learner.optimizer).__name__.lower() == optimizer
    before = learner.network.state_dict()["fc.weight"].clone()
    learner.step(0.5)
    assert not torch.equal(learner.network.state_dict()["fc.weight"], before)
