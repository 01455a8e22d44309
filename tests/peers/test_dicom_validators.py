"""Every DICOM result is valid for independent validators: dciodvfy, dcentvfy (dicom3tools) and dsrdump (dcmtk)."""

import re
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.domain.finding import Analysis
from service.domain.result import Result
from service.domain.tooth import PERMANENT, tooth_of
from service.results import measurement_report, segmentation, wording
from tests.builders import SYNTAXES, analysis_of, as_bytes, ellipse, header_of, xray
from tests.subjects import subject_of
from tests.validators import COMPARABLE, HARMLESS_WARNING, SOURCES, assert_valid, run, save, source

TEETH = (18, 11, 21, 36, 37, 46)


def results(ds: Dataset, analysis: Analysis) -> list[Result]:
    """SEG and SR of one image."""
    subject = subject_of(ds, analysis)
    return [*segmentation.write(subject), *measurement_report.write(subject)]


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
    assert [line for line in complaints if not HARMLESS_WARNING.search(line)] == []


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
