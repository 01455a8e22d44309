"""PACS and record fail in every way they know; the results arrive once, and nobody else waits for them."""

import time
from collections.abc import Callable

import httpx
import pytest

from tests.faults import site
from tests.faults.clinic import Clinic
from tests.faults.lines import Spoil
from tests.gateway import free_port

Tell = Callable[[object], None]
AGAIN_SECONDS = 120.0


def pacs_down(clinic: Clinic) -> None:
    """Nobody listens."""
    clinic.pacs_line.target = free_port()


def pacs_full(clinic: Clinic) -> None:
    """A700H to everything."""
    clinic.pacs.refuse = 1


def pacs_half_full(clinic: Clinic) -> None:
    """A700H to every other object."""
    clinic.pacs.refuse = 2


def pacs_aborting(clinic: Clinic) -> None:
    """Aborts within every other object."""
    clinic.pacs.abort = 2


def pacs_slow(clinic: Clinic) -> None:
    """Seconds for each object."""
    clinic.pacs.slow = 1.5


def pacs_well(clinic: Clinic) -> None:
    """As ever."""
    clinic.pacs.refuse = clinic.pacs.abort = 0
    clinic.pacs.slow = 0.0
    clinic.pacs_line.target, clinic.pacs_line.times = clinic.pacs.port, 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "fault",
    [
        pacs_half_full,
        *(pytest.param(each, marks=pytest.mark.long) for each in (pacs_down, pacs_full, pacs_aborting, pacs_slow)),
    ],
)
def test_a_pacs_that_fails(well: Clinic, fault: Callable[[Clinic], None], tell: Tell) -> None:
    """Record and folder have their results while the PACS fails; when it works it has each object once."""
    fault(well)
    before = len(well.pacs.got)
    began = time.monotonic()
    study = well.send(f"pacs-{fault.__name__}")
    well.wait(study, "folder", "done")
    well.wait(study, "ehr", "done")
    others = time.monotonic() - began
    pacs = well.step(study, "pacs")
    if fault in {pacs_down, pacs_full}:
        assert pacs["condition"] != "done"
        well.wait(study, "pacs", "retrying")
        pacs_well(well)
    began = time.monotonic()
    well.wait(study, "pacs", "done", AGAIN_SECONDS)
    recovery = time.monotonic() - began
    well.once(study)
    sent = len(well.pacs.got) - before
    tell(f"others after {others:.1f} s, PACS {recovery:.1f} s later, {sent} objects for {site.KINDS}")


@pytest.mark.timeout(300)
@pytest.mark.long
@pytest.mark.parametrize("silent", [False, True], ids=["refusing", "silent"])
def test_a_dead_pacs_delays_no_other(well: Clinic, silent: bool, tell: Tell) -> None:  # noqa: FBT001 - a parameter of the case
    """With studies waiting for a dead PACS, a new study is in the record as quickly as without them.

    One that swallows everything is worse than one that refuses: each attempt would take its whole time limit.
    """

    def seconds(name: str) -> float:
        began = time.monotonic()
        study = well.send(name)
        well.wait(study, "ehr", "done")
        return time.monotonic() - began

    seconds("warm")
    without = sorted(seconds("without") for _ in range(5))[2]
    if silent:
        well.pacs_line.will(Spoil.HOLE, 0, times=1000)
    else:
        well.pacs_line.target = free_port()
    waiting = [well.send("waiting") for _ in range(8 if silent else 20)]
    well.wait(waiting[-1], "ehr", "done", AGAIN_SECONDS)
    beside = sorted(seconds("beside") for _ in range(5))[2]
    pacs_well(well)
    assert site.dentgate(well.gateway, "jobs", "retry").returncode == 0
    for study in waiting:
        well.wait(study, "pacs", "done", AGAIN_SECONDS)
    well.once(*waiting)
    tell(f"median to the record: {without:.2f} s alone, {beside:.2f} s beside {len(waiting)} deliveries to a dead PACS")
    assert beside < without + 3.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("status", "lost"),
    [
        pytest.param(500, True, id="500-after-commit"),
        pytest.param(503, False, id="503-retry-after", marks=pytest.mark.long),
        pytest.param(500, False, id="500", marks=pytest.mark.long),
        pytest.param(504, True, id="504-after-commit", marks=pytest.mark.long),
        pytest.param(412, False, id="412", marks=pytest.mark.long),
        pytest.param(409, False, id="409", marks=pytest.mark.long),
        pytest.param(429, False, id="429", marks=pytest.mark.long),
    ],
)
def test_a_record_that_fails_for_a_while(well: Clinic, status: int, lost: bool, tell: Tell) -> None:  # noqa: FBT001 - a parameter of the case
    """The PACS does not wait for the record, and the record has one report in the end, by itself."""
    well.desk.will(status, times=2, lost=lost, retry_after="2")
    began = time.monotonic()
    study = well.send(f"ehr-{status}-{lost}")
    well.wait(study, "pacs", "done")
    others = time.monotonic() - began
    well.wait(study, "ehr", "done", AGAIN_SECONDS)
    assert well.desk.count > 0
    well.once(study)
    tell(f"PACS after {others:.1f} s, record after {time.monotonic() - began:.1f} s, {well.desk.count} wrong answers")


@pytest.mark.timeout(300)
@pytest.mark.long
@pytest.mark.parametrize("status", [401, 403, 422, 400])
def test_a_record_that_refuses(well: Clinic, status: int) -> None:
    """It is a dead letter with its status; tried again after it was mended, twice even, it is there once."""
    well.desk.will(status, times=1000)
    study = well.send(f"ehr-refuses-{status}")
    dead = well.wait(study, "ehr", "dead")
    assert str(status) in dead["message"]
    well.wait(study, "pacs", "done")
    well.desk.times = 0
    well.retry(study)
    well.retry(study)
    well.wait(study, "ehr", "done")
    well.once(study)


@pytest.mark.timeout(300)
@pytest.mark.long
def test_a_record_that_takes_no_large_requests(well: Clinic) -> None:
    """413 ends in the record in some other form or as a dead letter that says so; never doubled, never silent."""
    well.desk.will(413, times=1)
    study = well.send("ehr-413")
    deadline = time.monotonic() + AGAIN_SECONDS
    while (seen := well.step(study, "ehr")).get("condition") not in {"done", "dead"}:
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
    if seen["condition"] == "dead":
        assert "413" in seen["message"]
        well.retry(study)
        well.wait(study, "ehr", "done")
    reports = site.reports(well.ehr).get(study, [])
    documents = httpx.get(f"{well.ehr}/DocumentReference", timeout=30).json().get("entry", [])
    assert len(reports) + len(documents) == 1


@pytest.mark.timeout(400)
@pytest.mark.long
def test_a_record_that_falls_silent(well: Clinic, tell: Tell) -> None:
    """A record that takes the report and never answers costs its own delivery a time-out; nobody else waits."""
    well.desk.will(0, times=1, silent=120.0)
    began = time.monotonic()
    study = well.send("ehr-silent")
    well.wait(study, "pacs", "done")
    others = time.monotonic() - began
    well.wait(study, "ehr", "done", 200)
    well.once(study)
    tell(f"PACS after {others:.1f} s, record after {time.monotonic() - began:.1f} s")
