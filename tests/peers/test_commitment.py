"""Storage commitment as a real archive asks for it."""

import threading
from pathlib import Path
from typing import Any

import httpx

from service.listener.commitment import Address
from service.listener.reporter import Reporter
from tests.servers import OrthancServer
from tests.unit.listener.test_commitment import Archive


def test_orthanc_hears_that_we_keep_its_instance(orthanc: OrthancServer, tmp_path: Path) -> None:
    """Orthanc asks for one stored and one unknown instance; by its own account it heard both answers."""
    archive = Archive(tmp_path, {orthanc.aet: Address("127.0.0.1", orthanc.dicom_port)})
    reporter = Reporter(archive.commitments, "DENTGATE")
    reporter.start()
    try:
        with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
            client.put("/modalities/dentgate", json=["DENTGATE", "127.0.0.1", archive.listener.port]).raise_for_status()
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
        archive.listener.stop(0)
        archive.db.close()
