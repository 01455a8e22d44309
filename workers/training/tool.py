"""``dentgate train``, ``evaluate`` and ``tune``: bring the data into one layout, check them, hand over to the task."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.domain.errors import ConfigurationError
from workers.models.bundle import BUNDLES
from workers.models.mapping import NAME
from workers.training.bundles import UNRELEASED, released
from workers.training.checks import check_files, check_training_data
from workers.training.cross_validation import cross_validate
from workers.training.layouts import prepare
from workers.training.readers import read_rows
from workers.training.report import note_order
from workers.training.task import Evaluation, Training
from workers.training.tasks import Entry, find_task
from workers.training.tune import tune

PHANTOM = "phantom"  #: a split that is drawn, not read
_LIBRARIES = ("torchvision:", "timm:")  # whose weights can be had by name, see ``images.checkpoints``


def run_training(name: str, order: Training, folds: int = 0) -> list[str]:
    """Train a task, or ``folds`` times in turn; what was made, in lines for the user. Raises ConfigurationError."""
    entry = find_task(name)
    _note("train", name, order, {"folds": str(folds)} if folds else {})
    order = _prepared(entry, order)
    task = entry.load()
    if folds:
        report = cross_validate(task, order, folds, labelled=entry.labelled)
        return [str(report["headline"]), f"report {order.out / 'report.html'}"]
    bundle = task.train(order)
    lines = [f"bundle {bundle}", f"report {order.out / 'report.html'}"]
    lines = [line for line in lines if Path(line.partition(" ")[2]).exists()]
    return [*lines, *_of_a_release(bundle), *_to_fill_in(bundle)]


def _of_a_release(bundle: Path) -> list[str]:
    """That weights which took the place of released ones have a version, but not yet words of their own."""
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    version = str(metadata.get("version", ""))
    if released(metadata) in {UNRELEASED, version}:
        return []
    told = (
        f"version {version}: other weights than those released as {released(metadata)}, whose data_source, license and "
        f"card still stand in {file} and docs/README.md; mend them, and give these weights a version of their own"
    )
    return [told]


def _to_fill_in(bundle: Path) -> list[str]:
    """What a person must add to a bundle before it can serve."""
    if (bundle / NAME).is_file() or not (bundle / f"{NAME}.example").is_file():
        return []
    todo = (
        f"to serve it: no class is called like a finding that has codes; fill in {bundle / NAME}.example (finding: one "
        f"of ours, or scheme, code and meaning; site) and save it as {NAME}; take out the classes that are no finding"
    )
    return [todo]


def run_evaluation(name: str, order: Evaluation) -> list[str]:
    """Measure a bundle; the result in lines for the user. Raises ConfigurationError."""
    entry = find_task(name)
    stress, bundle = (" --stress" if order.stress else ""), (f" --bundle {order.bundle}" if order.bundle else "")
    command = f"dentgate evaluate {name} --data {order.data} --out {order.out} --split {order.split}{stress}{bundle}"
    shipped = BUNDLES / entry.bundle if entry.bundle else None
    note_order(order.out, {"command": command, **_trained(order.bundle or shipped)})
    if order.split != PHANTOM:
        order = replace(order, data=prepare(order.data, order.out, 0, order.split, boxed=entry.boxed))
        check_files(order.data, [row for row in read_rows(order.data) if row.get("split") == order.split])
    report = entry.load().evaluate(order)
    lines = [str(report["headline"])] if "headline" in report else []
    return [*lines, f"report {order.out / 'report.html'}"]


def _trained(bundle: Path | None) -> dict[str, str]:
    """How the weights of a bundle were made, as its metadata say."""
    try:
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8")) if bundle else {}
        training = metadata.get("training", {})
        told = [f"{key} {training[key]}" for key in ("minutes", "seed", "start", "hardware") if key in training]
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # the task says what is wrong with it
    return {"weights trained": ", ".join(told)} if told else {}


def run_search(name: str, order: Training, trials: int) -> list[str]:
    """Search for settings; the best, in lines for the user. Raises ConfigurationError."""
    entry = find_task(name)
    _note("tune", name, order, {"trials": str(trials)})
    report = tune(entry.load(), _prepared(entry, order), trials)
    return [str(report["headline"]), f"report {order.out / 'report.html'}"]


def _note(verb: str, name: str, order: Training, more: dict[str, str]) -> None:
    """Keep the order for the reports: the command that repeats it, and what it says."""
    chosen = {"start": order.start, "backbone": order.backbone, "device": order.device, **more}
    parts = [f"--{key} {value}" for key, value in chosen.items() if value not in {None, "", "auto"}]
    parts += ["--frozen"] if order.frozen else []
    parts += [f"--set {key}={json.dumps(value)}" for key, value in order.settings.items()]
    fixed = f"--data {order.data} --out {order.out} --minutes {order.minutes:g} --seed {order.seed}"
    command = " ".join([f"dentgate {verb} {name}", fixed, *parts])
    note_order(order.out, {"command": command, "seed": str(order.seed), "minutes": f"{order.minutes:g}"})


def _prepared(entry: Entry, order: Training) -> Training:
    _check_start(entry, order)
    data = prepare(order.data, order.out, order.seed, boxed=entry.boxed)
    check_training_data(data, labelled=entry.labelled)
    return replace(order, data=data)


def _check_start(entry: Entry, order: Training) -> None:
    if order.frozen and order.start is None:
        message = "--frozen keeps the weights of --start, which is not given: random weights would stay as they are"
        raise ConfigurationError(message)
    named = str(order.start).startswith(_LIBRARIES)
    if named and not entry.backbones:
        message = f"--start {order.start}: task {entry.name} has a network of its own; give a file of its weights"
        raise ConfigurationError(message)
    if order.start is not None and not named and not order.start.is_file():
        message = f"--start {order.start}: there is no such file (by name: torchvision:resnet50, timm:resnet50)"
        raise ConfigurationError(message)


def settings_of(pairs: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` to settings; a value that is JSON (number, true, list) is taken as such, else as text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            message = f"--set {pair}: it must be KEY=VALUE, for example --set learning_rate=0.001"
            raise ConfigurationError(message)
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings
