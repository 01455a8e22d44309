"""SIGTERM: what runs may finish within a limit, the rest is given back, and nobody is blamed for it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import servers
from tests.faults import site
from tests.faults.clinic import PATIENT, clinic
from tests.faults.collector import collecting
from tests.faults.modality import Modality, skull
from tests.gateway import gateway

STOP_SECONDS = 3.0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_stop_within_the_limit(tmp_path: Path, tell: Callable[[object], None]) -> None:
    """A delivery that would take minutes is given back uncounted; after the start it is done, once."""
    with clinic(tmp_path, f"stop_seconds = {STOP_SECONDS}\n") as running:
        running.pacs.slow = 60.0
        study = running.send("stop")
        running.wait(study, "pacs", "running")
        running.wait(study, "ehr", "done")
        began = time.monotonic()
        running.gateway.stop()
        stopped = time.monotonic() - began
        running.pacs.slow = 0.0
        running.gateway.start()
        done = running.wait(study, "pacs", "done", 60)
        running.once(study)
    tell(f"stopped after {stopped:.1f} s")
    assert stopped < STOP_SECONDS + 6
    assert done["attempts"] == 1, "the attempt that was given back does not count"
    assert "given back" in running.gateway.log.read_text()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_processes_are_replaced(tmp_path: Path) -> None:
    """After ``recycle_after_tasks`` a process of a pool makes room for a fresh one, and no study notices."""
    with servers.fhir_server(tmp_path / "fhir.log") as ehr, collecting() as pacs:
        site.admit(ehr, PATIENT)
        places = (
            site.destination("pacs", f"dicom://COLLECTOR@127.0.0.1:{pacs.port}", "sr", "seg"),
            site.destination("ehr", f"fhir+{ehr}"),
        )
        settings = site.settings(tmp_path, *places, more="recycle_after_tasks = 2\n")
        with gateway(tmp_path, settings, quiet_seconds=0.3) as running:
            modality = Modality(running.dicom_port)
            studies = [modality.send(skull(f"recycle-{number}", number, PATIENT)) for number in range(6)]
            running.wait_for(len(studies), ("delivered",), seconds=200)
        assert not pacs.wrong(studies, 2)
        assert not site.wrong_in_record(ehr, studies)
        log = running.log.read_text()
        assert "given back" not in log
        assert "vanished" not in log
