"""Our SR and SEG in a real PACS."""

from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from service.domain.errors import Transient
from service.domain.result import Delivery
from service.export.store_scu import StoreScu
from service.results import WRITERS
from tests import servers
from tests.builders import as_bytes, destination_of, uid_of, xray
from tests.servers import OrthancServer
from tests.subjects import content_of, every_object, pictured, subject_of


def url_of(server: OrthancServer) -> str:
    """The destination URL of a PACS."""
    return f"dicom://{server.aet}@127.0.0.1:{server.dicom_port}"


def delivery_of(seed: str, kinds: Sequence[str] = ("seg", "sr")) -> Delivery:
    """Results of one panoramic."""
    subject = pictured(subject_of(xray(seed=seed)))
    results = [result for kind in kinds for result in WRITERS[kind](subject)]
    return Delivery(subject.study_instance_uid, 1, results, 1)


def test_objects_come_back_as_sent(orthanc: OrthancServer) -> None:
    """Objects of every kind that the PACS gives back by HTTP are equal to those sent, byte for byte.

    A second C-STORE of the same objects changes nothing: as many instances, the same bytes.
    """
    results = every_object("orthanc-return")
    study = uid_of("orthanc-return", "study")
    destination = StoreScu(destination_of(url_of(orthanc)), "DENTGATE")
    with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
        for _ in range(2):
            destination.deliver(Delivery(study, 1, results, 1))
            (found,) = client.post("/tools/lookup", content=study).json()
            assert client.get(f"/studies/{found['ID']}/statistics").json()["CountInstances"] == len(results)
            for result in results:
                (identifier,) = client.post("/tools/lookup", content=result.name).json()
                raw = client.get(f"/instances/{identifier['ID']}/file").content
                assert content_of(raw) == content_of(result.content), result.kind


def test_results_join_the_study_of_the_image(orthanc: OrthancServer) -> None:
    """Image, SEG and SR are one study of three series, found by DICOMweb."""
    delivery = delivery_of("orthanc-join")
    with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
        client.post("/instances", content=as_bytes(xray(seed="orthanc-join"))).raise_for_status()
        StoreScu(destination_of(url_of(orthanc)), "DENTGATE").deliver(delivery)
        if "dicom-web" not in client.get("/plugins").json():
            pytest.skip("Orthanc has no DICOMweb plugin (apt install orthanc-dicomweb)")
        series = client.get(f"/dicom-web/studies/{delivery.study_instance_uid}/series").raise_for_status().json()
    assert sorted(each["00080060"]["Value"][0] for each in series) == ["PX", "SEG", "SR"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom forgets a refused socket
def test_pacs_that_comes_back_gets_its_results_once(tmp_path: Path) -> None:
    """A delivery that failed while the PACS was down succeeds after its start, and leaves each object once."""
    port = servers.free_port()
    delivery = delivery_of("orthanc-down")
    destination = StoreScu(destination_of(f"dicom://ORTHANC@127.0.0.1:{port}"), "DENTGATE")
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
