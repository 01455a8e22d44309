"""``dentgate train``, ``evaluate`` and ``tune``: bring the data into one layout, check them, hand over to the task."""

import json
import math
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
from workers.training.seen import note_seen, seen_among
from workers.training.task import Evaluation, Training
from workers.training.tasks import Entry, find_task
from workers.training.tune import tune

PHANTOM = "phantom"  #: a split that is drawn, not read
_LIBRARIES = ("torchvision:", "timm:")  # whose weights can be had by name, see ``images.checkpoints``
_FLATTERED = "NOT TO BE TRUSTED"  # figures on images of the training
_OPTIONS = frozenset(
    {"minutes", "seed", "threads", "device", "backbone", "start", "frozen", "folds", "trials"}
)  # not for --set


def run_training(name: str, order: Training, folds: int = 0) -> list[str]:
    """Train a task, or ``folds`` times in turn; what was made, in lines for the user. Raises ConfigurationError."""
    entry = find_task(name)
    _check_numbers(order, folds=(folds, 0))
    prepared = _prepared(entry, order)
    _note("train", name, order, {"folds": str(folds)} if folds else {})
    order, task = prepared, entry.load()
    if folds:
        report = cross_validate(task, order, folds, labelled=entry.labelled)
        return [str(report["headline"]), f"report {order.out / 'report.html'}"]
    bundle = task.train(order)
    note_seen(bundle, order.data)
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
    bundle, told = _bundle(entry, order), (f" --bundle {order.bundle}" if order.bundle else "")
    command = f"dentgate evaluate {name} --data {order.data} --out {order.out} --split {order.split}"
    facts = {"command": f"{command}{' --stress' if order.stress else ''}{told}", **_trained(bundle)}
    if order.split != PHANTOM:
        # Where parts must be made, the seed of the training makes those that it had.
        data = prepare(order.data, order.out, _seed(bundle), order.split, boxed=entry.boxed)
        files = [data / row["file"] for row in read_rows(data) if row.get("split") == order.split]
        check_files(data, [row for row in read_rows(data) if row.get("split") == order.split])
        order = replace(order, data=data)
        if seen := seen_among(bundle, files):
            facts[_FLATTERED] = f"the bundle was trained on {seen} of these {len(files)} images"
    note_order(order.out, facts)
    report = entry.load().evaluate(order)
    lines = [str(report["headline"])] if "headline" in report else []
    lines += [f"{_FLATTERED}: {facts[_FLATTERED]}"] if _FLATTERED in facts else []
    return [*lines, f"report {order.out / 'report.html'}"]


def _bundle(entry: Entry, order: Evaluation) -> Path:
    """The folder of the bundle to measure. Raises ConfigurationError where it is none."""
    bundle = order.bundle or BUNDLES / (entry.bundle or ".")
    if (bundle / "configs" / "metadata.json").is_file():
        return bundle
    message = f"--bundle {bundle} is no bundle (no configs/metadata.json); name the folder that the training printed"
    if order.bundle is None:
        message = f"task {entry.name} ships no bundle; name the one to measure with --bundle"
    raise ConfigurationError(message)


def _trained(bundle: Path) -> dict[str, str]:
    """How the weights of a bundle were made, in words."""
    training = _training(bundle)
    told = [f"{key} {training[key]}" for key in ("minutes", "seed", "start", "hardware") if key in training]
    return {"weights trained": ", ".join(told)} if told else {}


def _seed(bundle: Path) -> int:
    seed = _training(bundle).get("seed")
    return seed if isinstance(seed, int) and seed >= 0 else 0


def _training(bundle: Path) -> dict[str, Any]:
    """What the metadata of a bundle say of its training."""
    try:
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        return dict(metadata.get("training", {}))
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # the task says what is wrong with it


def run_search(name: str, order: Training, trials: int) -> list[str]:
    """Search for settings; the best, in lines for the user. Raises ConfigurationError."""
    entry = find_task(name)
    _check_numbers(order, trials=(trials, 1))
    prepared = _prepared(entry, order)
    _note("tune", name, order, {"trials": str(trials)})
    report = tune(entry.load(), prepared, trials)
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


def _check_numbers(order: Training, **more: tuple[int, int]) -> None:
    """``more``: of options of one command, the number and the least that it may be."""
    if not 0 < order.minutes < math.inf:
        message = f"--minutes {order.minutes:g}: a training needs more than 0"
        raise ConfigurationError(message)
    for name, (value, least) in {"seed": (order.seed, 0), "threads": (order.threads, 1), **more}.items():
        if value < least:
            message = f"--{name} {value}: the least is {least}"
            raise ConfigurationError(message)


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
        if key in _OPTIONS:
            message = f"--set {pair}: it is an option of its own, --{key} {value}"
            raise ConfigurationError(message)
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings
