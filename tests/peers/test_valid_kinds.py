"""Every kind of finding of every model is valid for independent validators, and comes back as it was written."""

import dataclasses
import re
from pathlib import Path

import highdicom as hd
import pytest
from pydicom.dataset import Dataset

from service.domain.codes import FINDINGS, MEASUREMENTS
from service.domain.finding import Analysis, Finding, Measurement, Region
from service.domain.result import Result
from service.results import measurement_report, segmentation
from service.results.evidence import coded
from tests.builders import analysis_of, as_bytes, ellipse, header_of, runs_of, xray
from tests.subjects import subject_of
from tests.validators import HARMLESS_WARNING, assert_valid, run, save


def results(ds: Dataset, analysis: Analysis) -> list[Result]:
    """SEG and SR of one image."""
    subject = subject_of(ds, analysis)
    return [*segmentation.write(subject), *measurement_report.write(subject)]


BOX = Region((30, 40, 90, 120), runs_of(ellipse((30, 40, 90, 120))))
CURVE = Finding(
    "scoliosis",
    None,
    0.93,
    Region((30, 40, 90, 120)),
    ("double-curve", "from-T5-to-T11", "level-uncertain"),
    "thoracic-spine",
    (Measurement("cobb-angle", 34.2),),
)
#: Kinds of results besides teeth: Modality, findings, what was looked for, why it was not read.
KINDS: dict[str, tuple[str, tuple[Finding, ...], tuple[str, ...], str]] = {
    "conditions": (
        "PX",
        tuple(Finding(kind, 36, 0.8, BOX) for kind, codes in FINDINGS.items() if codes.site == "jaw"),
        ("filling", "crown"),
        "",
    ),
    "spine": (
        "DX",
        (CURVE, Finding("vertebra", None, 0.9, BOX, site="T5"), Finding("vertebra", None, 0.9, BOX, site="L5")),
        ("scoliosis", "vertebra"),
        "",
    ),
    "straight": ("DX", (Finding("vertebra", None, 0.9, BOX, site="T5"),), ("scoliosis", "vertebra"), ""),
    "photo": (
        "DX",
        tuple(Finding(kind, None, 0.7) for kind, codes in FINDINGS.items() if codes.site == "mouth"),
        ("caries",),
        "",
    ),
    "fracture": ("DX", (Finding("fracture", None, 0.7, Region((30, 40, 90, 120)), site="wrist"),), ("fracture",), ""),
    "no-fracture": ("DX", (), ("fracture",), ""),
    "not-read": ("DX", (), ("filling", "crown", "impacted"), "the image is too dark"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_results_of_every_model_are_valid(kind: str, tmp_path: Path) -> None:
    """SR and SEG of conditions, spines, photographs, fractures and refusals are valid, with what they measured."""
    modality, findings, looks_for, refused = KINDS[kind]
    ds = xray(seed=kind, modality=modality, BodyPartExamined="WRIST" if "fracture" in kind else "JAW")
    analysis = dataclasses.replace(
        analysis_of(header_of(ds), ()), findings=findings, looks_for=looks_for, refused=refused
    )
    written = results(ds, analysis)
    files = [save(tmp_path, f"{number}-{result.kind}", result.content) for number, result in enumerate(written)]
    for path in files:
        assert_valid(path)
    image = save(tmp_path, "image", as_bytes(ds))
    complaints = [
        line for line in run("dcentvfy", image, *files).stdout.splitlines() if re.match("Warning|Error", line)
    ]
    assert [line for line in complaints if not HARMLESS_WARNING.search(line)] == []


def test_measurements_come_back_as_they_were_written(tmp_path: Path) -> None:
    """A reader finds the Cobb angle with its unit, the curve type, and the end vertebrae as sites."""
    ds = xray(modality="DX")
    analysis = dataclasses.replace(
        analysis_of(header_of(ds), ()), findings=(CURVE,), looks_for=("scoliosis", "vertebra")
    )
    (result,) = results(ds, analysis)
    content = hd.sr.srread(save(tmp_path, "sr", result.content)).content
    assert isinstance(content, hd.sr.MeasurementReport)
    (group,) = content.get_planar_roi_measurement_groups()
    (angle,) = group.get_measurements(name=coded(MEASUREMENTS["cobb-angle"].name))
    assert (angle.value, angle.unit.value, angle.unit.scheme_designator) == (34.2, "deg", "UCUM")
    assert [site.value.value for site in group.finding_sites] == ["122495006", "56401006", "12989004"]
    evaluations = group.get_qualitative_evaluations(name=coded(FINDINGS["scoliosis"].finding))
    assert [str(each[0].ConceptCodeSequence[0].CodeValue) for each in evaluations] == ["52101004", "DOUBLE-CURVE"]
