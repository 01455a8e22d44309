"""Feeding inputs to a target: what each took and did, and what must never happen."""

import contextlib
import json
import logging
import os
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.fuzz.dice import Dice

#: seconds of the processor that one input may take, and of the clock: the machine may be busy with other things
LONGEST_CPU, LONGEST_WALL = 2.0, 60.0
_MOST_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Target:
    """A parser edge.

    Attributes:
        make: one input.
        feed: gives it to the parser; returns in a word what became of it. What it raises is a finding.
        share: of the inputs of a run, compared with those of the other targets; what is slow gets less.
        apart: the work is done in a child process.
    """

    name: str
    make: Callable[[Dice], Any]
    feed: Callable[[Any], str]
    share: int = 10
    apart: bool = False


class Hang(BaseException):
    """One input took too long."""


@dataclass
class Outcome:
    """What a target did with its inputs.

    Attributes:
        words: how often each word came out.
        longest: seconds of the processor that the slowest input took, and its number.
        findings: number of the input and what it did that it must not do.
        peak_mb: largest resident memory of the process so far, in MB.
    """

    target: str
    seed: int
    inputs: int = 0
    seconds: float = 0.0
    words: Counter[str] = field(default_factory=Counter)
    longest: tuple[float, int] = (0.0, -1)
    findings: list[tuple[int, str]] = field(default_factory=list)
    peak_mb: float = 0.0

    def line(self) -> str:
        """One line for people."""
        words = ", ".join(f"{word} {count}" for word, count in self.words.most_common(6))
        slow = f"{self.longest[0] * 1000:.1f} ms (input {self.longest[1]})"
        return (
            f"{self.target:<14} {self.inputs:>8} inputs {self.seconds:7.1f} s  longest {slow:<24} "
            f"peak {self.peak_mb:.0f} MB  findings {len(self.findings)}  [{words}]"
        )

    def json(self) -> str:
        """One line for programs."""
        return json.dumps(vars(self) | {"words": dict(self.words)})

    @classmethod
    def of_json(cls, line: str) -> Self:
        """The reverse."""
        values = json.loads(line)
        pairs = [(int(number), str(words)) for number, words in values["findings"]]
        slowest = (float(values["longest"][0]), int(values["longest"][1]))
        return cls(**values | {"words": Counter(values["words"]), "longest": slowest, "findings": pairs})


class _Ear(logging.Handler):
    """Errors in the log are findings: broad catches must not hide what a parser does not foresee."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


def run(target: Target, seed: int, numbers: range) -> Outcome:
    """Feed the inputs of these numbers."""
    outcome = Outcome(target.name, seed)
    began = time.perf_counter()
    with _listening() as ear, _watched():
        for number in numbers:
            _one(target, number, outcome, ear)
            if len(outcome.findings) >= _MOST_FINDINGS:
                break
    outcome.seconds = time.perf_counter() - began
    outcome.peak_mb = peak_mb()
    return outcome


def _one(target: Target, number: int, outcome: Outcome, ear: _Ear) -> None:
    subject = target.make(Dice(outcome.seed, number, *target.name.encode()))
    signal.setitimer(signal.ITIMER_REAL, LONGEST_WALL)
    used = _used_with_children if target.apart else time.process_time
    began = used()
    try:
        outcome.words[target.feed(subject)] += 1
    except (Exception, Hang) as error:  # noqa: BLE001 - whatever comes is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"
        outcome.findings.append((number, words))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = used() - began
    outcome.inputs += 1
    outcome.longest = max(outcome.longest, (seconds, number))
    if seconds > LONGEST_CPU:
        outcome.findings.append((number, f"took {seconds:.1f} s of the processor"))
    outcome.findings += [(number, f"logged: {words}") for words in ear.heard]
    ear.heard.clear()


def _used_with_children() -> float:
    """Time of the processor that this process and its children have used, in seconds."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + sum(map(_used_by, children)) + ended.ru_utime + ended.ru_stime


def _used_by(pid: str) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0  # it ended just now
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb() -> float:
    """Largest resident memory of this program so far, in MB.

    Linux: from /proc, because getrusage also counts what the process was before exec, a test run of any size.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


@contextlib.contextmanager
def _listening() -> Iterator[_Ear]:
    ear = _Ear()
    root = logging.getLogger()
    root.addHandler(ear)
    try:
        yield ear
    finally:
        root.removeHandler(ear)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """An alarm becomes Hang in the code that hangs; native code that never returns is left to whoever started us."""

    def ring(_signal: int, _frame: object) -> None:
        message = f"more than {LONGEST_WALL} s"
        raise Hang(message)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
