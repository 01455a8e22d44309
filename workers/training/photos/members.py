"""Train the networks of the photograph model one after the other, and put them into one bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.domain.errors import ConfigurationError
from workers.inference import torch_device
from workers.networks.photo_net import PhotoNet
from workers.training.bundles import hardware, provenance
from workers.training.images.fit import fit, trained_minutes
from workers.training.images.members import folders_of, members_of
from workers.training.images.plan import Plan
from workers.training.images.samples import Sample
from workers.training.photos.export import Parts, export_bundle
from workers.training.photos.plan import MEMBERS, plan_of
from workers.training.photos.scope import fit_scope
from workers.training.readers import Collection
from workers.training.task import Training


def train_members(order: Training, collection: Collection, train: list[Sample], validation: list[Sample]) -> Parts:
    """Train all networks; each has its folder in ``order.out``. Raises ConfigurationError before the first step."""
    networks, plans = list[PhotoNet](), list[Plan]()
    for member, folder in enumerate(member_folders(order)):
        plan = plan_of(order, collection.classes, member)
        networks.append(_fit(order, train, validation, plan, folder))
        plans.append(plan)
    return Parts(
        classes=collection.classes,
        members=networks,
        scope=fit_scope(networks[0], train, plans[0], np.random.default_rng(order.seed)),
        arguments=[_arguments(plan) for plan in plans],
        words=provenance(order) | {"training": _training(order, plans)},
        canvas=plans[0].size,
    )


def _training(order: Training, plans: Sequence[Plan]) -> dict[str, Any]:
    minutes = sum(trained_minutes(plan, folder) for plan, folder in zip(plans, member_folders(order), strict=True))
    told = {"seed": order.seed, "minutes": round(minutes, 1), "networks": len(plans)}
    start = {"start": str(order.start)} if order.start else {}
    return told | start | {"threads": order.threads, "hardware": hardware(torch_device(order.device))}


def member_folders(order: Training) -> list[Path]:
    """The folder of each network, with its log.jsonl."""
    return folders_of(order.out, members_of(order.settings, MEMBERS))


def bundle_of(parts: Parts, out: Path) -> Path:
    """Write the bundle; its folder."""
    bundle = out / "oral_photo"
    export_bundle(parts, bundle)
    return bundle


def _fit(order: Training, train: list[Sample], validation: list[Sample], plan: Plan, out: Path) -> PhotoNet:
    network = fit(train, validation, plan, out, start=order.start, frozen=order.frozen, resume=order.resume)
    if not isinstance(network, PhotoNet):
        message = f"photographs are read by PhotoNet only, not by {type(network).__name__}; change no network"
        raise ConfigurationError(message)
    return network


def _arguments(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value in plan.definition().items() if key != "_target_"}
