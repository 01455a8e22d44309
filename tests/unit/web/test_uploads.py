"""Uploads take the way of a modality: stored, recorded, answered with the study; what cannot be taken is said why."""

import errno
from typing import BinaryIO

import httpx
import numpy as np
import pytest

from service.domain.study import ReceivedInstance, Recorded
from service.settings import Settings
from service.web.app import WebServices, create_app
from tests.builders import as_bytes, xray
from tests.unit.web.rows import Site, encoded, serving

GREY = np.arange(2400, dtype=np.uint16).reshape(40, 60).astype(np.uint8)
PATIENT = {"patient_id": "P7", "family_name": "Doe", "given_name": "Jane", "birth_date": "1980-02-03"}


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """Files of a form."""
    return [("files", (f"file-{number}", content)) for number, content in enumerate(contents)]


def test_picture_becomes_a_study(gateway: Site, client: httpx.Client) -> None:
    """A picture is answered with its study, which is then in the list with the patient of the form."""
    answer = client.post("/api/studies", files=files(encoded(GREY)), data=PATIENT)
    assert answer.status_code == 201
    (uid,) = answer.json()["study_instance_uids"]
    study = client.get(f"/api/studies/{uid}").json()["study"]
    assert (study["patient_id"], study["patient_name"], study["calling_ae"]) == ("P7", "Doe^Jane", "WEB")
    assert study["status"]["tone"] == "receiving"
    assert len(list(gateway.storage.root.rglob("*.dcm"))) == 1


def test_pictures_sent_together_are_one_study(client: httpx.Client) -> None:
    """Several pictures of one upload are images of one study."""
    answer = client.post("/api/studies", files=files(encoded(GREY), encoded(GREY, "JPEG")), data=PATIENT)
    (uid,) = answer.json()["study_instance_uids"]
    assert client.get(f"/api/studies/{uid}").json()["study"]["images"] == 2


def test_dicom_needs_no_form(client: httpx.Client) -> None:
    """A DICOM file says itself whose it is; sent twice it is the same object."""
    content = as_bytes(xray())
    first, second = (client.post("/api/studies", files=files(content)).json()["files"][0] for _ in range(2))
    assert (first["recorded"], second["recorded"]) == ("new", "same")
    study = client.get(f"/api/studies/{first['study_instance_uid']}").json()["study"]
    assert (study["patient_id"], study["images"]) == ("PROBE-1", 1)


def test_form_without_scripts_leads_to_the_study(client: httpx.Client) -> None:
    """The plain form leads on to the study's page, or to a page that says what was wrong."""
    answer = client.post("/upload", files=files(encoded(GREY)), data=PATIENT | {"kind": "photograph"})
    assert answer.status_code == 303
    assert client.get(answer.headers["location"]).status_code == 200
    refused = client.post("/upload", files=files(b"no picture at all"), data=PATIENT)
    assert refused.status_code == 400
    assert "<h1>" in refused.text


@pytest.mark.parametrize(
    ("content", "fields", "sentence"),
    [
        (b"", PATIENT, "the file is empty"),
        (
            b"%PDF-1.7 something else entirely, long enough to look at",
            PATIENT,
            "file-0 is not a JPEG, PNG or DICOM file",
        ),
        (encoded(GREY)[:60], PATIENT, "truncated"),
        (b"\xff\xd8\xff", PATIENT, "truncated"),
        (as_bytes(xray())[:900], PATIENT, ""),
        (encoded(GREY), {}, "a picture needs a patient ID"),
        (encoded(GREY), {"patient_id": "  "}, "a picture needs a patient ID"),
        (encoded(GREY), PATIENT | {"birth_date": "1980-13-41"}, "the birth date is not a date"),
        (encoded(GREY), PATIENT | {"birth_date": "2999-01-01"}, "lies in the future"),
    ],
)
def test_bad_upload_is_400_with_a_sentence(
    gateway: Site, client: httpx.Client, content: bytes, fields: dict[str, str], sentence: str
) -> None:
    """What cannot be taken is answered 400 with one plain sentence, and leaves nothing behind."""
    answer = client.post("/api/studies", files=files(content), data=fields)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("file-0")
    assert sentence in answer.json()["error"]
    assert client.get("/api/studies").json()["total"] == 0
    assert [path for path in gateway.storage.root.rglob("*") if path.is_file()] == []


def test_good_files_arrive_beside_a_bad_one(client: httpx.Client) -> None:
    """One bad file does not keep the others out, and the answer says which one it was."""
    answer = client.post("/api/studies", files=files(encoded(GREY), b"nonsense"), data=PATIENT)
    assert answer.status_code == 201
    good, bad = answer.json()["files"]
    assert (good["error"], bad["study_instance_uid"]) == ("", "")
    assert (bad["error"], good["sentence"]) == ("not a JPEG, PNG or DICOM file", "")
    assert bad["sentence"] == "file-1 is not a JPEG, PNG or DICOM file"


@pytest.mark.parametrize("fields", [{"kind": "hologram"}, {"patient_id": "x" * 65}])
def test_bad_fields_are_422(client: httpx.Client, fields: dict[str, str]) -> None:
    """A field that the form does not know is named."""
    answer = client.post("/api/studies", files=files(encoded(GREY)), data=PATIENT | fields)
    assert answer.status_code == 422
    assert next(iter(fields)) in answer.json()["error"]


def test_too_large_is_413(client: httpx.Client) -> None:
    """More than web.max_upload_mb is refused."""
    answer = client.post("/api/studies", files=files(b"\0" * 1_200_000), data=PATIENT)
    assert answer.status_code == 413


def test_full_storage_is_507(gateway: Site, client: httpx.Client) -> None:
    """Without room the answer is 507 and names the mend."""
    gateway.storage.reserve_bytes = 2**62
    answer = client.post("/api/studies", files=files(encoded(GREY)), data=PATIENT)
    assert answer.status_code == 507
    assert "free some space" in answer.json()["error"]


class _FullDisk:
    """An intake whose disk is full in a way that storage did not foresee."""

    def accept_file(self, _file: BinaryIO, _calling_ae: str) -> tuple[ReceivedInstance, Recorded]:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_is_507(gateway: Site) -> None:
    """A disk that fills up anywhere on the way is 507, not 500."""
    services = WebServices(
        gateway.db, gateway.storage, Settings(), retry=lambda _job: 0, review=lambda _uid, _request: False, ready=list
    )
    with serving(create_app(services, _FullDisk())) as url:
        answer = httpx.post(f"{url}/api/studies", files=files(encoded(GREY)), data=PATIENT, trust_env=False, timeout=60)
    assert (answer.status_code, "disk is full" in answer.json()["error"]) == (507, True)
