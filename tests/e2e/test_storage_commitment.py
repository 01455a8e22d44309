"""A whole Dentgate asks a real PACS to keep its results, and sends again what the PACS has lost."""

from pathlib import Path

import httpx
import pytest

from tests.builders import as_bytes, xray
from tests.gateway import Gateway, gateway
from tests.servers import OrthancServer
from workers.training.phantom import panoramic_phantom


def committed(running: Gateway, uid: str) -> dict[str, str]:
    """SOP Instance UID -> how far its commitment is."""
    return {each["sop_instance_uid"]: each["commitment"] for each in running.study(uid)["jobs"][0]["objects"]}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_results_are_committed(orthanc: OrthancServer, tmp_path: Path) -> None:
    """A study is delivered once the PACS has reported to our listener that it keeps every object."""
    settings = (
        "[analysis]\nallow_research_models = true\n"
        f'[[destination]]\nname = "pacs"\nurl = "dicom://{orthanc.aet}@127.0.0.1:{orthanc.dicom_port}"\n'
        "commitment = true\n"
    )
    ds = xray(panoramic_phantom(77, rows=376, columns=720).pixels, seed="e2e-commitment")
    uid, image = str(ds.StudyInstanceUID), tmp_path / "image.dcm"
    image.write_bytes(as_bytes(ds))
    with (
        gateway(tmp_path / "gateway", settings) as running,
        httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client,
    ):
        known = client.put("/modalities/dentgate-e2e", json=["DENTGATE", "127.0.0.1", running.dicom_port])
        known.raise_for_status()
        running.send([image])
        running.wait_for(1, ["delivered"], seconds=180)
        job = running.study(uid)["jobs"][0]
        assert [step["condition"] for step in (*job["deliveries"], *job["commitments"])] == ["done", "done"]
        assert "objects committed" in job["commitments"][0]["message"]
        assert set(committed(running, uid).values()) == {"committed"}
        assert all(client.post("/tools/lookup", content=name).json() for name in committed(running, uid))
        client.delete("/modalities/dentgate-e2e")
