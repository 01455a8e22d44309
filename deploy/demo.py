"""The demo: start Dentgate on embedded defaults, send phantom panoramics by real C-STORE, print what came out, end.

No patient image is needed: the phantoms are drawn. ``IMAGE=file make demo`` sends a picture or DICOM file of your own,
``KEEP=1 make demo`` leaves everything running until Ctrl-C.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom.ae import ApplicationEntity

from service import clock
from service.domain.tooth import PERMANENT
from workers.training.phantom import Phantom, panoramic_phantom

FOLDER = Path("demo-data")
READY_SECONDS, RESULT_SECONDS = 120, 300
FINAL = ("delivered", "declined")
#: name, seed, teeth left out, photometric interpretation
PHANTOMS = (
    ("Phantom^Complete", 101, (), "MONOCHROME2"),
    ("Phantom^Gaps", 102, (18, 28, 36, 38, 46, 48), "MONOCHROME2"),
    ("Phantom^Inverted", 103, (15, 25, 31), "MONOCHROME1"),
)


@dataclass(frozen=True)
class Ports:
    """Where the demo listens: the usual ports if they are free."""

    dicom: int
    web: int

    @property
    def web_url(self) -> str:
        """Address of the pages."""
        return f"http://127.0.0.1:{self.web}"


def main() -> int:
    """Run the demo; 0 if every study came out."""
    keep, image = os.environ.get("KEEP", ""), os.environ.get("IMAGE", "")  # noqa: TID251 - a program of its own
    if image and not Path(image).is_file():
        print(f"demo: IMAGE={image}: there is no such file", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside it takes the gateway along, too
    if _in_use(FOLDER / "data" / "run" / "lock"):
        print(f"demo: another demo works in {FOLDER}; end it first", file=sys.stderr)
        return 2
    ports = Ports(_free_port(11112), _free_port(8080))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with (FOLDER / "log.txt").open("wb") as log:
        gateway = subprocess.Popen(
            [sys.executable, "-m", "service", "up", "--config", str(_settings(ports)), "--data", str(FOLDER / "data")],
            stdout=log,
            stderr=log,
        )
    try:
        return _show(gateway, ports, image, keep=bool(keep))
    except KeyboardInterrupt:
        return 0
    finally:
        gateway.terminate()
        gateway.wait(60)


def _show(gateway: "subprocess.Popen[bytes]", ports: Ports, image: str, *, keep: bool) -> int:
    _wait_ready(gateway, ports)
    print(f"demo: Dentgate is up: DICOM DENTGATE@127.0.0.1:{ports.dicom}, pages {ports.web_url}")
    studies = _wait_for_results(ports, _send(image, ports))
    print_table(studies)
    print(f"\nResults lie in {FOLDER / 'delivered'}, the log in {FOLDER / 'log.txt'}.")
    if keep:
        print(f"Still running: open {ports.web_url} - Ctrl-C ends it.", flush=True)
        gateway.wait()
    done = all(detail["study"]["state"] == "delivered" for detail in studies)
    return 0 if done or image else 1


def _in_use(lock: Path) -> bool:
    """Whether a running gateway holds the lock of its data folder."""
    if not lock.exists():
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _settings(ports: Ports) -> Path:
    """The settings of the demo: everything embedded, one folder as destination, research models allowed."""
    path = FOLDER / "dentgate.toml"
    path.write_text(
        f"[listener]\nport = {ports.dicom}\nquiet_seconds = 1.0\n[web]\nport = {ports.web}\n"
        "[analysis]\nallow_research_models = true\n"
        f'[[destination]]\nname = "folder"\nurl = "{(FOLDER / "delivered").resolve().as_uri()}"\n'
        'results = ["sr", "seg", "report"]\n'
    )
    return path


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", wanted)) == 0
    if not taken:
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_ready(gateway: "subprocess.Popen[bytes]", ports: Ports) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if gateway.poll() is not None:
            break
        try:
            if httpx.get(f"{ports.web_url}/readyz", timeout=5).is_success and _listens(ports.dicom):
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    sys.exit(
        f"demo: Dentgate did not start; {FOLDER / 'log.txt'} ends with:\n{(FOLDER / 'log.txt').read_text()[-1500:]}"
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _send(image: str, ports: Ports) -> int:
    """Send the user's file, or the phantoms; the number of studies."""
    if not image:
        for name, seed, missing, photometric in PHANTOMS:
            phantom = panoramic_phantom(seed, missing=missing)
            _store(panoramic(phantom, name, photometric), ports)
            print(f"demo: sent {name}, {32 - len(missing)} teeth, {photometric}")
        return len(PHANTOMS)
    try:
        _store(dcmread(image), ports)
    except InvalidDicomError:
        with Path(image).open("rb") as file:
            answer = httpx.post(
                f"{ports.web_url}/api/studies",
                files={"files": (Path(image).name, file)},
                data={"patient_id": "DEMO-PICTURE", "family_name": "Own picture"},
                timeout=60,
            )
        if not answer.is_success:
            sys.exit(f"demo: {image} was not accepted: {answer.text}")
    print(f"demo: sent {image}")
    return 1


def _store(ds: Dataset, ports: Ports) -> None:
    """One C-STORE, as a modality does it."""
    modality = ApplicationEntity("DEMO_PANO")
    modality.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    assoc = modality.associate("127.0.0.1", ports.dicom, ae_title="DENTGATE")
    if not assoc.is_established:
        sys.exit("demo: the listener refused the association")
    status = assoc.send_c_store(ds)
    assoc.release()
    if not status or status.Status != 0:
        sys.exit(f"demo: C-STORE was refused: {status}")


def panoramic(phantom: Phantom, name: str, photometric: str) -> Dataset:
    """A phantom as a panoramic unit would send it: Digital X-Ray Image For Presentation, 12 bits (PS3.3 A.26)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(clock.fresh_uid())
    ds.StudyInstanceUID, ds.SeriesInstanceUID = clock.fresh_uid(), clock.fresh_uid()
    now = clock.now()
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = now.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = now.strftime("%H%M%S")
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = name, name.upper(), "", "O"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "DEMO", "1", ""
    ds.StudyDescription, ds.SeriesDescription = "Panoramic phantom", "Panoramic"
    ds.Modality, ds.BodyPartExamined, ds.PresentationIntentType = "PX", "JAW", "FOR PRESENTATION"
    ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber = "Dentgate demo", 1, 1
    ds.ImageType, ds.PatientOrientation = ["ORIGINAL", "PRIMARY", ""], ["L", "F"]
    inverted = photometric == "MONOCHROME1"
    pixels = 4095 - phantom.pixels if inverted else phantom.pixels
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, photometric, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    ds.PixelData = pixels.astype("<u2").tobytes()
    return ds


def _wait_for_results(ports: Ports, count: int) -> list[dict[str, Any]]:
    """Poll the API until every study has come to its end, showing how far it is."""
    deadline = time.monotonic() + RESULT_SECONDS
    shown = ""
    while True:
        listed = httpx.get(f"{ports.web_url}/api/studies", timeout=30).json()["studies"]
        states = [str(study["state"]) for study in listed]
        line = ", ".join(sorted(states))
        if line != shown:
            print(f"demo: {line or 'waiting'}", flush=True)
            shown = line
        if (len(states) >= count and all(state in FINAL for state in states)) or time.monotonic() > deadline:
            uids = [study["study_instance_uid"] for study in reversed(listed)]
            return [httpx.get(f"{ports.web_url}/api/studies/{uid}", timeout=30).json() for uid in uids]
        time.sleep(0.3)


def _said(image: dict[str, Any]) -> str:
    """What a model found in an image, in one line."""
    if image["refused"]:
        return f"not read: {image['refused']}"
    if "tooth" in image["looks_for"]:
        missing = ", ".join(str(fdi) for fdi in PERMANENT if fdi not in image["teeth"]) or "none"
        return f"{len(image['teeth'])} teeth found; not found: {missing}"
    found = [f"{each['tooth'] or each['site']} {each['words']}".strip() for each in image["findings"]]
    return ", ".join(found) or "nothing found"


def print_table(studies: Sequence[dict[str, Any]]) -> None:
    """Study, models and what they found, where the results are, seconds of each stage."""
    print()
    for detail in studies:
        study, job = detail["study"], detail["jobs"][0]
        print(f"{study['patient_name']}  study {study['study_instance_uid']}")
        for image in detail["findings"]:
            print(f"  model     {image['model']} {image['version']}")
            print(f"            {_said(image)}")
        if study["state"] == "declined":
            print(f"  declined  {job['reason']}")
        folder = FOLDER / "delivered" / study["study_instance_uid"]
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                print(f"  {path.name.split('-')[0]:<9} {path}  {path.stat().st_size:,} bytes")
        steps = [*job["stages"], *job["deliveries"]]
        print("  seconds   " + ", ".join(f"{step['stage']} {step['seconds'] or 0:.2f}" for step in steps))


if __name__ == "__main__":
    sys.exit(main())
