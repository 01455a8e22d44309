"""Our SR and SEG in a real PACS."""

import io
from collections.abc import Sequence
from pathlib import Path

import httpx
import pydicom
import pytest

from service.domain.errors import Transient
from service.domain.result import DICOM_RESULTS, Delivery
from service.export.store_scu import StoreScu
from service.results import WRITERS
from tests import servers
from tests.builders import as_bytes, xray
from tests.servers import OrthancServer
from tests.subjects import pictured, subject_of


def url_of(server: OrthancServer) -> str:
    """The destination URL of a PACS."""
    return f"dicom://{server.aet}@127.0.0.1:{server.dicom_port}"


def delivery_of(seed: str, kinds: Sequence[str] = ("seg", "sr")) -> Delivery:
    """Results of one panoramic."""
    subject = pictured(subject_of(xray(seed=seed)))
    results = [result for kind in kinds for result in WRITERS[kind](subject)]
    return Delivery(subject.study_instance_uid, 1, results, 1)


def test_objects_come_back_as_sent(orthanc: OrthancServer) -> None:
    """Objects of every kind that the PACS gives back by HTTP are equal to those sent, element by element."""
    # "sr-text" is "sr" where there are regions; Orthanc 1.10 refuses the SOP class of label maps
    delivery = delivery_of(
        "orthanc-return", [kind for kind in DICOM_RESULTS if kind not in {"sr-text", "seg-labelmap"}]
    )
    StoreScu(url_of(orthanc), "DENTGATE").deliver(delivery)
    with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
        for result in delivery.results:
            (identifier,) = client.post("/tools/lookup", content=result.name).json()
            raw = client.get(f"/instances/{identifier['ID']}/file").content
            assert pydicom.dcmread(io.BytesIO(raw)) == pydicom.dcmread(io.BytesIO(result.content))


def test_results_join_the_study_of_the_image(orthanc: OrthancServer) -> None:
    """Image, SEG and SR are one study of three series, found by DICOMweb."""
    delivery = delivery_of("orthanc-join")
    with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
        client.post("/instances", content=as_bytes(xray(seed="orthanc-join"))).raise_for_status()
        StoreScu(url_of(orthanc), "DENTGATE").deliver(delivery)
        if "dicom-web" not in client.get("/plugins").json():
            pytest.skip("Orthanc has no DICOMweb plugin (apt install orthanc-dicomweb)")
        series = client.get(f"/dicom-web/studies/{delivery.study_instance_uid}/series").raise_for_status().json()
    assert sorted(each["00080060"]["Value"][0] for each in series) == ["PX", "SEG", "SR"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom forgets a refused socket
def test_pacs_that_comes_back_gets_its_results_once(tmp_path: Path) -> None:
    """A delivery that failed while the PACS was down succeeds after its start, and leaves each object once."""
    port = servers.free_port()
    delivery = delivery_of("orthanc-down")
    destination = StoreScu(f"dicom://ORTHANC@127.0.0.1:{port}", "DENTGATE")
    if not servers.isolated():
        pytest.skip("Orthanc listens on every interface, so it runs in a network namespace only (tests/isolated.sh)")
    with pytest.raises(Transient, match="cannot be reached"):
        destination.deliver(delivery)
    with servers.orthanc(tmp_path, port):
        destination.deliver(delivery)
    with servers.orthanc(tmp_path, port) as server:  # started anew on the same files
        destination.deliver(delivery)
        with httpx.Client(trust_env=False, base_url=server.http_url, timeout=30) as client:
            assert client.get("/statistics").json()["CountInstances"] == len(delivery.results)
