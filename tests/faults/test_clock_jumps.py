"""The clock jumps an hour forward and an hour back while studies are on their way; none waits for it to catch up."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import servers
from tests.faults import site
from tests.faults.collector import collecting
from tests.faults.modality import Modality, skull
from tests.faults.test_kills import settle
from tests.gateway import ROOT, gateway

RESULTS = ("sr", "seg")
HOUR = 3600
SHIFT = Path(__file__).parent / "shift"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_hour_both_ways(tmp_path: Path, tell: Callable[[object], None]) -> None:
    """Studies sent before, between and after the jumps are delivered within a minute and a half, once each."""
    watch = tmp_path / "watch"
    watch.write_text("0")
    prefix = ["env", f"PYTHONPATH={SHIFT}:{ROOT}", f"DENTGATE_TEST_WATCH={watch}"]
    with servers.fhir_server(tmp_path / "fhir.log") as ehr, collecting() as pacs:
        site.admit(ehr, "FAULT-1")
        places = (
            site.destination("pacs", f"dicom://COLLECTOR@127.0.0.1:{pacs.port}", *RESULTS),
            site.destination("ehr", f"fhir+{ehr}"),
        )
        with gateway(tmp_path, site.settings(tmp_path, *places), quiet_seconds=0.5, prefix=prefix) as running:
            modality = Modality(running.dicom_port)
            seconds = {}
            for number, offset in enumerate((0, HOUR, 0, -HOUR, HOUR, -HOUR)):
                names = [f"clock-{number}-{each}" for each in range(3)]
                modality.send(skull(names[0], number))
                watch.write_text(f"{offset:+d}")
                for name in names[1:]:
                    modality.send(skull(name, number))
                began = time.monotonic()
                settle(running, list(modality.acknowledged), seconds=90)
                seconds[f"{number}: to {offset:+d} s"] = round(time.monotonic() - began, 1)
            studies = list(modality.acknowledged)
        assert not pacs.wrong(studies, len(RESULTS))
        assert not site.wrong_in_record(ehr, studies)
    tell(seconds)
