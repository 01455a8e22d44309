"""A whole clinic on this machine: a modality, Dentgate, a PACS and a record, and a bad line before each of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.builders import uid_of
from tests.faults import site
from tests.faults.collector import Collector, collecting
from tests.faults.lines import Desk, Line, desk_before, line_to
from tests.faults.modality import Modality, skull
from tests.gateway import Gateway, gateway

PATIENT = "FAULT-1"


@dataclass
class Clinic:
    """All of it, and what a test asks for."""

    gateway: Gateway
    modality: Modality
    pacs: Collector
    pacs_line: Line
    ehr: str
    desk: Desk
    folder: Path
    count: int = 0

    def send(self, name: str, images: int = 1, modality: Modality | None = None) -> str:
        """A study of some images, sent until it got Success; its UID."""
        study = f"{name}-{self.count}"
        self.count += 1
        files = [skull(study, 0, PATIENT)]
        same = {"StudyInstanceUID": uid_of(study, "study"), "SeriesInstanceUID": uid_of(study, "series")}
        files += [skull(f"{study}-{number}", number, PATIENT, **same) for number in range(1, images)]
        return (modality or self.modality).send(*files)

    def step(self, study: str, name: str) -> dict[str, Any]:
        """A stage or delivery of the newest job of a study."""
        try:
            jobs = self.gateway.study(study)["jobs"]
        except (OSError, ValueError, KeyError):
            return {}
        found = [*jobs[0]["stages"], *jobs[0]["deliveries"]] if jobs else []
        return next((each for each in found if name in {each["destination"], each["stage"]}), {})

    def wait(self, study: str, name: str, condition: str, seconds: float = 150) -> dict[str, Any]:
        """Wait until a stage or delivery is in a condition."""
        deadline = time.monotonic() + seconds
        seen: dict[str, Any] = {}
        while time.monotonic() < deadline:
            seen = self.step(study, name)
            if seen.get("condition") == condition:
                return seen
            time.sleep(0.1)
        return pytest.fail(f"{name} should be {condition}, is {seen}; {self.gateway.log.read_text()[-2000:]}")

    def wait_images(self, study: str, count: int, seconds: float = 60) -> int:
        """Wait until a study has so many images; how many it has."""
        deadline = time.monotonic() + seconds
        images = 0
        while images < count and time.monotonic() < deadline:
            images = next((int(s["images"]) for s in self.gateway.studies() if s["study_instance_uid"] == study), 0)
            time.sleep(0.1)
        return images

    def retry(self, study: str) -> None:
        """The button Try again."""
        done = site.dentgate(self.gateway, "jobs", "retry", study)
        assert done.returncode == 0, done.stderr

    def once(self, *studies: str, kinds: int = site.KINDS) -> None:
        """The studies are in PACS and record, once each."""
        assert not self.pacs.wrong(list(studies), kinds, self.modality.images)
        assert not site.wrong_in_record(self.ehr, list(studies))


@contextmanager
def clinic(folder: Path, more: str = "", *, quiet_seconds: float = 0.3) -> Iterator[Clinic]:
    """Everything running; ``more``: of section [analysis]."""
    with (
        servers.fhir_server(folder / "fhir.log") as ehr,
        desk_before(ehr) as desk,
        collecting() as pacs,
        line_to(pacs.port) as pacs_line,
    ):
        site.admit(ehr, PATIENT)
        places = (
            site.destination("pacs", f"dicom://COLLECTOR@127.0.0.1:{pacs_line.port}"),
            site.destination("ehr", f"fhir+{desk.url}"),
            site.destination("folder", (folder / "delivered").as_uri()),
        )
        with gateway(folder, site.settings(folder, *places, more=more), quiet_seconds=quiet_seconds) as running:
            yield Clinic(running, Modality(running.dicom_port), pacs, pacs_line, ehr, desk, folder)
