"""The ``dentgate`` command; the one module that may import both packages.

Workers are imported inside the commands that need them: a listener must not pay for torch.
"""

import argparse
import importlib.metadata
import json
import logging
import signal
import sys
import threading
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from service import bootstrap, commands
from service.db import outbox
from service.db.engine import Database
from service.db.migrate import require_current
from service.domain.errors import ConfigurationError, DentgateError
from service.domain.job import Stage
from service.settings import Settings, load_settings
from service.supervisor import end_with_parent
from service.telemetry import configure_logging

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
    app = worker_app(settings)
    # As root in a container is usual, and harmless here: messages are JSON, never pickles.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    name = f"{options.queues.replace(',', '-')}@%h"
    arguments = ["--pool=prefork", f"--concurrency={options.concurrency}", f"--queues={options.queues}"]
    arguments += [f"--hostname={name}", "--loglevel=WARNING", "--without-gossip", "--without-mingle"]
    app.worker_main(["--quiet", "worker", *arguments, "--without-heartbeat"])
    return 0


def models(settings: Settings, _options: Namespace, _stop: threading.Event) -> int:
    """Load every model and say what it is and where it runs. 1 if one cannot be loaded."""
    from workers.models import MODELS  # noqa: PLC0415 - see the module's docstring

    bad = 0
    for model in MODELS:
        try:
            algorithm = model.load(settings.analysis.device).algorithm
            research = ", research model" if algorithm.research else ""
            print(f"ok    {model.name} {algorithm.version}, weights {algorithm.weights_sha256[:12]}{research}")
        except DentgateError as error:
            bad += 1
            print(f"FAIL  {model.name}: {error}")
    return 1 if bad else 0


def check(settings: Settings, options: Namespace, stop: threading.Event) -> int:
    """Site check: everything this installation depends on, and the models."""
    found = commands.check(settings, options, stop)
    return max(found, models(settings, options, stop))


def evaluate(_settings: Settings, options: Namespace, _stop: threading.Event) -> int:
    """Measure a model on labelled images, through the same code that analyzes studies."""
    from workers.training.evaluate import evaluate as run  # noqa: PLC0415 - see the module's docstring

    given = {"split": options.split, "bundle": options.bundle, "stress": options.stress}
    report = run(options.task, options.data_folder, options.out, **given)
    logging.getLogger(__name__).debug("report %s", json.dumps(report))
    return 0


def train(_settings: Settings, options: Namespace, _stop: threading.Event) -> int:
    """Train a model on labelled images."""
    from workers.training.fit import train as run  # noqa: PLC0415 - see the module's docstring

    run(options.task, options.data_folder, options.out, minutes=options.minutes)
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
    _add_jobs(add("jobs", kept, "list jobs, show a study, make what failed or was held due again"))
    _add_training(add("evaluate", shared, "measure a model on labelled images, by the code that serves"), evaluate)
    _add_training(add("train", shared, "train a model on labelled images"), train)
    return parser


def _add_worker(parser: ArgumentParser) -> None:
    parser.add_argument("--queues", default=",".join(Stage), help="stages to work on, default all")
    parser.add_argument("--concurrency", type=int, default=1, help="processes, default 1")
    parser.set_defaults(run=worker)


def _add_reconcile(parser: ArgumentParser) -> None:
    parser.add_argument("--day", type=date.fromisoformat, help="YYYY-MM-DD (UTC), default today")
    parser.add_argument("--files", action="store_true", help="read every stored file again and compare its digest")
    parser.set_defaults(run=commands.reconcile_day)


def _add_jobs(parser: ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "show", "retry"), default="list")
    parser.add_argument("study", nargs="?", help="Study Instance UID; `retry` without it takes all dead letters")
    parser.set_defaults(run=commands.jobs)


def _add_training(parser: ArgumentParser, run: Command) -> None:
    parser.add_argument("task", choices=("teeth",), help="what the model does")
    parser.add_argument(
        "--data",
        dest="data_folder",
        type=Path,
        required=True,
        help="folder with manifest.csv (columns file, split, group, label_file), images and label maps of FDI numbers",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for what comes out")
    parser.set_defaults(data=None, run=run)
    if run is evaluate:
        parser.add_argument("--split", default="val", help="part of the manifest, default val; or phantom")
        stress = "crop, stretch and re-tone each image as another scanner might"
        parser.add_argument("--stress", action="store_true", help=stress)
        parser.add_argument("--bundle", type=Path, help="a bundle folder, default the one in the package")
    else:
        parser.add_argument("--minutes", type=float, default=60.0, help="time budget, default 60")


if __name__ == "__main__":
    sys.exit(main())
