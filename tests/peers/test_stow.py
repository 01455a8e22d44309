"""Our results in a real archive by STOW-RS: plain, behind a login, and by mutual TLS."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest

from service.domain.errors import Permanent, Transient
from service.domain.result import DICOM_RESULTS, Delivery
from service.domain.sent import ObjectAnswer
from service.export.stow import Stow
from service.export.tls import certificate_lives
from service.results import WRITERS
from tests import servers
from tests.builders import destination_of, xray
from tests.certificates import Authority
from tests.http_peers import Reply, Request, serving
from tests.servers import OrthancServer
from tests.subjects import pictured, subject_of

#: "sr-text" is "sr" where there are regions; a rejection is written for a result that was withdrawn only.
KINDS = [kind for kind in DICOM_RESULTS if kind not in {"sr-text", "rejection"}]


@pytest.fixture
def answers() -> list[ObjectAnswer]:
    """What the archive said to each object."""
    return []


def delivery_of(seed: str, answers: list[ObjectAnswer]) -> Delivery:
    """Every kind of result of one panoramic."""
    subject = pictured(subject_of(xray(seed=seed)))
    results = [result for kind in KINDS for result in WRITERS[kind](subject)]
    return Delivery(subject.study_instance_uid, 1, results, 1, answers.append)


def test_every_kind_comes_back_as_sent(orthanc: OrthancServer, answers: list[ObjectAnswer]) -> None:
    """Objects of every kind are stored in one request, and come back by WADO-RS equal, element by element."""
    destination = Stow(destination_of(f"stow+{orthanc.http_url}/dicom-web"), "DENTGATE")
    delivery = delivery_of("stow-return", answers)
    assert destination.deliver(delivery) == f"{len(KINDS)} stored by {orthanc.http_url}/dicom-web"
    assert [(each.kind, each.status, each.stored) for each in answers] == [(kind, 0, True) for kind in KINDS]
    with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
        for result in delivery.results:
            (identifier,) = client.post("/tools/lookup", content=result.name).json()
            raw = client.get(f"/instances/{identifier['ID']}/file").content
            assert pydicom.dcmread(io.BytesIO(raw)) == pydicom.dcmread(io.BytesIO(result.content))


def test_second_delivery_changes_nothing(orthanc: OrthancServer, answers: list[ObjectAnswer]) -> None:
    """The same delivery once more is success for every object, and leaves as many instances as the first."""
    destination = Stow(destination_of(f"stow+{orthanc.http_url}/dicom-web"), "DENTGATE")
    delivery = delivery_of("stow-twice", answers)
    counts = []
    for _ in range(2):
        destination.deliver(delivery)
        with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
            query = {"Level": "Instance", "Query": {"StudyInstanceUID": delivery.study_instance_uid}}
            counts.append(len(client.post("/tools/find", json=query).json()))
    assert counts == [len(KINDS)] * 2
    assert all(each.stored for each in answers)


def test_wrong_base_is_told_by_check(orthanc: OrthancServer) -> None:
    """The base of DICOMweb passes; Orthanc's own interface and an address that is not there do not."""
    assert "answers searches" in Stow(destination_of(f"stow+{orthanc.http_url}/dicom-web"), "DENTGATE").check()
    with pytest.raises(Permanent, match='HTTP 400 Bad request Missing "since" argument'):
        Stow(destination_of(f"stow+{orthanc.http_url}"), "DENTGATE").check()
    with pytest.raises(Permanent, match="is the base right"):
        Stow(destination_of(f"stow+{orthanc.http_url}/nothing"), "DENTGATE").check()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom archive and gateway trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    """An archive that asks for a password and keeps the first version of an object."""
    more = {
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"dentgate": "opens the door"},
        "OverwriteInstances": False,
    }
    with servers.orthanc(tmp_path_factory.mktemp("guarded"), more=more) as server:
        yield server


def test_password(guarded: OrthancServer, answers: list[ObjectAnswer], tmp_path: Path) -> None:
    """With the password every object is stored, twice; without it the words say so."""
    secret = tmp_path / "password"
    secret.write_text("opens the door\n")
    login = {"auth": "basic", "username": "dentgate", "password_file": str(secret)}
    url = f"stow+{guarded.http_url}/dicom-web"
    destination = Stow(destination_of(url, **login), "DENTGATE")
    assert "answers searches" in destination.check()
    delivery = delivery_of("stow-guarded", answers)
    assert destination.deliver(delivery).startswith(f"{len(KINDS)} stored")
    destination.deliver(delivery)
    assert [each.stored for each in answers] == [True] * 2 * len(KINDS)
    with pytest.raises(Permanent, match=r"HTTP 401.*does not accept our login"):
        Stow(destination_of(url), "DENTGATE").deliver(delivery)


def test_mutual_tls(orthanc: OrthancServer, authority: Authority, answers: list[ObjectAnswer]) -> None:
    """Through a proxy that asks for our certificate, as clinics put before an archive, every object is stored.

    Orthanc 1.10.1 of Debian 12 dies of a signal at its first request by HTTPS, so it is never asked that way.
    """
    ours = authority.issue("dentgate")
    trust = {"ca_file": str(authority.certificate)}
    shown = {"cert_file": str(ours.certificate), "cert_key_file": str(ours.key)}

    def forward(request: Request) -> Reply:
        headers = {name: request.headers[name] for name in ("Content-Type", "Accept")}
        target = orthanc.http_url + request.path
        answer = httpx.request(
            request.method, target, content=request.body, headers=headers, trust_env=False, timeout=30
        )
        return Reply(answer.status_code, answer.content, {"Content-Type": answer.headers["Content-Type"]})

    context = authority.server_context(authority.issue("proxy"), asks_client=True)
    with serving(forward, context) as url:
        base = f"stow+{url}/dicom-web"
        delivery = delivery_of("stow-mutual", answers)
        assert (
            Stow(destination_of(base, **trust, **shown), "DENTGATE")
            .deliver(delivery)
            .startswith(f"{len(KINDS)} stored")
        )
        assert certificate_lives(destination_of(base, **trust, **shown)) == [
            "its certificate expires in 89 days",
            "our certificate expires in 89 days",
        ]
        with pytest.raises(Transient, match="cert_file must be"):
            Stow(destination_of(base, **trust), "DENTGATE").deliver(delivery)
    with httpx.Client(trust_env=False, base_url=orthanc.http_url, timeout=30) as client:
        assert all(len(client.post("/tools/lookup", content=result.name).json()) == 1 for result in delivery.results)
