"""Training of both networks of the condition model in the minutes given, calibration, and the bundle."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from service.domain.errors import ConfigurationError
from workers.inference import torch_device
from workers.models.bundle import BUNDLES, load_bundle
from workers.models.conditions import HEADS, ToothConditions
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.models.tooth_crops import CHANNELS, MASKS
from workers.networks.condition_net import ConditionNet
from workers.networks.object_net import ObjectNet
from workers.training.bundles import hardware, write_json
from workers.training.conditions import measure
from workers.training.conditions.crops import Case, find_teeth, training_samples, without_surround
from workers.training.conditions.export import NAME, TEETH, export_bundle, plan_summary, words_of
from workers.training.conditions.labels import answered, examples, read_films
from workers.training.conditions.objects import CANVAS, ObjectPlan, forget, start_from_teeth, train_objects
from workers.training.conditions.start import Start, read_start
from workers.training.images.checkpoints import State
from workers.training.images.fit import build_network
from workers.training.images.members import MEMBERS, fit_members, folders_of, members_of
from workers.training.images.plan import Augmentation, Plan
from workers.training.images.samples import Sample
from workers.training.progress import Progress
from workers.training.settings import with_settings
from workers.training.task import Training

SIZE = 80  # pixels of a crop: about those of the films it learns from, so that sharper films do not look different
CROPS, OBJECTS = "crops", "objects"  #: folders of the two trainings in that of the order
USUAL_MEMBERS = 3  #: networks of the crops, whose mean answers
_OBJECT_SHARE = 0.45  # of the minutes
_WIDTHS, _BLOCKS = (32, 64, 128, 192), (1, 2, 2, 1)
_LEAST_HEAT = 0.1
_AUGMENTATION = Augmentation(
    rotation=8, zoom=0.12, stretch=0.08, shift=0.05, flip=False, contrast=0.25, gamma=0.35, blur=0.3, erasing=0.15,
    erased=0.25,
)  # fmt: skip
_WATCHED = 2  # every other validation crop is looked at while it trains
_GLANCE = 16  # validation films that the object network is looked at by
_NO = -10.0  # a logit


def crop_plan(order: Training, heads: Sequence[str] = HEADS) -> Plan:
    """How the crops are trained; ``order.settings`` may change anything but the heads and the channels."""
    plan = Plan(
        classes=HEADS,
        network={"_target_": "workers.networks.residual.SmallResNet", "widths": _WIDTHS, "blocks": _BLOCKS},
        minutes=(1 - _OBJECT_SHARE) * order.minutes,
        size=(SIZE, SIZE),
        channels=CHANNELS,
        masks=MASKS,
        mean=(0.45, 0.3, 0.5),
        deviation=(0.3, 0.4, 0.3),
        batch=64,
        learning_rate=2e-3,
        weight_decay=0.1,
        dropout=0.5,
        strength=1.6,
        smoothing=0.04,
        balance=0.6,
        averaging=0.998,
        seed=order.seed,
        threads=order.threads,
        device=order.device,
        augmentation=_AUGMENTATION,
    )
    if fixed := sorted({"classes", "channels", "masks"} & order.settings.keys()):
        message = f"setting {fixed[0]} of task conditions follows from its crops and labels; leave it out"
        raise ConfigurationError(message)
    own = {key: value for key, value in order.settings.items() if key != MEMBERS}
    plan = with_settings(plan, own, "conditions")
    if plan.size[0] != plan.size[1]:
        message = f"setting size is {plan.size}; crops of teeth are square"
        raise ConfigurationError(message)
    return replace(plan, classes=tuple(heads), channels=CHANNELS, masks=MASKS)


def object_plan(order: Training) -> ObjectPlan:
    """How the object network is trained: with the optimizer, schedule, patience and precision of the crops."""
    crops = crop_plan(order)
    return ObjectPlan(
        minutes=_OBJECT_SHARE * order.minutes,
        optimizer=crops.optimizer,
        schedule=crops.schedule,
        patience=crops.patience,
        mixed=crops.mixed,
        seed=order.seed,
        device=order.device,
    )


def train(order: Training) -> Path:
    """Train; the folder of the bundle in ``order.out``.

    Writes ``out/crops`` and ``out/objects`` (weights, plan and log of each network) and ``out/tooth_conditions``.

    Raises:
        ConfigurationError: the data, the settings or the start are wrong; before any network runs.
    """
    films, held = read_films(order.data, "train"), read_films(order.data, "val")
    said = answered(films, held)
    plan, objects = crop_plan(order, examples(films)), object_plan(order)
    start = read_start(order.start, build_network(plan), objects_from_teeth()[1]) if order.start else Start()
    if left_out := [head for head in HEADS if head not in said]:
        Progress().end(f"left out for want of an example in split train and in split val: {', '.join(left_out)}")
    torch.set_num_threads(order.threads)
    order.out.mkdir(parents=True, exist_ok=True)
    if not order.resume:
        forget(order.out / OBJECTS)
    teeth, rng = PanoramicTeeth().load(order.device), np.random.default_rng(order.seed)
    cases = find_teeth([film if rng.random() < 0.5 else without_surround(film) for film in films], teeth)  # noqa: PLR2004 - a fair coin
    held_cases = find_teeth(held, teeth)
    train_crops, watched = _crops(cases, plan, rng), _crops(held_cases, plan, rng)[::_WATCHED]
    weights = start.write_crops(order.out / CROPS)
    members = members_of(order.settings, USUAL_MEMBERS)
    crops, whole = fit_members(
        train_crops, watched, plan, order.out / CROPS, members, start=weights, resume=order.resume
    )
    definition, net = objects_from_teeth()
    net.load_state_dict(start.objects or net.state_dict())
    marked, held_marked = ([(case.jaws, case.film.boxes) for case in part] for part in (cases, held_cases))
    net = train_objects(net, marked, held_marked[:_GLANCE], objects, order.out / OBJECTS, resume=order.resume)
    training = {
        "seed": order.seed,
        "minutes": order.minutes,
        "films": len(films),
        "start": str(order.start or "crops from random weights, objects from teeth_panoramic"),
        "hardware": hardware(torch_device(order.device)),
        "members": members,
        "crops": plan_summary(plan),
        "objects": asdict(objects),
    }
    bundle = assemble(crops, net, definition, whole, words_of(order, said) | {"training": training}, order.out / NAME)
    calibrate(bundle, held_cases, said, order.device)
    return bundle


def _crops(cases: Sequence[Case], plan: Plan, rng: np.random.Generator) -> list[Sample]:
    """Of the heads of the plan; crops of which they say nothing are left out."""
    kept = [HEADS.index(head) for head in plan.classes]
    samples = [sample for case in cases for sample in training_samples(case, plan.size[0], rng)]
    samples = [replace(sample, labels=sample.labels[kept]) for sample in samples]
    return [sample for sample in samples if not np.isnan(sample.labels).all()]


def crop_folders(order: Training) -> list[Path]:
    """The folder of each network of the crops, with its log.jsonl."""
    return folders_of(order.out / CROPS, members_of(order.settings, USUAL_MEMBERS))


def objects_from_teeth() -> tuple[dict[str, Any], ObjectNet]:
    """The object network with the weights of the shipped tooth model, and its arguments."""
    settings = json.loads((BUNDLES / TEETH / "configs" / "inference.json").read_text(encoding="utf-8"))
    definition = {key: value for key, value in settings["network_def"].items() if key != "_target_"}
    return definition, start_from_teeth(ObjectNet(**definition), load_bundle(BUNDLES / TEETH).network)


def assemble(
    crops: nn.Module, objects: nn.Module, definition: dict[str, Any], plan: Plan, words: dict[str, Any], bundle: Path
) -> Path:
    """Both networks in one bundle, without calibration: certainties are plain, thresholds one half."""
    arguments = {key: value for key, value in plan.definition().items() if key != "_target_"}
    both = {"teeth": arguments | {"classes": len(HEADS)}, "objects": definition}
    network = ConditionNet(**both)
    network.teeth.load_state_dict(every_head(crops.state_dict(), plan.classes))
    network.objects.load_state_dict(objects.state_dict())
    inference = {
        "heads": list(HEADS),
        "size": plan.size[0],
        "mean": list(plan.mean),
        "deviation": list(plan.deviation),
        "canvas": list(CANVAS),
        "least_heat": _LEAST_HEAT,
        "curves": [[1.0, 0.0]] * len(HEADS),
        "proposal_curves": [[1.0, 0.0, 0.0]] * len(HEADS),
        "thresholds": [[0.5] * len(HEADS)] * 2,
    }
    export_bundle(network, both, inference, words, bundle)
    return bundle


def every_head(state: State, trained: Sequence[str]) -> State:
    """The last layer with a row for each head; those that were not trained say no to everything."""
    rows = [HEADS.index(head) for head in trained]
    weight = state["fc.weight"].new_zeros(len(HEADS), state["fc.weight"].shape[1])
    bias = state["fc.bias"].new_full((len(HEADS),), _NO)
    weight[rows], bias[rows] = state["fc.weight"], state["fc.bias"]
    return state | {"fc.weight": weight, "fc.bias": bias}


def calibrate(bundle: Path, cases: Sequence[Case], said: Sequence[str], device: str = "auto") -> None:
    """Fit what the bundle says of certainties and thresholds, on films that trained nothing; only ``said`` is said."""
    entries = measure.look(cases, ToothConditions(bundle).load(device))
    file = bundle / "configs" / "inference.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    write_json(file, settings | measure.calibration(entries, said))
