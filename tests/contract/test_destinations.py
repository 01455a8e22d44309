"""What every destination promises, asked of a folder, a real PACS by C-STORE and by STOW-RS, and a real FHIR record."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.domain.errors import Transient
from service.domain.result import Delivery
from service.export import DESTINATIONS, Destination, open_destination
from service.results import WRITERS
from service.results.subject import Source, Subject
from tests.builders import analysis_of, destination_of, header_of, uid_of, xray
from tests.servers import OrthancServer, free_port

_SEEDS = itertools.count()


class Peer(ABC):
    """A destination with a look behind its back."""

    def __init__(self, url: str, dead_url: str) -> None:
        """Args: url of the peer, and of a peer of its kind that does not work."""
        self.url, self.dead_url = url, dead_url

    @abstractmethod
    def holdings(self, study_uid: str) -> set[str]:
        """What the peer has of a study, every version told apart."""


class FolderPeer(Peer):
    """A folder."""

    def holdings(self, study_uid: str) -> set[str]:
        """Files with their bytes."""
        folder = Path(self.url.removeprefix("file://"), study_uid)
        return {f"{path.relative_to(folder)} {hash(path.read_bytes())}" for path in folder.rglob("*") if path.is_file()}


class PacsPeer(Peer):
    """Orthanc, by C-STORE or STOW-RS."""

    http_url = ""

    def holdings(self, study_uid: str) -> set[str]:
        """SOP Instance UIDs."""
        query = {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": study_uid}}
        with httpx.Client(trust_env=False, timeout=30) as client:
            found = client.post(f"{self.http_url}/tools/find", json=query).json()
        return {each["MainDicomTags"]["SOPInstanceUID"] for each in found}


class RecordPeer(Peer):
    """The FHIR record."""

    def holdings(self, study_uid: str) -> set[str]:
        """The report and its Observations, each with its version."""
        base = self.url.removeprefix("fhir+")
        held = set()
        with httpx.Client(trust_env=False, timeout=30) as client:
            for kind in ("DiagnosticReport", "Observation", "Provenance"):
                for entry in client.get(f"{base}/{kind}", params={"_count": "500"}).json().get("entry", []):
                    if study_uid in str(entry["resource"]):
                        held.add(f"{kind}/{entry['resource']['id']} {entry['resource']['meta']['versionId']}")
        return held


@pytest.fixture(params=["folder", "pacs", "archive", "record"])
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    """Each kind of destination in turn."""
    dead = free_port()
    if request.param == "folder":
        blocked = tmp_path / "blocked"
        blocked.write_bytes(b"")
        yield FolderPeer((tmp_path / "out").as_uri(), blocked.as_uri())
    elif request.param == "pacs":
        server: OrthancServer = request.getfixturevalue("orthanc")
        pacs = PacsPeer(f"dicom://{server.aet}@127.0.0.1:{server.dicom_port}", f"dicom://DEAD@127.0.0.1:{dead}")
        pacs.http_url = server.http_url
        yield pacs
    elif request.param == "archive":
        base: str = f"{request.getfixturevalue('orthanc').http_url}"
        archive = PacsPeer(f"stow+{base}/dicom-web", f"stow+http://127.0.0.1:{dead}/dicom-web")
        archive.http_url = base
        yield archive
    else:
        base = request.getfixturevalue("fhir_server")
        person: dict[str, Any] = {"resourceType": "Patient", "identifier": [{"value": "CONTRACT-1"}]}
        with httpx.Client(trust_env=False, timeout=30) as client:
            if not client.get(f"{base}/Patient", params={"identifier": "CONTRACT-1"}).json().get("entry"):
                client.post(f"{base}/Patient", json=person).raise_for_status()
        yield RecordPeer(f"fhir+{base}", f"fhir+http://127.0.0.1:{dead}/fhir")


def delivery_to(destination: Destination, seed: str, revision: int = 1, attempt: int = 1) -> Delivery:
    """What the destination takes by default, of a study of its own; each revision has one late image more."""
    study = uid_of(seed, "study")
    headers = [
        header_of(xray(seed=f"{seed}/{number}", StudyInstanceUID=study, PatientID="CONTRACT-1"))
        for number in range(revision)
    ]
    sources = [Source(header, analysis_of(header, (36, 37 + number))) for number, header in enumerate(headers)]
    subject = Subject(study, revision, sources)
    results = [result for kind in destination.default_results for result in WRITERS[kind](subject)]
    return Delivery(study, revision, results, attempt)


def fresh_seed() -> str:
    """A study that no other test uses."""
    return f"contract-{next(_SEEDS)}"


def test_delivered(peer: Peer) -> None:
    """What was delivered is there, and the answer is one line without patient data."""
    destination = open_destination(destination_of(peer.url), "DENTGATE")
    delivery = delivery_to(destination, fresh_seed())
    line = destination.deliver(delivery)
    assert len(peer.holdings(delivery.study_instance_uid)) >= len(delivery.results)
    assert line
    assert "\n" not in line
    assert "CONTRACT-1" not in line


def test_delivered_twice_is_delivered_once(peer: Peer) -> None:
    """A second delivery, even by a destination that knows nothing of the first, leaves the peer as the first did."""
    seed = fresh_seed()
    first, second = (open_destination(destination_of(peer.url), "DENTGATE") for _ in range(2))
    delivery = delivery_to(first, seed)
    first.deliver(delivery)
    before = peer.holdings(delivery.study_instance_uid)
    second.deliver(delivery_to(second, seed, attempt=2))
    assert peer.holdings(delivery.study_instance_uid) == before


def test_later_revision_comes_beside_or_in_place(peer: Peer) -> None:
    """A later revision (a late image) adds to what the peer has; delivering it twice leaves it as once."""
    seed = fresh_seed()
    destination = open_destination(destination_of(peer.url), "DENTGATE")
    destination.deliver(delivery_to(destination, seed))
    delivery = delivery_to(destination, seed, revision=2)
    before = peer.holdings(delivery.study_instance_uid)
    destination.deliver(delivery)
    after = peer.holdings(delivery.study_instance_uid)
    destination.deliver(delivery)
    assert len(after) > len(before)
    assert peer.holdings(delivery.study_instance_uid) == after


def test_check_asks_and_leaves_nothing(peer: Peer) -> None:
    """The check answers in one line."""
    line = open_destination(destination_of(peer.url), "DENTGATE").check()
    assert line
    assert "\n" not in line


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom forgets a refused socket
def test_peer_that_is_down_is_tried_again(peer: Peer) -> None:
    """A peer that does not work is Transient, for delivery and check, and the message says more than that."""
    destination = open_destination(destination_of(peer.dead_url), "DENTGATE")
    with pytest.raises(Transient) as at_delivery:
        destination.deliver(delivery_to(destination, fresh_seed()))
    with pytest.raises(Transient) as at_check:
        destination.check()
    for raised in (at_delivery, at_check):
        assert len(str(raised.value)) > 20
        assert "CONTRACT-1" not in str(raised.value)


def test_every_scheme_has_default_results_that_can_be_written() -> None:
    """Each destination names kinds of results that have a writer."""
    for kind in DESTINATIONS.values():
        assert set(kind.default_results) <= set(WRITERS)  # type: ignore[attr-defined]  # a class, seen as a callable
