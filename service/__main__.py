"""The ``dentgate`` command; the one module that may import both packages.

Workers are imported inside the commands that need them: a listener must not pay for torch.
"""

import argparse
import importlib.metadata
import logging
import signal
import sys
import threading
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from service import bootstrap, commands
from service.db import outbox
from service.db.engine import Database
from service.db.migrate import require_current
from service.domain.errors import ConfigurationError, DentgateError
from service.domain.job import Stage
from service.settings import Settings, load_settings
from service.supervisor import end_with_parent
from service.telemetry import configure_logging

if TYPE_CHECKING:
    from workers.training.task import Training

Command = Callable[[Settings, Namespace, threading.Event], int]
#: commands that end in order on SIGTERM and Ctrl-C through an event; Celery and uvicorn do so by themselves
LASTING = frozenset({"up", "listen", "relay"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 success; 1 the command found something wrong; 2 wrong use or wrong settings, one line on standard error.
    """
    options = _parser().parse_args(arguments)
    configure_logging(options.command, logging.DEBUG if options.verbose else logging.INFO)
    if options.parent_pid:
        end_with_parent(options.parent_pid)
    try:
        settings = load_settings(options.config, options.data)
        return int(options.run(settings, options, _stop_event() if options.command in LASTING else threading.Event()))
    except ConfigurationError as error:
        print(f"dentgate {options.command}: {error}", file=sys.stderr)
        return 2
    except DentgateError as error:
        print(f"dentgate {options.command}: {error}", file=sys.stderr)
        return 1


def worker(settings: Settings, options: Namespace, _stop: threading.Event) -> int:
    """A Celery worker for some of the stages."""
    if unknown := set(options.queues.split(",")) - set(Stage):
        message = f"--queues: no stage is called {', '.join(sorted(unknown))}; there are {', '.join(Stage)}"
        raise ConfigurationError(message)
    bootstrap.build(settings)
    from workers.tasks import worker_app  # noqa: PLC0415 - see the module's docstring

    db = Database(settings.database.url)
    require_current(db)
    outbox.release_orphans(db)
    db.close()  # the pool forks: no connection may be shared
    app = worker_app(settings, options.queues.split(","))
    # As root in a container is usual, and harmless here: messages are JSON, never pickles.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    name = f"{options.queues.replace(',', '-')}@%h"
    arguments = ["--pool=prefork", f"--concurrency={options.concurrency}", f"--queues={options.queues}"]
    arguments += [f"--hostname={name}", "--loglevel=WARNING", "--without-gossip", "--without-mingle"]
    app.worker_main(["--quiet", "worker", *arguments, "--without-heartbeat"])
    return 0


def models(settings: Settings, _options: Namespace, _stop: threading.Event) -> int:
    """Load every model and say what it is and where it runs. 1 if one cannot be loaded."""
    from workers.inference import torch_device  # noqa: PLC0415 - see the module's docstring
    from workers.models.shipped import models_of  # noqa: PLC0415 - see the module's docstring

    bad = 0
    for model in models_of(settings):
        try:
            algorithm = model.load(settings.analysis.device).algorithm
            research = ", research model" if algorithm.research else ""
            where = torch_device(settings.analysis.device)
            weights = algorithm.weights_sha256[:12]
            print(f"ok    {model.name} {algorithm.version}, weights {weights}, on {where}{research}")
        except DentgateError as error:
            bad += 1
            print(f"FAIL  {model.name}: {error}")
    return 1 if bad else 0


def check(settings: Settings, options: Namespace, stop: threading.Event) -> int:
    """Site check: everything this installation depends on, and the models."""
    found = commands.check(settings, options, stop)
    return max(found, models(settings, options, stop))


def train(_settings: Settings, options: Namespace, _stop: threading.Event) -> int:
    """Train a model on labelled images."""
    from workers.training.tool import run_training  # noqa: PLC0415 - see the module's docstring

    return _told(lambda: run_training(options.task, _order(options), options.folds))


def evaluate(_settings: Settings, options: Namespace, _stop: threading.Event) -> int:
    """Measure a model on labelled images, through the same code that analyzes studies."""
    from workers.training.task import Evaluation  # noqa: PLC0415 - see the module's docstring
    from workers.training.tool import run_evaluation  # noqa: PLC0415 - see the module's docstring

    order = Evaluation(options.data_folder, options.out, options.split, options.bundle, options.stress)
    return _told(lambda: run_evaluation(options.task, order))


def tune(_settings: Settings, options: Namespace, _stop: threading.Event) -> int:
    """Search for settings of a training."""
    from workers.training.tool import run_search  # noqa: PLC0415 - see the module's docstring

    return _told(lambda: run_search(options.task, _order(options), options.trials))


def _order(options: Namespace) -> "Training":
    from workers.training.task import Training  # noqa: PLC0415 - see the module's docstring
    from workers.training.tool import settings_of  # noqa: PLC0415 - see the module's docstring

    return Training(
        data=options.data_folder,
        out=options.out,
        minutes=options.minutes,
        seed=options.seed,
        start=options.start,
        frozen=options.frozen,
        backbone=options.backbone,
        device=options.device,
        resume=options.resume,
        threads=options.threads,
        settings=settings_of(options.set),
    )


def _told(run: Callable[[], list[str]]) -> int:
    """Run, print what was made; Ctrl-C is no accident."""
    try:
        lines = run()
    except KeyboardInterrupt:
        print("dentgate: stopped; --resume goes on with what lies in --out", file=sys.stderr)
        return 1
    except OSError as error:
        if not error.filename:
            raise
        print(f"dentgate: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _stop_event() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _parser() -> ArgumentParser:
    shared = ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, help="settings file, default ./dentgate.toml if it is there")
    shared.add_argument("--verbose", action="store_true", help="more log lines")
    shared.add_argument("--parent-pid", type=int, default=0, help=argparse.SUPPRESS)
    kept = ArgumentParser(add_help=False, parents=[shared])
    kept.add_argument("--data", type=Path, help="folder for everything Dentgate keeps")
    parser = ArgumentParser(prog="dentgate", description="A DICOM AI gateway for dental and X-ray imaging.")
    version = importlib.metadata.version("dentgate")
    parser.add_argument("--version", action="version", version=f"dentgate {version}")
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    simple: dict[str, tuple[Command, str]] = {
        "up": (commands.up, "everything on this machine, until Ctrl-C or SIGTERM"),
        "listen": (commands.listen, "the DICOM listener"),
        "relay": (commands.relay, "closes quiet studies, rings for what is due"),
        "web": (commands.web, "pages and API"),
        "check": (check, "site check: database, broker, storage, destinations, models"),
        "models": (models, "the models and where they run"),
        "migrate": (commands.migrate_database, "bring the database to the newest migration"),
    }
    for name, (run, text) in simple.items():
        sub.add_parser(name, parents=[kept], help=text, description=text).set_defaults(run=run)

    def add(name: str, parent: ArgumentParser, text: str) -> ArgumentParser:
        return sub.add_parser(name, parents=[parent], help=text, description=text)

    _add_worker(add("worker", kept, "a Celery worker for one or more stages; needs a broker that all processes share"))
    _add_reconcile(
        add("reconcile", kept, "received = analyzed or declined = reported = delivered: the account of a day")
    )
    _add_retention(add("retention", kept, "images that may be removed, because all their results were delivered"))
    _add_jobs(add("jobs", kept, "list jobs, show a study, make what failed or was held due again"))
    trained = ArgumentParser(add_help=False, parents=[shared])
    _add_data(trained)
    _add_evaluation(add("evaluate", trained, "measure a model on labelled images, by the code that serves"))
    _add_training(add("train", trained, "train a model on labelled images; out comes a MONAI bundle and a report"))
    _add_search(add("tune", trained, "search for settings of a training with Optuna (extra `train`)"))
    return parser


def _add_worker(parser: ArgumentParser) -> None:
    parser.add_argument("--queues", default=",".join(Stage), help="stages to work on, default all")
    parser.add_argument("--concurrency", type=int, default=1, help="processes, default 1")
    parser.set_defaults(run=worker)


def _add_reconcile(parser: ArgumentParser) -> None:
    parser.add_argument("--day", type=date.fromisoformat, help="YYYY-MM-DD (UTC), default today")
    parser.add_argument("--files", action="store_true", help="read every stored file again, name files without a row")
    parser.add_argument("--take-up", action="store_true", help="first record the files of any day that have no row")
    parser.set_defaults(run=commands.reconcile_day)


def _add_retention(parser: ArgumentParser) -> None:
    parser.add_argument("--days", type=float, help="since the last change, default storage.keep_days")
    parser.add_argument("--remove", action="store_true", help="remove them; without it they are only named")
    parser.set_defaults(run=commands.retention)


def _add_jobs(parser: ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "show", "retry"), default="list")
    parser.add_argument("study", nargs="?", help="Study Instance UID; `retry` without it takes all dead letters")
    parser.set_defaults(run=commands.jobs)


def _add_data(parser: ArgumentParser) -> None:
    from workers.training.tasks import TASKS  # noqa: PLC0415 - see the module's docstring; this one is light

    parser.add_argument("task", choices=[entry.name for entry in TASKS], help="what the model does")
    layouts = "manifest.csv, a folder per class, images/ and labels/ with FDI maps, COCO boxes, or corner files"
    parser.add_argument("--data", dest="data_folder", type=Path, required=True, help=f"folder with {layouts}")
    parser.add_argument("--out", type=Path, required=True, help="folder for what comes out")
    parser.set_defaults(data=None)


def _add_evaluation(parser: ArgumentParser) -> None:
    parser.add_argument("--split", default="val", help="part of the manifest, default val; all; teeth only: phantom")
    parser.add_argument("--stress", action="store_true", help="change each image as another device might have made it")
    parser.add_argument("--bundle", type=Path, help="a bundle folder, default the one in the package")
    parser.set_defaults(run=evaluate)


def _add_training(parser: ArgumentParser) -> None:
    _add_plan(parser, minutes=60.0, what="time budget")
    parser.add_argument("--resume", action="store_true", help="go on with the run that --out holds")
    parser.add_argument("--folds", type=int, default=0, metavar="K", help="train K times, each on other groups")
    parser.set_defaults(run=train)


def _add_search(parser: ArgumentParser) -> None:
    _add_plan(parser, minutes=5.0, what="time budget of each trial")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="in all, earlier runs in --out included")
    parser.set_defaults(run=tune, resume=False)


def _add_plan(parser: ArgumentParser, minutes: float, what: str) -> None:
    parser.add_argument("--minutes", type=float, default=minutes, help=f"{what}, default {minutes:g}")
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers, default 0")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="weights: ours, torchvision's or timm's; or torchvision:NAME, timm:NAME",
    )
    parser.add_argument("--frozen", action="store_true", help="keep the weights of --start, train the rest")
    parser.add_argument("--backbone", default="", metavar="NAME", help="network, for example resnet50 or vgg16")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU, default 1")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the task's plan")


if __name__ == "__main__":
    sys.exit(main())
