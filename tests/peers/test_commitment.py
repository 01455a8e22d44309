"""Storage commitment with a real archive, both ways: it asks us, and we ask it."""

import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.db import sent
from service.db.sent import Delivered
from service.db.studies import close_quiet_studies
from service.domain.errors import Waiting
from service.domain.result import Delivery, Result
from service.domain.sent import Committed, ObjectAnswer
from service.export.commitment import Pursuit
from service.export.store_scu import StoreScu
from service.listener.commitment import Address
from service.listener.reporter import Reporter
from service.results import WRITERS
from tests.builders import destination_of, xray
from tests.servers import OrthancServer
from tests.subjects import pictured, subject_of
from tests.unit.listener.test_commitment import Archive


@pytest.fixture
def archive(orthanc: OrthancServer, tmp_path: Path) -> Iterator[Archive]:
    """Our own listener, which Orthanc knows."""
    made = Archive(tmp_path, {orthanc.aet: Address("127.0.0.1", orthanc.dicom_port)})
    with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
        client.put("/modalities/dentgate", json=["DENTGATE", "127.0.0.1", made.listener.port]).raise_for_status()
    yield made
    made.listener.stop(0)
    made.db.close()


def test_orthanc_hears_that_we_keep_its_instance(orthanc: OrthancServer, archive: Archive) -> None:
    """Orthanc asks for one stored and one unknown instance; by its own account it heard both answers."""
    reporter = Reporter(archive.commitments, "DENTGATE")
    reporter.start()
    try:
        with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
            instance = archive.instance
            asked = [
                {"SOPClassUID": instance.sop_class_uid, "SOPInstanceUID": instance.sop_instance_uid},
                {"SOPClassUID": instance.sop_class_uid, "SOPInstanceUID": "1.2.3.99"},
            ]
            job = client.post("/modalities/dentgate/storage-commitment", json={"DicomInstances": asked}).json()
            heard: dict[str, Any] = {"Status": "Pending"}
            for _ in range(100):
                heard = client.get(job["Path"]).json()
                if heard["Status"] != "Pending":
                    break
                threading.Event().wait(0.1)
        assert heard["Status"] == "Failure"  # because one of the two is not there
        assert [item["SOPInstanceUID"] for item in heard["Success"]] == [instance.sop_instance_uid]
        assert [item["SOPInstanceUID"] for item in heard["Failures"]] == ["1.2.3.99"]
        for _ in range(50):
            if archive.row().answered_at is not None:
                break
            threading.Event().wait(0.1)
        assert archive.row().answered_at is not None
    finally:
        reporter.stop()


class Sender:
    """A delivery to Orthanc as the stages of a worker make it."""

    def __init__(self, orthanc: OrthancServer, archive: Archive, seed: str) -> None:
        """Send the results of one panoramic."""
        close_quiet_studies(archive.db, 0.0)
        self.db, self.what = archive.db, Delivered(1, "pacs")
        url = f"dicom://{orthanc.aet}@127.0.0.1:{orthanc.dicom_port}"
        self.destination = StoreScu(destination_of(url, commitment=True), "DENTGATE")
        subject = pictured(subject_of(xray(seed=seed)))
        self.results = [result for kind in ("sr", "seg", "secondary-capture") for result in WRITERS[kind](subject)]
        self.send([result.name for result in self.results])

    def send(self, uids: Collection[str]) -> None:
        """Send some of the objects."""
        chosen: list[Result] = [result for result in self.results if result.name in uids]
        answers: list[ObjectAnswer] = []
        self.destination.deliver(Delivery("1.2.3", 1, chosen, 1, answers.append))
        sent.note(self.db, self.what, answers, {})

    def pursue(self) -> str:
        """Until everything is committed, as often as the stage would be rung for."""
        pursuit = Pursuit(self.db, self.what, self.destination, self.send)
        for attempt in range(1, 100):
            try:
                return pursuit.step(attempt)
            except Waiting:
                threading.Event().wait(0.1)
        pytest.fail("Orthanc does not report")


def test_orthanc_commits_what_we_sent(orthanc: OrthancServer, archive: Archive) -> None:
    """Asked for three objects, Orthanc reports on a new association to our listener that it keeps them."""
    sender = Sender(orthanc, archive, "commit-kept")
    assert sender.pursue() == "3 objects committed"
    assert [each.times_sent for each in sent.objects(archive.db, sender.what)] == [1, 1, 1]


def test_what_orthanc_has_lost_is_sent_again(orthanc: OrthancServer, archive: Archive) -> None:
    """An object that is deleted after its Success fails commitment, is sent again, and then is there and committed."""
    sender = Sender(orthanc, archive, "commit-lost")
    lost = sender.results[1]
    with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
        (found,) = client.post("/tools/lookup", content=lost.name).json()
        client.delete(f"/instances/{found['ID']}").raise_for_status()
        assert client.post("/tools/lookup", content=lost.name).json() == []
        assert sender.pursue() == "3 objects committed"
        assert len(client.post("/tools/lookup", content=lost.name).json()) == 1
    record = {each.answer.kind: (each.times_sent, each.commitment) for each in sent.objects(archive.db, sender.what)}
    assert record == {kind: (2 if kind == "seg" else 1, Committed.COMMITTED) for kind in record}


def test_orthanc_is_seen_to_offer_commitment(orthanc: OrthancServer) -> None:
    """`dentgate check` tells that the archive can be asked."""
    url = f"dicom://{orthanc.aet}@127.0.0.1:{orthanc.dicom_port}"
    assert "offers storage commitment" in StoreScu(destination_of(url, commitment=True), "DENTGATE").check()
