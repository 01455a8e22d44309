"""Search for settings with Optuna: short trainings, each measured on the validation part; resumable, and reported.

The search is kept in ``out/tune.db``: the same command again goes on where it stopped. What it finds is a setting, not
a figure: the best of many on one part flatters, so train again with it and measure elsewhere.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service.domain.errors import ConfigurationError
from workers.training.aims import aim_of
from workers.training.charts import Axis, Line, line_chart
from workers.training.report import Block, Charts, Page, Table, write_report
from workers.training.task import Task, Training

if TYPE_CHECKING:
    import optuna

Suggest = Callable[["optuna.Trial"], object]


def _share(name: str, most: float) -> dict[str, Suggest]:
    return {name: lambda trial: trial.suggest_float(name, 0.0, most)}


_GRADIENT: dict[str, Suggest] = {
    "learning_rate": lambda trial: trial.suggest_float("learning_rate", 2e-4, 1e-2, log=True),
    "weight_decay": lambda trial: trial.suggest_float("weight_decay", 1e-4, 0.2, log=True),
}
_CLASSIFIER: dict[str, Suggest] = _GRADIENT | {
    "dropout": lambda trial: trial.suggest_float("dropout", 0.0, 0.6),
    "strength": lambda trial: trial.suggest_float("strength", 0.3, 2.0),
}
_CHOSEN: dict[str, Suggest] = _CLASSIFIER | {
    "backbone": lambda trial: trial.suggest_categorical("backbone", ["small", "four-conv"]),
}
_DENSE: dict[str, Suggest] = _GRADIENT | _share("small_share", 0.7) | _share("phantom_share", 0.3)
#: What is searched for each task: settings that its plan knows. ``backbone`` goes where --backbone goes.
SPACES: dict[str, dict[str, Suggest]] = {
    "teeth": _DENSE | _share("transplant_share", 0.8) | _share("few_share", 0.7),
    "spine": _DENSE,
    "conditions": _CLASSIFIER,
    "photos": _CLASSIFIER,
    "fracture": _CHOSEN,
    "images": _CHOSEN,
    "scoliosis": _CHOSEN,
}


def tune(task: Task, order: Training, trials: int, batch: Callable[[str], None] = print) -> dict[str, Any]:
    """Search, and write a report with every trial; gives the best settings and their figure.

    Args:
        task: what is trained.
        order: ``minutes`` are those of each trial; its settings stay fixed.
        trials: how many in all, those of earlier runs in the same folder included.
        batch: tells a line.

    Raises:
        ConfigurationError: Optuna is not installed, or as the task raises it.
    """
    optuna = _optuna()
    order.out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=task.name,
        storage=f"sqlite:///{order.out / 'tune.db'}",
        sampler=optuna.samplers.TPESampler(seed=order.seed),
        direction="maximize",
        load_if_exists=True,
    )
    space = {key: suggest for key, suggest in SPACES.get(task.name, _GRADIENT).items() if key not in order.settings}
    if order.backbone:
        space.pop("backbone", None)
    while len(finished := _finished(study)) < trials:
        trial = study.ask()
        wanted = {key: suggest(trial) for key, suggest in space.items()}
        aim, value = _try(task, order, trial.number, wanted)
        trial.set_user_attr("aim", aim)
        study.tell(trial, value)
        batch(f"trial {len(finished) + 1} of {trials}: {aim} {abs(value):.4f} with {_shown(wanted)}")
    return _report(task, order, study)


def _optuna() -> Any:  # noqa: ANN401 - a module
    try:
        import optuna  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        message = "tune needs Optuna: install dentgate[train], for example pip install 'dentgate[train]'"
        raise ConfigurationError(message) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _finished(study: "optuna.Study") -> list[Any]:
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _try(task: Task, order: Training, number: int, wanted: dict[str, object]) -> tuple[str, float]:
    """Train once; name and height of the figure, negative where less is better. The best trial keeps its folder."""
    out = order.out / f"trial-{number}"
    shutil.rmtree(out, ignore_errors=True)
    settings = {key: value for key, value in wanted.items() if key != "backbone"}
    backbone = str(wanted.get("backbone", order.backbone))
    task.train(replace(order, out=out, backbone=backbone, settings=order.settings | settings, resume=False))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return aim_of(report)


def _report(task: Task, order: Training, study: "optuna.Study") -> dict[str, Any]:
    done = sorted(_finished(study), key=lambda trial: -trial.value)
    best, aim = done[0], done[0].user_attrs["aim"]
    names = sorted({name for trial in done for name in trial.params})
    rows: list[list[object]] = [
        [f"trial {trial.number}", abs(trial.value), *(_cell(trial.params.get(name)) for name in names)]
        for trial in done
    ]
    blocks: list[Block] = [Table("Trials, the best first", ["", aim, *names], rows)]
    blocks.append(Charts("How the figure goes with each setting", list(_charts(done, names, aim))))
    command = " ".join(f"--{k} {v}" if k == "backbone" else f"--set {k}={_cell(v)}" for k, v in best.params.items())
    caveats = (
        "The best of many on one part flatters: train again with it, longer, and measure on images not used here.",
    )
    figures = {"best": {"figure": aim, "value": abs(best.value), "settings": best.params, "trial": best.number}}
    figures["trials"] = {str(t.number): {"value": abs(t.value), "settings": t.params} for t in done}
    facts = {"data": order.data.name, "minutes of each trial": f"{order.minutes:g}", "to train with it": command}
    headline = f"Best {aim} {abs(best.value):.4f} of {len(done)} trials: {_shown(best.params)}"
    write_report(order.out, Page(f"Search for settings of task {task.name}", headline, facts, blocks, caveats, figures))
    return {"headline": headline, **figures}


def _charts(done: list[Any], names: list[str], aim: str) -> Iterator[tuple[str, str]]:
    for name in names:
        points = sorted((t.params[name], abs(t.value)) for t in done if isinstance(t.params.get(name), float))
        if len(points) > 1:
            log = "log10 of " if points[-1][0] > 20 * points[0][0] > 0 else ""
            xs = [math.log10(x) if log else x for x, _ in points]
            line = Line("", xs, [y for _, y in points], dots=True)
            yield name, line_chart([line], Axis(f"{log}{name}"), Axis(aim))


def _shown(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_cell(value)}" for key, value in settings.items())


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
