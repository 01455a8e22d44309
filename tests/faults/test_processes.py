"""Processes and peers die while studies are on their way; nothing is lost, nothing goes round and round."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.builders import as_bytes, uid_of, xray
from tests.faults.clinic import Clinic
from tests.gateway import Gateway, command_line, descendants, free_port, gateway, kill
from tests.servers import orthanc
from workers.training.phantom import panoramic_phantom

PIXELS = panoramic_phantom(41, rows=376, columns=720).pixels


def settings(folder: Path, more: str = "") -> str:
    """A folder as destination, short leases."""
    return (
        "[analysis]\nallow_research_models = true\nlease_seconds = 5\n"
        f'[[destination]]\nname = "folder"\nurl = "{(folder / "delivered").as_uri()}"\n{more}'
    )


def send(running: Gateway, folder: Path, seed: str) -> str:
    """One panoramic by storescu; its Study Instance UID."""
    path = folder / f"{seed}.dcm"
    path.write_bytes(as_bytes(xray(PIXELS, seed=seed)))
    running.send([path])
    return uid_of(seed, "study")


def steps(running: Gateway, study_uid: str) -> dict[str, dict[str, Any]]:
    """The steps of a study's newest job by destination, or by stage where there is none."""
    jobs = running.study(study_uid)["jobs"]
    found = [*jobs[0]["stages"], *jobs[0]["deliveries"]] if jobs else []
    return {step["destination"] or step["stage"]: step for step in found}


def wait_until(running: Gateway, study_uid: str, name: str, condition: str, seconds: float = 60) -> dict[str, Any]:
    """Wait until a step is in a condition."""
    deadline = time.monotonic() + seconds
    seen: dict[str, Any] = {}
    while time.monotonic() < deadline:
        seen = steps(running, study_uid).get(name, {})
        if seen.get("condition") == condition:
            return seen
        time.sleep(0.1)
    return pytest.fail(f"{name} should be {condition}, is {seen}")


def pool_of(running: Gateway, queue: str) -> list[int]:
    """The processes below the worker of a queue."""
    assert running.process is not None
    words = f"--queues {queue} "
    parents = [pid for pid in descendants(running.process.pid) if words in command_line(pid)]
    return [child for pid in parents for child in descendants(pid) if words in command_line(child)]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_task_that_kills_its_worker_is_buried(tmp_path: Path) -> None:
    """Whoever analyzes this study dies; after the second time it is a dead letter, and the next study goes through."""
    with gateway(tmp_path, settings(tmp_path)) as running:
        study_uid = send(running, tmp_path, "poison")
        for attempt in (1, 2):
            deadline = time.monotonic() + 60
            while wait_until(running, study_uid, "analyze", "running")["attempts"] < attempt:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            for pid in pool_of(running, "analyze"):
                kill(pid)
            time.sleep(0.2)
        buried = wait_until(running, study_uid, "analyze", "dead")
        assert "vanished 2 times" in buried["message"]
        send(running, tmp_path, "next")
        running.wait_for(1, ("delivered",))


@pytest.mark.timeout(900)
def test_a_killed_broker_comes_back(well: Clinic) -> None:
    """Losing the broker with every message in it costs time, never a study."""
    assert well.gateway.process is not None
    before = well.send("broker-before")
    brokers = [pid for pid in descendants(well.gateway.process.pid) if "broker.sock" in command_line(pid)]
    assert len(brokers) == 1
    kill(brokers[0])
    after = well.send("broker-after")
    for study in (before, after):
        for destination in ("folder", "pacs", "ehr"):
            well.wait(study, destination, "done", 300)
    well.once(before, after)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_dead_pacs_delays_nobody(tmp_path: Path) -> None:
    """While the PACS is down the folder has its results; when it is up it gets them by itself, once."""
    port = free_port()
    pacs = f'[[destination]]\nname = "pacs"\nurl = "dicom://ORTHANC@127.0.0.1:{port}"\n'
    with gateway(tmp_path, settings(tmp_path, pacs)) as running:
        study_uid = send(running, tmp_path, "down")
        wait_until(running, study_uid, "folder", "done")
        down = wait_until(running, study_uid, "pacs", "retrying")
        assert "cannot be reached" in down["message"]
        with orthanc(tmp_path / "orthanc", port):
            up = wait_until(running, study_uid, "pacs", "done", seconds=120)
        assert up["attempts"] > 1
        running.wait_for(1, ("delivered",))
