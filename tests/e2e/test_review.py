"""A review end to end: the AI's preliminary report, a person's signed one in archive and record, and taken back."""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from tests import servers
from tests.builders import as_bytes, uid_of, xray
from tests.gateway import Gateway, gateway
from tests.servers import OrthancServer
from tests.validators import run
from workers.training.phantom import panoramic_phantom

SR, SEG, KOS = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.59"
STUDY, PATIENT = uid_of("e2e-review", "study"), "E2E-REVIEW"
ANNA = {"name": "Muster^Anna^^Dr.", "identifier": "L-7", "organization": "Praxis am Tor"}
DELIVERY_SECONDS = 150.0  # a machine that does other things as well


@pytest.fixture
def record(tmp_path: Path) -> Iterator[str]:
    """A FHIR record of its own, with the patient."""
    with servers.fhir_server(tmp_path / "fhir.log") as url:
        patient = {"resourceType": "Patient", "identifier": [{"value": PATIENT}], "name": [{"text": "Probe"}]}
        httpx.post(f"{url}/Patient", json=patient, timeout=30).raise_for_status()
        yield url


def panoramic() -> bytes:
    """A phantom."""
    pixels = panoramic_phantom(31, rows=376, columns=720, missing=(18, 46)).pixels
    return as_bytes(xray(pixels, seed="e2e-review", PatientID=PATIENT, PatientName="Probe^Review"))


def settings(orthanc: OrthancServer, record: str) -> str:
    """An archive that is told what no longer counts, and a record."""
    return (
        "[analysis]\nallow_research_models = true\n"
        f'[[destination]]\nname = "pacs"\nurl = "dicom://{orthanc.aet}@127.0.0.1:{orthanc.dicom_port}"\n'
        'results = ["sr", "seg", "secondary-capture", "rejection"]\n'
        f'[[destination]]\nname = "ehr"\nurl = "fhir+{record}"\n'
    )


def ask(running: Gateway, version: str, key: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """A request of Anna that must succeed; the state of the review afterwards."""
    body = {"key": key, "version": version, "reviewer": ANNA, **more}
    answer = httpx.post(f"{running.web_url}/api/studies/{STUDY}/review", json=body, timeout=30)
    assert answer.is_success, answer.text
    return dict(answer.json())


def wait_for_revision(running: Gateway, revision: int) -> None:
    """Until everything of a revision has arrived everywhere."""
    deadline = time.monotonic() + DELIVERY_SECONDS
    while time.monotonic() < deadline:
        job = running.study(STUDY)["jobs"][0]
        if job["revision"] == revision and job["state"] == "delivered":
            return
        time.sleep(0.2)
    message = f"revision {revision} was not delivered: {running.study(STUDY)['jobs'][0]}"
    raise AssertionError(message)


def in_pacs(orthanc: OrthancServer) -> dict[str, pydicom.Dataset]:
    """Results in the archive by SOP Instance UID."""
    query = {"Level": "Instance", "Query": {"StudyInstanceUID": STUDY}}
    found = httpx.post(f"{orthanc.http_url}/tools/find", json=query, timeout=60).raise_for_status().json()
    files = (httpx.get(f"{orthanc.http_url}/instances/{each}/file", timeout=60).content for each in found)
    objects = [pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)) for content in files]
    return {str(ds.SOPInstanceUID): ds for ds in objects}


def in_record(record: str, kind: str) -> list[dict[str, Any]]:
    """All resources of a type that belong to the study."""
    bundle = httpx.get(f"{record}/{kind}", params={"_count": "500"}, timeout=60).raise_for_status().json()
    resources = [entry["resource"] for entry in bundle.get("entry", [])]
    return [each for each in resources if STUDY in str(each.get("identifier"))]


def status_in(record: str) -> str:
    """Status of the one report of the study."""
    (report,) = in_record(record, "DiagnosticReport")
    return str(report["status"])


def observed(record: str) -> dict[str, str]:
    """Role of each observation -> its status."""
    found = ((each["identifier"][0]["value"], each["status"]) for each in in_record(record, "Observation"))
    return {value.split("/dental-findings/")[1].partition("/")[2]: status for value, status in found}


@pytest.mark.timeout(600)
def test_from_preliminary_to_signed_to_withdrawn(tmp_path: Path, orthanc: OrthancServer, record: str) -> None:
    """One rejected, one changed, one added, signed; signed again after a change; withdrawn: all as it must be."""
    image = tmp_path / "pano.dcm"
    image.write_bytes(panoramic())
    with gateway(tmp_path, settings(orthanc, record)) as running:
        running.send([image])
        running.wait_for(1, ("delivered",), seconds=240)
        of_ai = in_pacs(orthanc)
        assert status_in(record) == "preliminary"
        teeth = _review_and_sign(running)
        assert running.kill_workers() > 0  # whatever they were doing with it: it goes on, and comes out once
        wait_for_revision(running, 2)
        signed = _check_archive(orthanc, of_ai, teeth, tmp_path)
        _check_signed_record(record, teeth)
        _amend(running)
        wait_for_revision(running, 3)
        assert status_in(record) == "amended"
        assert observed(record)["FDI27/gingivitis"] == "amended"
        assert observed(record)["FDI26/gingivitis"] == "entered-in-error"
        last = set(in_pacs(orthanc)) - set(signed) - set(of_ai)
        assert last
        ask(running, "1.3", "four", conclusion="withdraw", reason="wrong patient")
        wait_for_revision(running, 4)
        assert status_in(record) == "entered-in-error"
        assert set(observed(record).values()) == {"entered-in-error"}
        (note,) = (ds for ds in in_pacs(orthanc).values() if _title(ds) == "113037")
        series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        taken_back = {each.ReferencedSOPInstanceUID for item in series for each in item.ReferencedSOPSequence}
        results = {uid for uid, ds in in_pacs(orthanc).items() if ds.Manufacturer == "Dentgate" and not _is_note(ds)}
        assert taken_back == results
        assert running.study(STUDY)["study"]["reviewed"].startswith("withdrawn by Dr. Anna Muster")
    log = (tmp_path / "log.txt").read_text()
    assert not [word for word in ("Probe", PATIENT, "Muster", "wrong patient") if word in log]


def _review_and_sign(running: Gateway) -> list[int]:
    """Of the first three teeth: the first is struck out and the second is called by its number, the third goes."""
    state = httpx.get(f"{running.web_url}/api/studies/{STUDY}/review", timeout=30).json()
    teeth = [each for each in state["findings"] if each["ai"]["kind"] == "tooth"][:3]
    numbers = [each["ai"]["tooth"] for each in teeth]
    actions = [
        {"do": "reject", "finding": teeth[0]["id"]},
        {"do": "change", "finding": teeth[1]["id"], "tooth": numbers[0]},
        {"do": "reject", "finding": teeth[2]["id"]},
        {"do": "add", "image": teeth[0]["image"], "kind": "gingivitis", "tooth": 26, "box": [10, 20, 90, 120]},
    ]
    state = ask(running, state["version"], "one", actions=actions)
    again = ask(running, "1.0", "one", actions=actions)  # the answer was lost: the same request once more
    assert len(again["history"]) == 1
    ask(running, state["version"], "two", conclusion="sign")
    return numbers


def _amend(running: Gateway) -> None:
    state = httpx.get(f"{running.web_url}/api/studies/{STUDY}/review", timeout=30).json()
    (added,) = (each["id"] for each in state["findings"] if each["ai"] is None)
    ask(
        running, state["version"], "three", actions=[{"do": "change", "finding": added, "tooth": 27}], conclusion="sign"
    )


def _title(ds: pydicom.Dataset) -> str:
    return str(ds.ConceptNameCodeSequence[0].CodeValue) if "ConceptNameCodeSequence" in ds else ""


def _is_note(ds: pydicom.Dataset) -> bool:
    return str(ds.SOPClassUID) == KOS


def _check_archive(
    orthanc: OrthancServer, of_ai: dict[str, pydicom.Dataset], teeth: list[int], folder: Path
) -> dict[str, pydicom.Dataset]:
    """The objects of the AI are there unchanged; beside them the signed ones, valid, with their predecessors."""
    everything = in_pacs(orthanc)
    assert set(of_ai) < set(everything)
    new = {uid: ds for uid, ds in everything.items() if uid not in of_ai}
    assert set(Counter((ds.SOPClassUID, ds.SeriesDescription) for ds in new.values()).values()) == {1}
    reports = [ds for ds in new.values() if ds.SOPClassUID == SR]
    assert reports
    for ds in reports:
        assert (ds.VerificationFlag, ds.PreliminaryFlag) == ("VERIFIED", "FINAL")
        assert str(ds.VerifyingObserverSequence[0].VerifyingObserverName) == ANNA["name"]
        series = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
        assert of_ai[series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID].VerificationFlag == "UNVERIFIED"
    assert {_title(ds) for ds in new.values() if _is_note(ds)} == {"113001"}
    (seg,) = (ds for ds in new.values() if ds.SOPClassUID == SEG and "teeth" in ds.SeriesDescription)
    labels = {segment.SegmentLabel for segment in seg.SegmentSequence}
    assert f"FDI {teeth[0]}" in labels
    assert not labels & {f"FDI {fdi}" for fdi in teeth[1:]}
    for uid, ds in new.items():
        path = folder / f"{uid}.dcm"
        ds.save_as(path)
        errors = [line for line in run("dciodvfy", path).stdout.splitlines() if line.startswith("Error")]
        assert not errors, errors
        if ds.SOPClassUID in {SR, KOS}:
            dumped = subprocess.run(["/usr/bin/dsrdump", str(path)], capture_output=True, text=True, check=False)
            assert dumped.returncode == 0, dumped.stderr
            assert ds.SOPClassUID == KOS or re.search(r"Verification Flag +: VERIFIED", dumped.stdout)
    return new


def _check_signed_record(record: str, teeth: list[int]) -> None:
    """Final, under the person's name; what is gone is entered in error, what was changed and added is final."""
    (report,) = in_record(record, "DiagnosticReport")
    assert report["status"] == "final"
    assert [each["display"] for each in report["resultsInterpreter"]] == ["Dr. Anna Muster"]
    status = observed(record)
    assert {status[f"FDI{fdi}"] for fdi in teeth[1:]} == {"entered-in-error"}
    assert status[f"FDI{teeth[0]}"] == status["FDI26/gingivitis"] == "final"
    assert "preliminary" not in status.values()
    assert len(report["result"]) == sum(each == "final" for each in status.values())
