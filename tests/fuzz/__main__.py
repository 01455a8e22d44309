"""Fuzzing without a network: ``python -m tests.fuzz --seed 1 --inputs 20000``; ``--only NAME --at NUMBER`` again."""

import argparse
import faulthandler
import logging
import tempfile
from pathlib import Path

from service.telemetry import configure_logging
from tests.fuzz import images, listener, peers
from tests.fuzz.report import Outcome, Target, run


def main() -> int:
    """1 if there was a finding."""
    faulthandler.enable()
    configure_logging("fuzz", logging.ERROR)  # as in production: who is not heard there is no finding here
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=20000, help="of all targets together")
    parser.add_argument("--only", help="name of a target")
    parser.add_argument("--at", type=int, help="number of one input, to see it again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    findings = 0
    shared = Path("/dev/shm")  # noqa: S108 - memory, where there is such a folder: fsync is not what is tested here
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        chosen = [each for each in all_targets(Path(folder)) if options.only in {None, each.name}]
        shares = sum(target.share for target in chosen)
        for target in chosen:
            count = max(options.inputs * target.share // shares, 1)
            numbers = range(count) if options.at is None else range(options.at, options.at + 1)
            outcome = run(target, options.seed, numbers)
            print(outcome.json() if options.json else outcome.line(), flush=True)  # noqa: T201 - a program
            findings += _told(outcome, quiet=options.json)
    return 1 if findings else 0


def all_targets(folder: Path) -> tuple[Target, ...]:
    """Every target that needs no network."""
    return (*listener.targets(folder), *peers.targets(), *images.targets())


def _told(outcome: Outcome, *, quiet: bool) -> int:
    for number, words in outcome.findings:
        if not quiet:
            print(f"  again: --only {outcome.target!r} --seed {outcome.seed} --at {number}: {words}")  # noqa: T201 - a program
    return len(outcome.findings)


if __name__ == "__main__":
    raise SystemExit(main())
