"""The main job, end to end with real counterparts: a modality sends, a PACS and a record receive, and processes die.

With real panoramics where their folder is named (DENTGATE_TEST_DATA), else with phantoms.
"""

import csv
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import highdicom as hd
import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from tests import servers
from tests.builders import as_bytes, uid_of, xray
from tests.gateway import Gateway, gateway
from tests.servers import OrthancServer
from workers.training.phantom import panoramic_phantom

REAL, DRAWN = 16, 6  # 16 cross everything with everything
FULL_SIZE = (1992, 1128)  # columns, rows: about those of the originals, before they were stretched to a square
SYNTAXES = (ExplicitVRLittleEndian, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
SR, SEG = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4"
PICTURE = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture
TEETH, CONDITIONS = "teeth_panoramic", "tooth_conditions"


@dataclass(frozen=True)
class Sent:
    """An image on its way in."""

    path: Path
    study_uid: str
    patient_id: str
    syntax: str


@pytest.fixture
def record(tmp_path: Path) -> Iterator[str]:
    """A FHIR record of its own: hundreds of observations would stand in the way of other tests."""
    with servers.fhir_server(tmp_path / "fhir.log") as url:
        yield url


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Sent]:
    """Panoramics as PX DICOM: MONOCHROME1 and 2, 8 and 12 bit, four transfer syntaxes."""
    folder = tmp_path_factory.mktemp("images")
    return [_wrap(folder, number, pixels) for number, pixels in enumerate(_pixels())]


def _pixels() -> Iterator[np.ndarray]:
    """Images (rows, columns) of 8 bits, bright = dense."""
    named = os.environ.get("DENTGATE_TEST_DATA", "")  # noqa: TID251 - test data are no setting of the product
    pack = Path(named) / "pano_fdi_ufba425"
    if named and pack.is_dir():
        with (pack / "manifest.csv").open(newline="") as file:
            files = [row["file"] for row in csv.DictReader(file) if row["split"] == "val"]
        for name in files[:REAL]:
            yield np.asarray(Image.open(pack / name).convert("L").resize(FULL_SIZE, Image.Resampling.BICUBIC))
        return
    for seed in range(900, 900 + DRAWN):
        yield (panoramic_phantom(seed, rows=752, columns=1440).pixels >> 4).astype(np.uint8)


def _wrap(folder: Path, number: int, pixels: np.ndarray) -> Sent:
    bits, inverted = (8, 12)[number // 4 % 2], bool(number // 8 % 2)
    stored = pixels.astype(np.uint16) << (bits - 8)
    if inverted:
        stored = (1 << bits) - 1 - stored
    patient = f"E2E-{number}"
    syntax = SYNTAXES[number % len(SYNTAXES)]
    ds = xray(
        stored.astype(np.uint8 if bits == 8 else np.uint16),
        photometric="MONOCHROME1" if inverted else "MONOCHROME2",
        bits=bits,
        seed=f"e2e-{number}",
        PatientID=patient,
        PatientName=f"Probe^{number}",
    )
    path = folder / f"{number:02}.dcm"
    path.write_bytes(as_bytes(ds, syntax))
    return Sent(path, uid_of(f"e2e-{number}", "study"), patient, syntax)


def _settings(orthanc: OrthancServer, fhir_server: str, folder: Path) -> str:
    return (
        "[analysis]\nallow_research_models = true\nlease_seconds = 10\n"
        f'[[destination]]\nname = "pacs"\nurl = "dicom://{orthanc.aet}@127.0.0.1:{orthanc.dicom_port}"\n'
        f'[[destination]]\nname = "ehr"\nurl = "fhir+{fhir_server}"\n'
        f'[[destination]]\nname = "folder"\nurl = "{folder.as_uri()}"\n'
    )


def _admit(fhir_server: str, images: Sequence[Sent]) -> None:
    for sent in images:
        patient = {"resourceType": "Patient", "identifier": [{"value": sent.patient_id}], "name": [{"text": "Probe"}]}
        httpx.post(f"{fhir_server}/Patient", json=patient, timeout=30).raise_for_status()


def _send(running: Gateway, images: Sequence[Sent]) -> None:
    for sent in images:
        running.send([sent.path], sent.syntax)


def _in_pacs(orthanc: OrthancServer, study_uid: str) -> list[pydicom.Dataset]:
    """All objects of a study in the PACS."""
    query = {"Level": "Instance", "Query": {"StudyInstanceUID": study_uid}}
    found = httpx.post(f"{orthanc.http_url}/tools/find", json=query, timeout=60).raise_for_status().json()
    files = (httpx.get(f"{orthanc.http_url}/instances/{each}/file", timeout=60).content for each in found)
    return [pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)) for content in files]


def _reports(fhir_server: str) -> list[dict[str, Any]]:
    """All reports in the record."""
    bundle = (
        httpx.get(f"{fhir_server}/DiagnosticReport", params={"_count": "500"}, timeout=60).raise_for_status().json()
    )
    return [entry["resource"] for entry in bundle.get("entry", [])]


def _about(reports: Sequence[dict[str, Any]], study_uid: str) -> list[dict[str, Any]]:
    """Those whose business identifier begins with this study."""
    return [each for each in reports if any(study_uid in i.get("value", "") for i in each.get("identifier", []))]


@pytest.mark.timeout(600)
def test_everything_comes_out_once_whatever_dies(
    tmp_path: Path, images: list[Sent], orthanc: OrthancServer, record: str
) -> None:
    """Workers and then everything are killed in the middle: every study has one of each result and one report."""
    _admit(record, images)
    half = len(images) // 2
    with gateway(tmp_path, _settings(orthanc, record, tmp_path / "delivered")) as running:
        _send(running, images[:half])
        running.wait_for(1, ("analyzed", "reported", "delivered"))
        assert running.kill_workers() > 0
        _send(running, images[half:])
        time.sleep(2.0)
        running.kill_everything()
        running.start()
        running.wait_for(len(images), ("delivered",), seconds=400)
    log = (tmp_path / "log.txt").read_text()
    assert "workers.pipeline" in log
    assert not [word for word in ("Probe", "E2E-", "19800101") if word in log], "patient data in the log"
    reports = _reports(record)
    for sent in images:
        objects = _in_pacs(orthanc, sent.study_uid)
        made = Counter((str(each.SOPClassUID), str(each.ManufacturerModelName)) for each in objects)
        assert set(made.values()) == {1}, (sent, made)
        assert {(SR, TEETH), (SEG, TEETH), (SR, CONDITIONS)} <= set(made), (sent, made)
        assert sum(sop_class == PICTURE for sop_class, _ in made) == 1, (sent, made)
        assert [each["status"] for each in _about(reports, sent.study_uid)] == ["preliminary"], sent
        _check_objects(objects, tmp_path / "checks")


def _check_objects(objects: Sequence[pydicom.Dataset], folder: Path) -> None:
    """No error from dciodvfy, dsrdump reads the SR, highdicom reads both back, every FDI number stands once."""
    folder.mkdir(exist_ok=True)
    for ds in objects:
        path = folder / f"{ds.SOPInstanceUID}.dcm"
        ds.save_as(path)
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert not errors, errors
        if ds.SOPClassUID == SR:
            assert subprocess.run(["dsrdump", str(path)], capture_output=True, check=False).returncode == 0
            report = hd.sr.Comprehensive3DSR.from_dataset(hd.sr.srread(path))
            groups = cast("hd.sr.MeasurementReport", report.content).get_planar_roi_measurement_groups()
            labels = [group.tracking_identifier for group in groups]
            assert len(labels) == len(set(labels))
        elif ds.SOPClassUID == SEG:
            seg = hd.seg.segread(path)
            assert seg.number_of_segments == len({segment.SegmentLabel for segment in seg.SegmentSequence})
