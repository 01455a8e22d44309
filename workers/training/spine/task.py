"""The task ``spine``: vertebrae and Cobb angles."""

import dataclasses
from pathlib import Path
from typing import Any, cast

from service.domain.errors import ConfigurationError
from workers.training.leakage import Member, find_leakage
from workers.training.spine.calibrate import calibrate
from workers.training.spine.evaluate import evaluate
from workers.training.spine.export import export_bundle
from workers.training.spine.films import read_manifest, read_rows
from workers.training.spine.fit import fit
from workers.training.spine.plan import Plan
from workers.training.task import Evaluation, Training

_VERSION = "0.0.0"  # of a bundle that nobody has released


class SpineTask:
    """Corners of vertebrae on spine films, from corner files."""

    name = "spine"
    purpose = "vertebrae T1 to L5, Cobb angles and type of curve on spine films (corner files)"

    def train(self, order: Training) -> Path:
        """Train, export and calibrate; the folder of the bundle. Raises ConfigurationError before the first step."""
        plan = plan_of(order)
        if order.backbone or order.frozen:
            message = "task spine has one network, trained as a whole; leave --backbone and --frozen away"
            raise ConfigurationError(message)
        read_manifest(order.data, "val")  # the calibration at the end needs it
        weights = fit(order.data, order.out, plan, device=order.device, start=order.start, resume=order.resume)
        bundle = order.out / "spine_landmarks"
        export_bundle(weights, plan, bundle, _VERSION, {})
        calibrate(order.data, bundle)
        rows = [(split, row) for split in ("train", "val") for row in read_rows(order.data, split)]
        leakage = find_leakage([Member(order.data / row["file"], split, row["group"]) for split, row in rows])
        evaluate(Evaluation(order.data, order.out, bundle=bundle), order.out / "log.jsonl", leakage)
        return bundle

    def evaluate(self, order: Evaluation) -> dict[str, Any]:
        """Measure a bundle on films with corners, or with labels alone."""
        return evaluate(order)


def plan_of(order: Training) -> Plan:
    """The plan of an order. Raises ConfigurationError for a setting that it does not have."""
    known = {field.name for field in dataclasses.fields(Plan)}
    unknown = sorted(set(order.settings) - known)
    if unknown:
        message = f"task spine has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}"
        raise ConfigurationError(message)
    plan = Plan(minutes=order.minutes, seed=order.seed, threads=order.threads)
    values = {key: _like(getattr(plan, key), value, key) for key, value in order.settings.items()}
    return dataclasses.replace(plan, **cast("dict[str, Any]", values))


def _like(default: Any, value: Any, key: str) -> object:  # noqa: ANN401 - settings come from anywhere
    """A setting in the type of its default; text comes from a command line."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if isinstance(default, tuple):
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(int(part) for part in parts)
        return type(default)(value)
    except (KeyError, TypeError, ValueError) as error:
        message = f"setting {key} is {value!r}; it must be like {default!r}"
        raise ConfigurationError(message) from error


SPINE = SpineTask()
