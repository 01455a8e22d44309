"""Every DICOM result is valid for independent validators: dciodvfy, dcentvfy (dicom3tools) and dsrdump (dcmtk)."""

import re
import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.domain.finding import Analysis
from service.domain.result import Result
from service.domain.tooth import PERMANENT, tooth_of
from service.results import measurement_report, segmentation, wording
from tests.builders import DX, IO, SYNTAXES, analysis_of, as_bytes, ellipse, header_of, xray
from tests.subjects import subject_of

TEETH = (18, 11, 21, 36, 37, 46)
#: Types 1 and 2 of the image, but dental files lack them: the results must be valid without.
LACKING: dict[str, object] = dict.fromkeys(
    ("StudyID", "AccessionNumber", "PatientOrientation", "ImagerPixelSpacing", "StudyTime")
)
PLANE: dict[str, object] = {
    "PixelSpacing": ["0.1", "0.1"],
    "FrameOfReferenceUID": "2.25.77",
    "PositionReferenceIndicator": "",
}
_HARMLESS_WARNING = re.compile(r"Different information entities for attribute - Element=<AccessionNumber>")

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
        pytest.skip(f"{name} is not installed (Debian packages dicom3tools, dcmtk)")
    return path


def run(name: str, *files: Path) -> subprocess.CompletedProcess[str]:
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


def results(ds: Dataset, analysis: Analysis) -> list[Result]:
    """SEG and SR of one image."""
    subject = subject_of(ds, analysis)
    return [*segmentation.write(subject), *measurement_report.write(subject)]


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


@pytest.mark.parametrize("name", [*COMPARABLE, "latin-1"])
def test_the_builders_images_are_valid(name: str, tmp_path: Path) -> None:
    """What the tests send is itself valid, so that an error points to us."""
    assert_valid(save(tmp_path, "image", as_bytes(source(name))))


@pytest.mark.parametrize("syntax", sorted({*SYNTAXES} - {"big-endian", "deflated"}))
def test_the_builders_images_are_valid_in_every_syntax(syntax: str, tmp_path: Path) -> None:
    """So is it in every transfer syntax; but dciodvfy cannot inflate, and calls the retired big endian an error."""
    assert_valid(save(tmp_path, "image", as_bytes(xray(bits=8), SYNTAXES[syntax])))


@pytest.mark.parametrize("name", SOURCES)
def test_results_are_valid(name: str, tmp_path: Path) -> None:
    """SEG and SR of teeth are valid for every kind of image, and agree with it about patient and study."""
    ds = source(name)
    analysis = analysis_of(
        header_of(ds),
        TEETH,
        flags={36: ("number-uncertain",)},
        notes=("orientation assumed", "window taken from the data"),
    )
    written = [save(tmp_path, f"{name}-{result.kind}", result.content) for result in results(ds, analysis)]
    assert len(written) == 2
    for path in written:
        assert_valid(path)
    image = [save(tmp_path, "image", as_bytes(ds))] if name in COMPARABLE else []
    complaints = [
        line for line in run("dcentvfy", *image, *written).stdout.splitlines() if re.match("Warning|Error", line)
    ]
    assert [line for line in complaints if not _HARMLESS_WARNING.search(line)] == []


@pytest.mark.parametrize("name", ["px", "io-lacking"])
def test_a_report_without_findings_is_valid(name: str, tmp_path: Path) -> None:
    """The report that says that nothing was found is valid too."""
    ds = source(name)
    (result,) = results(ds, analysis_of(header_of(ds), (), notes=("orientation assumed",)))
    assert_valid(save(tmp_path, "sr", result.content))


def test_another_reader_shows_the_conclusion(tmp_path: Path) -> None:
    """A plain SR reader shows the conclusion whole, and no flag or note as the code calls it."""
    ds = source("px")
    analysis = analysis_of(
        header_of(ds), TEETH, flags={36: ("number-uncertain",)}, notes=("window taken from the data",)
    )
    subject = subject_of(ds, analysis)
    (result,) = measurement_report.write(subject)
    shown = run("dsrdump", save(tmp_path, "sr", result.content)).stdout
    assert wording.conclusion(subject.sources) in shown
    assert "number-uncertain" not in shown
    assert "window taken" not in shown


@pytest.mark.parametrize("name", ["px-monochrome1", "px-spacing", "px-lacking", "io"])
def test_results_come_back_as_they_were_written(name: str, tmp_path: Path) -> None:
    """A reader finds the same masks, codes and number of groups as the analysis has."""
    ds = source(name)
    analysis = analysis_of(header_of(ds), PERMANENT)
    seg_path, sr_path = (save(tmp_path, result.kind, result.content) for result in results(ds, analysis))
    seg = hd.seg.segread(seg_path)
    frames = seg.get_pixels_by_source_instance(source_sop_instance_uids=[analysis.sop_instance_uid])[0]
    content = hd.sr.srread(sr_path).content
    assert isinstance(content, hd.sr.MeasurementReport)
    groups = content.get_planar_roi_measurement_groups()
    assert frames.shape[-1] == len(groups) == len(PERMANENT)
    for number, (fdi, finding, group) in enumerate(zip(PERMANENT, analysis.findings, groups, strict=True)):
        assert finding.region is not None
        x0, y0, x1, y1 = finding.region.box
        np.testing.assert_array_equal(frames[y0:y1, x0:x1, number], ellipse(finding.region.box))
        assert frames[..., number].sum() == ellipse(finding.region.box).sum()
        assert group.tracking_identifier == f"FDI{fdi}"
        assert [site.value.value for site in group.finding_sites] == [tooth_of(fdi).snomed]
