"""Fuzzing that watches which lines it reaches: ``python -m tests.fuzz.guided EDGE CORPUS -runs=100000 -seed=1``.

Atheris (libFuzzer for Python) keeps every input that reaches something new, so it finds its way behind checks that
chance does not pass. CORPUS is a folder; it is filled with sound inputs when it is empty. Other words go to libFuzzer.
"""

import importlib
import io
import itertools
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from service.telemetry import configure_logging

#: what is watched: these modules are instrumented while they are imported, before anything else imports them
_WATCHED = ["service.listener", "service.export.mllp", "service.web.jpeg", "service.web.pictures"]
EDGES = ("connection", "command", "dataset", "file", "picture", "acknowledgement")


def main(arguments: Sequence[str]) -> None:
    """Fuzz one edge until the runs are over; ends the process with an error at a finding."""
    edge, corpus, *options = arguments
    atheris: Any = importlib.import_module("atheris")  # not everywhere: it has no wheels for every machine
    with atheris.instrument_imports(include=_WATCHED):
        feed, seeds = _edge(edge, Path(corpus).with_name(f"{edge}-files"))
    _fill(Path(corpus), seeds)
    configure_logging("fuzz", logging.ERROR)
    logging.getLogger().handlers[:] = [_Loud()]
    limits = ["-timeout=20", "-rss_limit_mb=1500", "-max_len=8192", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], corpus, *limits, *options], feed)
    atheris.Fuzz()


class Logged(BaseException):
    """An error in the log is a finding: a broad catch must not hide it."""


class _Loud(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise Logged(record.getMessage())


def _fill(corpus: Path, seeds: Sequence[bytes]) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for number, seed in enumerate(seeds):
            (corpus / f"seed{number}").write_bytes(seed)


def _edge(name: str, folder: Path) -> tuple[Callable[[bytes], None], list[bytes]]:
    """What takes an input, and sound inputs; files go to ``folder``. Imports late: see ``_WATCHED``."""
    edges: dict[str, Callable[[], tuple[Callable[[bytes], None], list[bytes]]]] = {
        "connection": partial(_listener_edge, name, folder),
        "command": _command_edge,
        "dataset": _dataset_edge,
        "file": partial(_listener_edge, name, folder),
        "picture": _picture_edge,
        "acknowledgement": _acknowledgement_edge,
    }
    return edges[name]()


def _listener_edge(name: str, folder: Path) -> tuple[Callable[[bytes], None], list[bytes]]:
    from tests.fuzz import datasets, listener, protocol  # noqa: PLC0415 - see _WATCHED
    from tests.fuzz.dice import Dice  # noqa: PLC0415

    target = next(each for each in listener.targets(folder) if each.name == name)
    if name == "file":
        return (lambda raw: cast("None", target.feed(raw))), [datasets.file(Dice(1, number)) for number in range(40)]
    seeds = [protocol.connection(Dice(1, number)) for number in range(60)]
    return (lambda raw: cast("None", target.feed((raw, itertools.repeat(1 << 20))))), seeds


def _command_edge() -> tuple[Callable[[bytes], None], list[bytes]]:
    from service.listener.command import parse_command  # noqa: PLC0415
    from service.listener.wire import Malformed  # noqa: PLC0415
    from tests.fuzz import protocol  # noqa: PLC0415
    from tests.fuzz.dice import Dice  # noqa: PLC0415

    def feed(raw: bytes) -> None:
        try:
            parse_command(raw)
        except Malformed:
            return

    return feed, [protocol.command_set(Dice(1, number)) for number in range(40)]


def _dataset_edge() -> tuple[Callable[[bytes], None], list[bytes]]:
    from service.domain.errors import Refused  # noqa: PLC0415
    from service.listener.header import read_header  # noqa: PLC0415
    from tests.fuzz import datasets  # noqa: PLC0415
    from tests.unit.listener.raw_scu import DX  # noqa: PLC0415

    def feed(raw: bytes) -> None:
        syntax = datasets.SYNTAXES[raw[0] % len(datasets.SYNTAXES)] if raw else datasets.SYNTAXES[0]
        try:
            read_header(io.BytesIO(raw[1:]), syntax, DX, "1.2.3.1.1.1", 64 << 20)
        except Refused:
            return

    return feed, [bytes([number]) + datasets.WHOLE[syntax] for number, syntax in enumerate(datasets.SYNTAXES)]


def _picture_edge() -> tuple[Callable[[bytes], None], list[bytes]]:
    from tests.fuzz import images  # noqa: PLC0415

    return (lambda raw: cast("None", images.wrap(raw))), list(images.pictures())


def _acknowledgement_edge() -> tuple[Callable[[bytes], None], list[bytes]]:
    from tests.fuzz import peers  # noqa: PLC0415

    (target,) = peers.targets()
    return (lambda raw: cast("None", target.feed((raw, itertools.repeat(1 << 16))))), [peers.ACK]


if __name__ == "__main__":
    main(sys.argv[1:])
