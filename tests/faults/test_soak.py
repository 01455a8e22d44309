"""Mixed load at some 80 % of what was measured first: memory, file handles, queues and tables stay level."""

import json
import os
import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pynetdicom import AE

from tests.faults.assault import WORDS
from tests.faults.clinic import PATIENT, Clinic, clinic
from tests.faults.modality import EXPLICIT, skull
from tests.faults.test_kills import settle
from tests.gateway import command_line, descendants

Tell = Callable[[object], None]
LOAD, PROBE_STUDIES, EVERY_SECONDS = 0.8, 12, 10.0
PAGE = os.sysconf("SC_PAGE_SIZE")
MOST_GROWTH, MOST_MB, MOST_HANDLES = 1.10, 24.0, 6


@dataclass
class Samples:
    """What was seen every few seconds: name -> values."""

    memory: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    handles: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    waiting: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def take(self, running: Clinic) -> None:
        """Once."""
        assert running.gateway.process is not None
        below = descendants(running.gateway.process.pid)
        named: dict[str, list[int]] = {"supervisor": [running.gateway.process.pid]}
        for target, words in WORDS.items():
            named[target] = sorted(pid for pid in below if words in command_line(pid))
        for target, pids in named.items():
            self.memory[target].append(sum(map(_resident_mb, pids)))
            self.handles[target].append(sum(map(_handles, pids)))
        with sqlite3.connect(running.folder / "data" / "dentgate.db", timeout=30) as record:
            self.waiting.append(_count(record, "outbox WHERE finished_at IS NULL"))
            self.rows.append(_count(record, "outbox"))

    def grown(self) -> list[str]:
        """What is not level: the median of the last third against that of the second."""
        complaints = []
        for what, values, most in (("MB", self.memory, MOST_MB), ("handles", self.handles, MOST_HANDLES)):
            for target, seen in values.items():
                third = len(seen) // 3
                before, after = statistics.median(seen[third : 2 * third]), statistics.median(seen[2 * third :])
                if after > before * MOST_GROWTH and after > before + most:
                    complaints.append(f"{target}: {before:.0f} -> {after:.0f} {what}")
        third = len(self.waiting) // 3
        before, after = statistics.median(self.waiting[third : 2 * third]), statistics.median(self.waiting[2 * third :])
        if after > 2 * before + 10:
            complaints.append(f"rows that wait: {before:.0f} -> {after:.0f}")
        return complaints

    def summary(self) -> dict[str, str]:
        """First, middle and last values."""
        lines = {f"{name} MB": _three(seen) for name, seen in self.memory.items()}
        lines |= {f"{name} handles": _three(seen) for name, seen in self.handles.items()}
        return lines | {"rows that wait": _three(self.waiting), "rows": _three(self.rows)}


def _three(seen: "list[float] | list[int]") -> str:
    third = len(seen) // 3
    parts = (seen[:third], seen[third : 2 * third], seen[2 * third :])
    return " ".join(f"{statistics.median(part):.0f}" for part in parts)


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
    except OSError:
        return 0.0


def _handles(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _count(record: sqlite3.Connection, what: str) -> int:
    return int(record.execute(f"SELECT count(*) FROM {what}").fetchone()[0])  # noqa: S608 - our own words


def one_of_many(running: Clinic, rng: np.random.Generator, number: int) -> None:
    """Something a day brings: mostly a study, also doubles, other bytes, rubbish, echoes, and somebody who looks."""
    kind = rng.choice(["study", "two images", "twice", "conflict", "rubbish", "look"], p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    name = f"soak-{number}"
    match kind:
        case "two images":
            running.send(name, 2)
        case "twice":
            running.modality.send(skull(name, number, PATIENT))
            running.modality.send(skull(name, number, PATIENT))
        case "conflict":
            running.modality.send(skull(name, number, PATIENT))
            running.modality.send(skull(name, number, PATIENT, StudyDescription="other"))
        case "rubbish":
            _rubbish(running.gateway.dicom_port)
        case "look":
            for page in ("/", "/api/studies", "/metrics"):
                httpx.get(f"{running.gateway.web_url}{page}", timeout=60)
        case _:
            running.modality.send(skull(name, number, PATIENT))


def _rubbish(port: int) -> None:
    """An echo, and an object without identity."""
    ae = AE("PANO1")
    ae.add_requested_context("1.2.840.10008.1.1")
    ds = dcmread(DicomBytesIO(skull("rubbish")))
    ae.add_requested_context(ds.SOPClassUID, EXPLICIT)
    assoc = ae.associate("127.0.0.1", port, ae_title="DENTGATE")
    if assoc.is_established:
        assoc.send_c_echo()
        del ds.StudyInstanceUID
        assert assoc.send_c_store(ds).get("Status", 0xC000) != 0
        assoc.release()


def capacity(running: Clinic) -> float:
    """Studies a second that come out when they are sent as quickly as they are taken."""
    running.wait(running.send("warm"), "pacs", "done", 120)
    began = time.monotonic()
    studies = [running.send("probe") for _ in range(PROBE_STUDIES)]
    settle(running.gateway, studies, 600)
    return PROBE_STUDIES / (time.monotonic() - began)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_soak(tmp_path: Path, seed: int, request: pytest.FixtureRequest, tell: Tell) -> None:
    """Nothing grows but the tables, and those with what was received; in the end everything is delivered, once."""
    minutes = float(request.config.getoption("minutes", 30.0))
    rng = np.random.default_rng(seed)
    samples = Samples()
    with clinic(tmp_path) as running:
        rate = LOAD * capacity(running)
        tell(f"{rate:.2f} a second for {minutes:g} minutes")
        end, number, next_sample = time.monotonic() + 60 * minutes, 0, 0.0
        while (now := time.monotonic()) < end:
            if now >= next_sample:
                samples.take(running)
                next_sample = now + EVERY_SECONDS
            one_of_many(running, rng, number)
            number += 1
            time.sleep(max(0.0, float(rng.exponential(1 / rate)) - (time.monotonic() - now)))
        dead = settle(running.gateway, list(running.modality.acknowledged), 900)
        running.once(*running.modality.acknowledged)
    tell(json.dumps({"sent": number, "studies": len(running.modality.acknowledged), "dead": dead} | samples.summary()))
    assert not samples.grown()
