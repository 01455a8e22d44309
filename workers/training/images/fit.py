"""Time-boxed training of an image classifier: the learning rate follows the minutes, so it always ends annealed.

Pictures are changed in the process that learns (on two cores a second process would only take turns with it). The
weights kept are an exponential mean over the steps.
"""

import copy
import importlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import nn

from service.domain.errors import ConfigurationError
from workers.training.descent import check_loss
from workers.training.images.checkpoints import load_start, read_checkpoint
from workers.training.images.learner import Learner, loss_of, write_weights
from workers.training.images.plan import Plan
from workers.training.images.samples import Sample, check_samples
from workers.training.journal import Journal, read_journal
from workers.training.metrics import area_under_roc
from workers.training.progress import Progress

_SAVE_SECONDS = 120.0
_WATCH_SHARE = 0.12  # of the time may go into looking at the validation pictures


def fit(  # noqa: PLR0913 - five of them by name, with defaults
    train: Sequence[Sample],
    validation: Sequence[Sample],
    plan: Plan,
    out: Path,
    *,
    start: Path | str | None = None,
    frozen: bool = False,
    resume: bool = False,
    log: Progress | None = None,
) -> nn.Module:
    """Train a classifier.

    Writes ``out/model.pt`` (averaged weights), ``out/plan.json``, ``out/log.jsonl`` (losses, and loss and AUC on the
    validation pictures now and then), a TensorBoard log where TensorBoard is installed, and while it runs
    ``out/checkpoint.pt``.

    Args:
        train, validation: pictures of one shape; ``validation`` may be empty.
        plan: everything else.
        out: folder for the results; made if need be.
        start: weights to begin with, see ``checkpoints.load_start``.
        frozen: keep those weights as they are and train the rest.
        resume: go on with the run that ``out`` holds, if it holds one; what was trained to its end is given as it is.
        log: tells how far it is; None = standard output.

    Returns:
        The network with its averaged weights, on the CPU, set to inference.

    Raises:
        ConfigurationError: the pictures, the network or the checkpoint do not fit, before the first step; or the
            training diverged.
    """
    check_samples(train, plan.classes)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    network = build_network(plan)
    loaded = load_start(network, start) if start else frozenset[str]()
    out.mkdir(parents=True, exist_ok=True)
    if resume and _finished(plan, out):
        (log or Progress()).end(f"{out / 'model.pt'} was trained to its end before; without --resume it begins anew")
        return _trained(plan, out)
    learner = Learner(train, network, plan, loaded if frozen else frozenset())
    if resume:
        learner.restore(out / "checkpoint.pt")
        if not learner.steps:
            (log or Progress()).end(f"{out} holds no training that was stopped half-way: it begins anew")
    else:
        (out / "checkpoint.pt").unlink(missing_ok=True)  # of an earlier run, which nobody wants to go on with
    (out / "model.pt").unlink(missing_ok=True)
    (out / "plan.json").write_text(_text(plan), encoding="utf-8")
    with Journal(out, resumed=learner.steps > 0) as journal:
        _learn(learner, validation, out, journal, log or Progress())
    write_weights((learner.best or learner.averaged).cpu().state_dict(), out / "model.pt")
    (out / "checkpoint.pt").unlink(missing_ok=True)
    return _trained(plan, out)


def trained_minutes(plan: Plan, out: Path) -> float:
    """How long a training took, over all its runs; early stopping makes it shorter than the plan."""
    seconds = [line["seconds"] for line in read_journal(out) if "seconds" in line]
    return round(max(seconds) / 60, 1) if plan.patience and seconds else plan.minutes


def _text(plan: Plan) -> str:
    return json.dumps(asdict(plan), indent=2) + "\n"


def _finished(plan: Plan, out: Path) -> bool:
    """Whether ``out`` holds a training of the same plan that came to its end."""
    told = out / "plan.json"
    return (out / "model.pt").is_file() and told.is_file() and told.read_text(encoding="utf-8") == _text(plan)


def _trained(plan: Plan, out: Path) -> nn.Module:
    """The network as its file has it, so that nothing depends on whether it was trained in this run."""
    network = build_network(plan)
    network.load_state_dict(read_checkpoint(out / "model.pt"))
    return network.eval()


def build_network(plan: Plan) -> nn.Module:
    """The plan's network with random weights. Raises ConfigurationError where it cannot be built."""
    definition = plan.definition()
    module, _, name = str(definition.pop("_target_", "")).rpartition(".")
    try:
        network = getattr(importlib.import_module(module), name)(**definition)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        message = f"the network {plan.network} cannot be built: {error}"
        raise ConfigurationError(message) from error
    if not isinstance(network, nn.Module):
        message = f"{plan.network.get('_target_')} is no network"
        raise ConfigurationError(message)
    return network


def _learn(learner: Learner, validation: Sequence[Sample], out: Path, journal: Journal, told: Progress) -> None:
    plan = learner.plan
    before, began = learner.seconds, time.perf_counter()
    saved, looked, looks, losses = began, began, 0.0, list[float]()
    best, stale = learner.watched or (0.0, 0.0)
    while (done := learner.seconds / (60 * plan.minutes)) < 1 and not (plan.patience and stale >= plan.patience):
        losses.append(check_loss(learner.step(done), learner.steps))
        now = time.perf_counter()
        learner.seconds = before + now - began
        if learner.steps % learner.epoch == 0:
            line = {"epoch": learner.steps // learner.epoch, "seconds": round(learner.seconds, 1)}
            line["loss"] = round(float(np.mean(losses[-learner.epoch :])), 4)
            if validation and looks <= _WATCH_SHARE * (now - looked):
                line |= watch(learner.averaged, validation, plan)
                looked, looks = now, time.perf_counter() - now
                best, stale = (line["val_auc"], 0) if line["val_auc"] > best else (best, stale + 1)
                if plan.patience and not stale:
                    learner.best = copy.deepcopy(learner.averaged)
                learner.watched = (best, stale)
            journal.write(line)
            told.tell(", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in line.items()), done)
        if now - saved > _SAVE_SECONDS:
            learner.save(out / "checkpoint.pt")
            saved = now
    told.end(f"{learner.steps} steps in {learner.seconds / 60:.1f} minutes")


def watch(network: nn.Module, samples: Sequence[Sample], plan: Plan) -> dict[str, float]:
    """Loss and mean AUC over the classes: a glance at progress."""
    logits = logits_of(network, samples, plan)
    labels = np.stack([sample.labels for sample in samples])
    loss = float(loss_of(torch.from_numpy(logits), torch.from_numpy(labels), plan))
    scores = softmax(logits, 1) if plan.exclusive else logits
    areas = [
        area_under_roc(scores[known, k].astype(np.float64), labels[known, k] > 0)
        for k in range(labels.shape[1])
        if len(np.unique(labels[known := ~np.isnan(labels[:, k]), k])) > 1
    ]
    return {"val_loss": round(loss, 4), "val_auc": round(float(np.mean(areas or [0.5])), 4)}


def logits_of(
    network: nn.Module, samples: Sequence[Sample], plan: Plan, *, mirrored: bool = False
) -> NDArray[np.float32]:
    """Logits (n, classes) of pictures as they are, or of their mirror images."""
    network.eval()
    device, parts = next(network.parameters()).device, list[NDArray[np.float32]]()
    for first in range(0, len(samples), plan.batch):
        stack = np.stack([sample.pixels for sample in samples[first : first + plan.batch]]).transpose(0, 3, 1, 2)
        pixels = torch.from_numpy(stack / np.float32(255))
        if pixels.shape[-2:] != plan.size:
            pixels = torch.nn.functional.interpolate(pixels, plan.size, mode="bilinear", antialias=True)
        with torch.inference_mode():
            given = plan.normalize(pixels.flip(-1) if mirrored else pixels)
            parts.append(network(given.to(device, memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(parts)


def predict(
    network: nn.Module, samples: Sequence[Sample], plan: Plan, *, mirrored: bool = False
) -> NDArray[np.float64]:
    """Probabilities.

    Args:
        network: as ``fit`` gives it.
        samples: pictures; their labels are not looked at.
        plan: of the training.
        mirrored: mean of the logits of each picture and its mirror image.

    Returns:
        (n, classes); they sum to 1 where the classes exclude each other.
    """
    logits = torch.from_numpy(logits_of(network, samples, plan)).double()
    if mirrored:
        logits = (logits + torch.from_numpy(logits_of(network, samples, plan, mirrored=True)).double()) / 2
    probabilities: NDArray[np.float64] = (logits.softmax(1) if plan.exclusive else logits.sigmoid()).numpy()
    return probabilities
