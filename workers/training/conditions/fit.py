"""Training of both networks of the condition model in the minutes given, calibration, and the bundle."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from workers.models.bundle import BUNDLES, load_bundle
from workers.models.conditions import HEADS, ToothConditions
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.models.tooth_crops import CHANNELS, MASKS
from workers.networks.condition_net import ConditionNet
from workers.networks.object_net import ObjectNet
from workers.training.conditions import measure
from workers.training.conditions.crops import Case, find_teeth, training_samples, without_surround
from workers.training.conditions.export import NAME, export_bundle, plan_summary
from workers.training.conditions.labels import read_films
from workers.training.conditions.objects import start_from_teeth, train_objects
from workers.training.images.fit import fit
from workers.training.images.plan import Augmentation, Plan
from workers.training.settings import with_settings
from workers.training.task import Training
from workers.training.teeth.export import write_json

SIZE = 80  # pixels of a crop: about those of the films it learns from, so that sharper films do not look different
CANVAS = (224, 448)
_OBJECT_SHARE = 0.45  # of the minutes
_WIDTHS, _BLOCKS = (32, 64, 128, 192), (1, 2, 2, 1)
_LEAST_HEAT = 0.1
_AUGMENTATION = Augmentation(
    rotation=8, zoom=0.12, stretch=0.08, shift=0.05, flip=False, contrast=0.25, gamma=0.35, blur=0.3, erasing=0.15,
    erased=0.25,
)  # fmt: skip
_TEETH = "teeth_panoramic"
_WATCHED = 2  # every other validation crop is looked at while it trains


def crop_plan(order: Training, minutes: float) -> Plan:
    """How the crops are trained; ``order.settings`` may change anything but the classes and channels."""
    plan = Plan(
        classes=HEADS,
        network={"_target_": "workers.networks.residual.SmallResNet", "widths": _WIDTHS, "blocks": _BLOCKS},
        minutes=minutes,
        size=(SIZE, SIZE),
        channels=CHANNELS,
        masks=MASKS,
        mean=(0.45, 0.3, 0.5),
        deviation=(0.3, 0.4, 0.3),
        batch=64,
        learning_rate=3e-3,
        smoothing=0.02,
        balance=0.6,
        averaging=0.998,
        seed=order.seed,
        threads=order.threads,
        device=order.device,
        augmentation=_AUGMENTATION,
    )
    return with_settings(plan, order.settings, "conditions")


def train(order: Training) -> Path:
    """Train; the folder of the bundle in ``order.out``. Raises ConfigurationError where the data are wrong."""
    films, held = read_films(order.data, "train"), read_films(order.data, "val")
    plan = crop_plan(order, (1 - _OBJECT_SHARE) * order.minutes)
    torch.set_num_threads(order.threads)
    order.out.mkdir(parents=True, exist_ok=True)
    teeth = PanoramicTeeth().load(order.device)
    rng = np.random.default_rng(order.seed)
    cases = find_teeth([film if rng.random() < 0.5 else without_surround(film) for film in films], teeth)  # noqa: PLR2004 - a fair coin
    samples = [sample for case in cases for sample in training_samples(case, SIZE, rng)]
    held_cases = find_teeth(held, teeth)
    shown = [sample for case in held_cases for sample in training_samples(case, SIZE, rng)]
    crops = fit(
        samples, shown[::_WATCHED], plan, order.out, start=order.start, frozen=order.frozen, resume=order.resume
    )
    definition, objects = objects_from_teeth()
    marked = [(case.jaws, case.film.boxes) for case in cases]
    objects = train_objects(objects, marked, CANVAS, _OBJECT_SHARE * order.minutes, order.seed, order.device)
    training = {"seed": order.seed, "minutes": order.minutes, "crops": plan_summary(plan)}
    bundle = assemble(crops, objects, definition, plan, training, order.out / NAME)
    calibrate(bundle, held_cases, order.device)
    return bundle


def objects_from_teeth() -> tuple[dict[str, Any], ObjectNet]:
    """The object network with the weights of the shipped tooth model, and its arguments."""
    settings = json.loads((BUNDLES / _TEETH / "configs" / "inference.json").read_text(encoding="utf-8"))
    definition = {key: value for key, value in settings["network_def"].items() if key != "_target_"}
    return definition, start_from_teeth(ObjectNet(**definition), load_bundle(BUNDLES / _TEETH).network)


def assemble(
    crops: nn.Module, objects: nn.Module, definition: dict[str, Any], plan: Plan, training: dict[str, Any], bundle: Path
) -> Path:
    """Both networks in one bundle, without calibration: certainties are plain, thresholds one half."""
    arguments = {key: value for key, value in plan.definition().items() if key != "_target_"}
    both = {"teeth": arguments, "objects": definition}
    network = ConditionNet(**both)
    network.teeth.load_state_dict(crops.state_dict())
    network.objects.load_state_dict(objects.state_dict())
    inference = {
        "heads": list(HEADS),
        "size": SIZE,
        "mean": list(plan.mean),
        "deviation": list(plan.deviation),
        "canvas": list(CANVAS),
        "least_heat": _LEAST_HEAT,
        "curves": [[1.0, 0.0]] * len(HEADS),
        "proposal_curves": [[1.0, 0.0, 0.0]] * len(HEADS),
        "thresholds": [[0.5] * len(HEADS)] * 2,
    }
    export_bundle(network, both, inference, training, bundle)
    return bundle


def calibrate(bundle: Path, cases: Sequence[Case], device: str = "auto") -> None:
    """Fit what the bundle says of certainties and thresholds, on films that trained nothing."""
    entries = measure.look(cases, ToothConditions(bundle).load(device))
    file = bundle / "configs" / "inference.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    write_json(file, settings | measure.calibration(entries))
