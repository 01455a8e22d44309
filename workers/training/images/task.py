"""The tasks "images" (the user's own classes) and "fracture": from labelled pictures to a bundle and a report."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from service.domain.errors import ConfigurationError
from workers.inference import torch_device
from workers.models.image_classifier import ImageClassifier
from workers.training.bundles import hardware, note_figures, provenance, write_card
from workers.training.calibration import best_threshold, fit_platt, fit_softmax
from workers.training.classifier_report import classifier_page
from workers.training.images.export import Facts, Serving, export_bundle, write_mapping
from workers.training.images.fit import logits_of
from workers.training.images.members import (
    MEMBERS,
    SMALL,
    fit_members,
    folders_of,
    member_curves,
    members_of,
    minutes_of,
)
from workers.training.images.nothing import drawn_nothing
from workers.training.images.pictures import labelled, sample_of
from workers.training.images.plan import Augmentation, Plan
from workers.training.images.samples import Sample
from workers.training.leakage import Member, find_leakage
from workers.training.outcome import Outcome
from workers.training.progress import Progress
from workers.training.readers import Collection
from workers.training.report import Block, write_report
from workers.training.settings import FIXED, fitting
from workers.training.task import Evaluation, Training

#: Networks that the user may choose: the target, its arguments, and what of the plan goes with them.
BACKBONES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "small": ({"_target_": "workers.networks.residual.SmallResNet"}, {"size": (224, 224)}),
    "four-conv": ({"_target_": "workers.networks.convolutions.FourConvolutions"}, {"size": (160, 160)}),
    "resnet50": ({"_target_": "workers.networks.residual.ResNet", "depth": 50}, {"learning_rate": 3e-4}),
    "resnet152": ({"_target_": "workers.networks.residual.ResNet", "depth": 152}, {"learning_rate": 3e-4}),
    "resnet152v2": (
        {"_target_": "workers.networks.residual.ResNetV2", "depth": 152},
        {"learning_rate": 3e-4, "batch": 16},
    ),
    "vgg16": ({"_target_": "workers.networks.vgg.VGG16", "normalized": False}, {"learning_rate": 1e-4, "batch": 16}),
    "vgg16-bn": ({"_target_": "workers.networks.vgg.VGG16", "normalized": True}, {"learning_rate": 1e-4, "batch": 16}),
}
_COLOUR_MEAN, _COLOUR_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # those of ImageNet
_AUGMENTATION = {f.name for f in fields(Augmentation)}
_PLAN = {f.name for f in fields(Plan)} - FIXED - {"channels"}
_NOTED = ("headline", "images", "groups", "classes", "macro", "calibration_error")
_FEW = 2  # of either kind; fewer cannot be calibrated on


@dataclass(frozen=True, slots=True)
class Recipe:
    """What differs between tasks.

    Attributes:
        collection: the labelled pictures.
        facts: of the bundle.
        findings: class to key of ``service.domain.codes.FINDINGS``.
        percentiles: see ``workers.models.canvas.canvas_of``.
        channels: 1 or 3.
        backbone: the task's own.
        changes: fields of the plan.
        nothing: how many drawn pictures that show nothing are trained on; grey tasks only.
        members: networks whose mean answers, if the backbone is ``small``.
        caveats: for the report.
    """

    collection: Collection
    facts: Facts
    findings: dict[str, str]
    percentiles: tuple[float, float] | None
    channels: int
    backbone: str = "small"
    changes: dict[str, Any] = field(default_factory=dict)
    nothing: int = 0
    members: int = 1
    caveats: tuple[str, ...] = ()


class ImageTask:
    """Trains and measures a classifier of whole images."""

    def __init__(
        self,
        name: str,
        purpose: str,
        recipe: Callable[[Path, Path, int, str], Recipe],
        shipped: Path | None = None,
    ) -> None:
        """``recipe``: of (data, out, seed, split); ``shipped``: the bundle that is measured if no other is named."""
        self.name, self.purpose, self._recipe, self._shipped = name, purpose, recipe, shipped

    def train(self, order: Training) -> Path:
        """Train on split train, fit thresholds on split val, write bundle and report; the folder of the bundle.

        Raises:
            ConfigurationError: data, settings or checkpoint do not fit; before the first step.
        """
        recipe = self._recipe(order.data, order.out, order.seed, "")
        plan = plan_of(order, recipe)
        train, validation = (_samples(recipe.collection.part(part), plan, recipe) for part in ("train", "val"))
        rng = np.random.default_rng(plan.seed)
        train += drawn_nothing(recipe.nothing, plan.size, recipe.percentiles, len(plan.classes), rng)
        members = members_of(order.settings, recipe.members if plan.network["_target_"] == SMALL else 1)
        network, plan = fit_members(
            train, validation, plan, order.out, members, start=order.start, frozen=order.frozen, resume=order.resume
        )
        folders = folders_of(order.out, members)
        serving = serving_of(network, validation, plan, recipe)
        bundle = order.out / recipe.facts.name
        training = {
            "minutes": minutes_of(plan, folders),
            "start": str(order.start or "random weights"),
            "images": len(train),
            "hardware": hardware(torch_device(plan.device)),
        }
        words = provenance(replace(order, data=recipe.collection.folder)) | {"training": training}
        export_bundle(network, plan, bundle, recipe.facts, serving, words)
        if self._shipped is None:
            write_mapping(bundle, plan, recipe.facts, serving)
        curves = member_curves(folders)
        figures = self._measured(Evaluation(order.data, order.out, "val", bundle), curves)
        note_figures(bundle, {key: figures[key] for key in _NOTED})
        write_card(bundle)
        return bundle

    def evaluate(self, order: Evaluation) -> dict[str, Any]:
        """Measure a bundle by the code that serves; the report, also as report.json and report.html."""
        return self._measured(order)

    def _measured(self, order: Evaluation, curves: Sequence[Block] = ()) -> dict[str, Any]:
        bundle = order.bundle or self._shipped
        if bundle is None:
            message = "this task ships no bundle; name the one to measure with --bundle"
            raise ConfigurationError(message)
        recipe = self._recipe(order.data, order.out, 0, order.split)
        model = ImageClassifier(bundle, "auto")
        part = recipe.collection.part(order.split)
        if part.classes != model.settings.classes:
            message = f"the bundle tells {', '.join(model.settings.classes)} apart, the data {', '.join(part.classes)}"
            raise ConfigurationError(message)
        outcome, seconds = measure(model, part, stress=order.stress)
        parts = "as another device might make them" if order.stress else "as they are"
        facts = {
            "data": f"{order.data.name}, split {order.split}, {parts}",
            "bundle": bundle.name,
            "weights": model.algorithm.weights_sha256,
            "seconds per image": f"{seconds:.3f}",
        }
        leakage = find_leakage([Member(r.file, r.split, r.group) for r in recipe.collection.records])
        page = classifier_page(
            f"Task {self.name}",
            outcome,
            facts,
            leakage=leakage,
            caveats=recipe.caveats,
            more=curves,
        )
        write_report(order.out, page)
        return {"headline": page.headline, **page.figures}


def plan_of(order: Training, recipe: Recipe) -> Plan:
    """The plan of an order. Raises ConfigurationError for an unknown backbone or setting."""
    backbone = order.backbone or recipe.backbone
    if backbone not in BACKBONES:
        message = f"there is no backbone {backbone!r}; known: {', '.join(BACKBONES)}"
        raise ConfigurationError(message)
    network, going = BACKBONES[backbone]
    collection = recipe.collection
    grey = recipe.channels == 1
    plan = Plan(
        classes=collection.classes,
        network=network,
        minutes=order.minutes,
        exclusive=collection.exclusive,
        channels=recipe.channels,
        mean=(0.45,) if grey else _COLOUR_MEAN,
        deviation=(0.25,) if grey else _COLOUR_DEVIATION,
        seed=order.seed,
        threads=order.threads,
        device=order.device,
    )
    own = {key: value for key, value in order.settings.items() if key != MEMBERS}
    return changed(replace(plan, **(going | recipe.changes)), own)


def changed(plan: Plan, settings: dict[str, Any]) -> Plan:
    """A plan with settings by the names of its and the augmentation's fields.

    Raises:
        ConfigurationError: a name is unknown or a value does not fit.
    """
    for key, value in settings.items():
        if key not in _AUGMENTATION | _PLAN:
            message = f"there is no setting {key!r}; known: {', '.join(sorted(_PLAN | _AUGMENTATION))}"
            raise ConfigurationError(message)
        if key in _AUGMENTATION:
            changed_one = fitting(key, value, getattr(plan.augmentation, key))
            change: dict[str, Any] = {"augmentation": replace(plan.augmentation, **{key: changed_one})}
        else:
            change = {key: fitting(key, value, getattr(plan, key))}
        plan = replace(plan, **change)
    if len(plan.weights) not in {0, len(plan.classes)}:
        message = (
            f"setting weights has {len(plan.weights)} numbers; it must have one for each of {', '.join(plan.classes)}"
        )
        raise ConfigurationError(message)
    return plan


def _samples(part: Collection, plan: Plan, recipe: Recipe) -> list[Sample]:
    records = Progress().through(part.records, "reading images")
    return [sample_of(picture, plan.size, plan.channels, recipe.percentiles) for picture in labelled(records)]


def serving_of(network: nn.Module, validation: Sequence[Sample], plan: Plan, recipe: Recipe) -> Serving:
    """Calibration and thresholds from the validation pictures, looked at as the service will."""
    logits = (logits_of(network, validation, plan) + logits_of(network, validation, plan, mirrored=True)) / 2
    truth = np.stack([sample.labels for sample in validation])
    count = len(plan.classes)
    if plan.exclusive:
        slope, offsets = fit_softmax(logits.astype(np.float64), truth.argmax(1))
        shifted = tuple((slope, float(offset)) for offset in offsets)
        return Serving((1 / count,) * count, shifted, recipe.percentiles, findings=recipe.findings)
    curves, cuts = list[tuple[float, float]](), list[float]()
    for index in range(count):
        known = ~np.isnan(truth[:, index])
        curve, cut = calibrated(logits[known, index].astype(np.float64), truth[known, index] > 0)
        curves.append(curve)
        cuts.append(cut)
    return Serving(tuple(cuts), tuple(curves), recipe.percentiles, findings=recipe.findings)


def calibrated(logits: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[tuple[float, float], float]:
    """Slope and offset of Platt's curve, and the threshold on it with the most sensitivity and specificity together."""
    if min(truth.sum(), (~truth).sum()) < _FEW:
        return (1.0, 0.0), 0.5
    slope, offset = fit_platt(logits, truth)
    scores = 1 / (1 + np.exp(-(slope * logits + offset)))
    return (slope, offset), best_threshold(scores, truth, by="youden")


def measure(model: ImageClassifier, part: Collection, *, stress: bool = False) -> tuple[Outcome, float]:
    """What a bundle says of pictures, and the seconds that one took."""
    scores, seconds = list[NDArray[np.float64]](), 0.0
    for picture in labelled(Progress().through(part.records, "measuring"), stress=stress):
        began = time.perf_counter()
        pixels = picture.pixels.mean(2) if model.settings.channels == 1 and picture.pixels.ndim > 2 else picture.pixels  # noqa: PLR2004
        scores.append(model.read(pixels).probabilities)
        seconds += time.perf_counter() - began
    outcome = Outcome(
        classes=part.classes,
        scores=np.stack(scores),
        truth=part.truth,
        groups=[record.group for record in part.records],
        names=[record.file.name for record in part.records],
        exclusive=part.exclusive,
        thresholds=model.settings.thresholds,
        pictures=lambda index: _shown(next(iter(labelled([part.records[index]]))).pixels),
    )
    return outcome, seconds / len(scores)


def _shown(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(pixels * 255).astype(np.uint8)
