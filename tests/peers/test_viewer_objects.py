"""Presentation states, pictures, documents and selections are valid for validators that nobody here wrote."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.codes import FINDINGS
from service.domain.finding import Analysis, Finding, HeatMap, Region
from service.domain.result import DICOM_RESULTS, Result
from service.results import WRITERS
from service.results.report_page import draw_report
from tests.builders import analysis_of, as_bytes, header_of, xray
from tests.subjects import pictured, subject_of
from tests.validators import COMPARABLE, HARMLESS_WARNING, SOURCES, assert_valid, run, save, source

#: dciodvfy of 2022 does not know the label map segmentation of 2024; a rejection note is made after a signature.
KINDS = [kind for kind in DICOM_RESULTS if kind not in {"seg-labelmap", "rejection"}]


def everything(analysis: Analysis) -> Analysis:
    """Every kind of finding there is on the first tooth, one of the whole image with a heat map, and a note."""
    region = analysis.findings[0].region
    found = [Finding(kind, 36, 0.8, region) for kind in FINDINGS if kind != "tooth"]
    whole = Finding("fracture", None, 0.7, heat=HeatMap(2, 2, (0, 50, 100, 255)))
    return replace(analysis, findings=(*analysis.findings, *found, whole), notes=("orientation assumed",))


def written(name: str) -> list[Result]:
    """All DICOM results of one kind of image."""
    ds = source(name)
    analysis = analysis_of(header_of(ds), (36, 11, 48), flags={36: ("number-uncertain",)})
    subject = pictured(subject_of(ds, everything(analysis)))
    return [result for kind in KINDS for result in WRITERS[kind](subject)]


@pytest.mark.parametrize("name", SOURCES)
def test_all_results_are_valid(name: str, tmp_path: Path) -> None:
    """Every object passes dciodvfy, reports also dsrdump, states dcmpschk; together they agree on patient and study."""
    results = written(name)
    assert {result.kind for result in results} == set(KINDS)
    once = {result.name: result for result in results}  # a report of regions is the same object as "sr" and "sr-text"
    paths = [save(tmp_path, f"{number}-{result.kind}", result.content) for number, result in enumerate(once.values())]
    for path, result in zip(paths, once.values(), strict=True):
        assert_valid(path)
        if result.kind == "presentation-state":
            checked = run("dcmpschk", path)
            assert checked.returncode == 0, checked.stdout
            assert "Test passed" in checked.stdout
        if result.kind in {"key-objects", "sr-text"}:
            dumped = run("dsrdump", path)
            assert dumped.returncode == 0, dumped.stdout
    image = [save(tmp_path, "image", as_bytes(source(name)))] if name in COMPARABLE else []
    complaints = [
        line for line in run("dcentvfy", *image, *paths).stdout.splitlines() if re.match("Warning|Error", line)
    ]
    assert [line for line in complaints if not HARMLESS_WARNING.search(line)] == []


def test_nothing_found_is_valid(tmp_path: Path) -> None:
    """So are the objects that say that nothing was found, and those that say that the image was not read."""
    ds = source("px-lacking")
    none = analysis_of(header_of(ds), ())
    for state, analysis in (("none", none), ("refused", replace(none, refused="too dark"))):
        subject = pictured(subject_of(ds, analysis))
        for kind in KINDS:
            for number, result in enumerate(WRITERS[kind](subject)):
                assert_valid(save(tmp_path, f"{state}-{kind}-{number}", result.content))


def shown_by_dcmtk(folder: Path, photometric: str) -> NDArray[np.int16]:
    """The last pixels of an image as dcmtk draws it through its presentation state."""
    ds = xray(photometric=photometric)
    (state,) = WRITERS["presentation-state"](subject_of(ds))
    image, output = save(folder, "image", as_bytes(ds)), folder / "shown.pgm"
    command = run("dcmp2pgm", "--pstate", save(folder, "state", state.content), image, output)
    assert command.returncode == 0, command.stdout
    return np.frombuffer(output.read_bytes()[-10_000:], np.uint8).astype(np.int16)


def test_another_program_applies_the_state(tmp_path: Path) -> None:
    """Dcmtk draws the image through the state: MONOCHROME1 comes out as MONOCHROME2 does, the other way round."""
    inverted, plain = (shown_by_dcmtk(tmp_path, photometric) for photometric in ("MONOCHROME1", "MONOCHROME2"))
    assert np.ptp(inverted) > 50
    np.testing.assert_allclose(inverted, 255 - plain, atol=1)  # it rounds


def test_the_report_is_a_readable_page(tmp_path: Path) -> None:
    """Poppler reads one page of the report, with the patient, the warning and the findings as text."""
    ds = xray()
    caries = Finding("caries", 36, 0.82, Region((10, 10, 40, 60)))
    subject = pictured(subject_of(ds, replace(analysis_of(header_of(ds)), findings=(caries,))))
    path = tmp_path / "report.pdf"
    path.write_bytes(draw_report(subject))
    text = run("pdftotext", path, "-").stdout
    for words in ("Probe Dental", "AI RESULT - NOT VERIFIED", "Caries: 36 (82 %)"):
        assert words in text
    assert text.count("\f") == 1
