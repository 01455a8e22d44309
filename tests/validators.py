"""Independent validators of DICOM objects, and the kinds of images whose results they see."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.builders import DX, IO, xray

#: Types 1 and 2 of the image, but dental files lack them: the results must be valid without.
LACKING: dict[str, object] = dict.fromkeys(
    ("StudyID", "AccessionNumber", "PatientOrientation", "ImagerPixelSpacing", "StudyTime")
)
PLANE: dict[str, object] = {
    "PixelSpacing": ["0.1", "0.1"],
    "FrameOfReferenceUID": "2.25.77",
    "PositionReferenceIndicator": "",
}
HARMLESS_WARNING = re.compile(r"Different information entities for attribute - Element=<AccessionNumber>")

SOURCES: dict[str, dict[str, object]] = {
    "px": {},
    "px-monochrome1": {"photometric": "MONOCHROME1"},
    "px-spacing": PLANE,
    "px-lacking": LACKING,
    "px-far": {"SeriesNumber": 20_000, "InstanceNumber": 10_000},
    "px-sex-unknown": {"PatientSex": "U"},
    "io": {"modality": "IO", "sop_class": IO},
    "io-monochrome1": {"modality": "IO", "sop_class": IO, "photometric": "MONOCHROME1"},
    "io-spacing": {"modality": "IO", "sop_class": IO, **PLANE},
    "io-lacking": {"modality": "IO", "sop_class": IO, **LACKING},
    "latin-1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"},
}
#: Images that are themselves valid and whose text dcentvfy can compare: it compares bytes across character sets.
COMPARABLE = [name for name in SOURCES if not name.endswith(("lacking", "unknown", "latin-1"))]


def tool(name: str) -> str:
    """The path of a validator; skips the test if it is not installed. pynetdicom shadows some."""
    path = shutil.which(name, path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if path is None:
        pytest.skip(f"{name} is not installed (Debian packages dicom3tools, dcmtk, poppler-utils)")
    return path


def run(name: str, *files: Path | str) -> subprocess.CompletedProcess[str]:
    """The output of a validator, standard error included."""
    options = {"dciodvfy": ("-new",), "dsrdump": ("+Pl",)}.get(name, ())  # +Pl: long texts in full
    return subprocess.run(
        [tool(name), *options, *map(str, files)],
        check=False,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )


def source(name: str) -> Dataset:
    """The image of a case, DX class unless it is intra-oral."""
    return xray(seed=name, **{"sop_class": DX, **SOURCES[name]})  # type: ignore[arg-type] # keywords of xray


def save(folder: Path, name: str, content: bytes) -> Path:
    """A file to validate."""
    path = folder / f"{name}.dcm"
    path.write_bytes(content)
    return path


def assert_valid(path: Path) -> None:
    """No error of dciodvfy, and for an SR none of dsrdump."""
    verdict = run("dciodvfy", path).stdout
    errors = [line for line in verdict.splitlines() if line.startswith("Error")]
    assert not errors
    if "sr" in path.stem.split("-"):
        dump = run("dsrdump", path)
        assert dump.returncode == 0, dump.stdout[-500:]
        complaints = [line for line in dump.stdout.splitlines() if re.match(r"[WEF]: ", line)]
        assert all("ISO_IR 192" in line for line in complaints)
