"""Every parser edge without a network, in a process of its own: no crash, no hang, no memory without bounds."""

import subprocess
import sys

import pytest

from tests.fuzz.conftest import Effort
from tests.fuzz.report import Outcome
from tests.gateway import ROOT

PEAK_MB = 900.0  # the largest picture that is taken needs most of it


def fuzz(seed: int, inputs: int, seconds: int) -> list[Outcome]:
    """What each target did."""
    command = [sys.executable, "-m", "tests.fuzz", "--json", "--seed", str(seed), "--inputs", str(inputs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)
    outcomes = [Outcome.of_json(line) for line in done.stdout.splitlines()]
    print(f"\nseed {seed}")  # noqa: T201 - how to see it again
    for outcome in outcomes:
        print(outcome.line())  # noqa: T201 - the figures are what is wanted of a long run
    findings = [
        f"--only {each.target!r} --seed {seed} --at {at}: {words}" for each in outcomes for at, words in each.findings
    ]
    assert not findings, "\n".join(["python -m tests.fuzz ...", *findings])
    assert done.returncode == 0, f"it ended with {done.returncode} after {outcomes[-1:]}: {done.stderr[-2000:]}"
    return outcomes


def judge(outcomes: list[Outcome], inputs: int) -> None:
    """All of it was tried, and within bounds."""
    assert sum(outcome.inputs for outcome in outcomes) >= inputs * 0.98
    assert max(outcome.peak_mb for outcome in outcomes) < PEAK_MB


@pytest.mark.timeout(300)
def test_parsers_take_or_refuse_anything(effort: Effort) -> None:
    """Some thousand inputs for each edge."""
    judge(fuzz(effort.seed, effort.inputs, 280), effort.inputs)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_parsers_take_or_refuse_anything_for_long(effort: Effort) -> None:
    """Hundreds of thousands."""
    judge(fuzz(effort.seed, effort.inputs, 7000), effort.inputs)
