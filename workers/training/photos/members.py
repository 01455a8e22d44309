"""Train the networks of the photograph model one after the other, and put them into one bundle."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from service.domain.errors import ConfigurationError
from workers.networks.photo_net import PhotoNet
from workers.training.images.fit import build_network, fit
from workers.training.images.plan import Plan
from workers.training.images.samples import Sample
from workers.training.photos.export import Parts, export_bundle
from workers.training.photos.plan import members_of, plan_of
from workers.training.photos.scope import fit_scope
from workers.training.readers import Collection
from workers.training.task import Training


def train_members(order: Training, collection: Collection, train: list[Sample], validation: list[Sample]) -> Parts:
    """Train all networks; each has its folder in ``order.out``. Raises ConfigurationError before the first step."""
    networks, plans = list[PhotoNet](), list[Plan]()
    for member in range(members_of(order)):
        plan = plan_of(order, collection.classes, member)
        networks.append(_fit(order, train, validation, plan, order.out / f"member-{member}"))
        plans.append(plan)
    return Parts(
        classes=collection.classes,
        members=networks,
        scope=fit_scope(networks[0], train, plans[0], np.random.default_rng(order.seed)),
        arguments=[_arguments(plan) for plan in plans],
        training={
            "seed": order.seed,
            "minutes": order.minutes,
            "networks": len(networks),
            "hardware": f"{order.threads} thread of 2 shared CPU cores",
        },
        canvas=plans[0].size,
    )


def bundle_of(parts: Parts, out: Path) -> Path:
    """Write the bundle; its folder."""
    bundle = out / "oral_photo"
    export_bundle(parts, bundle)
    return bundle


def _fit(order: Training, train: list[Sample], validation: list[Sample], plan: Plan, out: Path) -> PhotoNet:
    """Train one network, unless a run that is gone on with had finished it; as its file has it."""
    weights = out / "model.pt"
    if not (order.resume and weights.is_file()):
        fit(train, validation, plan, out, start=order.start, frozen=order.frozen, resume=order.resume)
    network = build_network(plan)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    if not isinstance(network, PhotoNet):
        message = f"photographs are read by PhotoNet only, not by {type(network).__name__}; change no network"
        raise ConfigurationError(message)
    return network.eval()


def _arguments(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value in plan.definition().items() if key != "_target_"}
