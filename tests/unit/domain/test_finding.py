"""Findings survive the way through JSON, and name themselves."""

import json
from datetime import UTC, datetime

import pytest

from service.domain.codes import BODY_PARTS, FINDINGS, MEASUREMENTS, SITES
from service.domain.finding import Algorithm, Analysis, Finding, HeatMap, Measurement, Region
from service.domain.tooth import PERMANENT, TEETH, tooth_of
from service.domain.words import describes, kind_word, measured, span_of


def test_an_analysis_comes_back_equal() -> None:
    """What is written as JSON is read back as the same value."""
    region = Region((1, 2, 5, 4), (0, 3, 1), ((1.5, 2.0), (5.0, 2.0), (5.0, 4.0)))
    analysis = Analysis(
        algorithm=Algorithm("teeth", "1.0", "ab", "Dentgate", research=True),
        sop_instance_uid="1.2.3",
        rows=10,
        columns=20,
        started_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        findings=(
            Finding("tooth", 36, 0.97, region, ("number-uncertain",)),
            Finding("tooth", None, 0.5),
            Finding("scoliosis", None, 0.9, None, (), "T5-T11", (Measurement("cobb-angle", 34.2),)),
            Finding("caries", None, 0.9, heat=HeatMap(1, 2, (0, 255))),
        ),
        notes=("orientation assumed",),
        refused="the image is too dark",
        looks_for=("tooth", "scoliosis", "caries"),
    )
    assert Analysis.from_json(analysis.to_json()) == analysis


def test_an_analysis_of_version_0_1_still_loads() -> None:
    """Its findings have no site, measurements and heat; it was read, and it looked for teeth."""
    old = {
        "algorithm": {
            "name": "teeth_panoramic",
            "version": "0.1.0",
            "weights_sha256": "ab",
            "manufacturer": "Dentgate",
            "research": True,
        },
        "sop_instance_uid": "1.2.3",
        "rows": 10,
        "columns": 20,
        "started_at": "2026-01-02T03:04:05+00:00",
        "findings": [{"kind": "tooth", "tooth": 36, "certainty": 0.9, "region": None, "flags": []}],
        "notes": [],
    }
    analysis = Analysis.from_json(json.dumps(old).encode())
    assert analysis.findings == (Finding("tooth", 36, 0.9),)
    assert (analysis.refused, analysis.looks_for) == ("", ("tooth",))


def test_codes_lead_to_codes() -> None:
    """Every default site and body part is a known site; every code fits into DICOM (SH, LO)."""
    assert {each.site for each in FINDINGS.values()} | set(BODY_PARTS.values()) <= set(SITES)
    every = [code for each in FINDINGS.values() for code in (each.finding, each.answer)]
    every += [code for each in MEASUREMENTS.values() for code in (each.name, each.unit)]
    for code in (*every, *SITES.values()):
        assert len(code.value) <= 16
        assert len(code.meaning) <= 64


@pytest.mark.parametrize(
    ("finding", "span"),
    [
        (Finding("scoliosis", None, 0.9, site="T5-T11"), ("T5", "T11")),
        (Finding("scoliosis", None, 0.9, flags=("double-curve", "from-T12-to-L4"), site="lumbar-spine"), ("T12", "L4")),
        (Finding("scoliosis", None, 0.9, site="T5-T99"), None),
        (Finding("vertebra", None, 0.9, site="T5"), None),
    ],
)
def test_the_ends_of_a_curve(finding: Finding, span: tuple[str, str] | None) -> None:
    """From the site or a flag; what is no vertebra is no end."""
    assert span_of(finding) == span


def test_words() -> None:
    """Kinds and measurements in words; what describes a curve is no warning."""
    assert kind_word("root-canal-treated") == "root-canal treated"
    assert measured(Finding("scoliosis", None, 0.9, measurements=(Measurement("cobb-angle", 34.6),))) == "35 degrees"
    assert describes("apex-T8")
    assert not describes("number-uncertain")


def test_labels_name_tooth_and_kind() -> None:
    """A tooth is named by its number, a condition by tooth and kind."""
    assert Finding("tooth", 36, 1.0).label == "FDI36"
    assert Finding("caries", 36, 1.0).label == "FDI36/caries"
    assert Finding("caries", None, 1.0).label == "caries"


def test_there_are_52_teeth_each_with_its_own_codes() -> None:
    """Every FDI number has one SNOMED CT code and one ADA designation, none used twice; meanings fit into DICOM."""
    assert len(TEETH) == 52
    assert len(PERMANENT) == 32
    assert len({tooth.snomed for tooth in TEETH.values()}) == 52
    assert len({tooth.universal for tooth in TEETH.values()}) == 52
    assert all(len(tooth.meaning) <= 64 for tooth in TEETH.values())


def test_side_and_arch_agree_with_the_meaning() -> None:
    """Quadrant and SNOMED meaning say the same side and arch for every tooth."""
    for fdi, tooth in TEETH.items():
        meaning = tooth.meaning.lower()
        assert ("maxillary" in meaning) == tooth.upper, fdi
        assert ("right" in meaning) == (tooth.quadrant in {1, 4, 5, 8}), fdi
        assert tooth_of(fdi).fdi == fdi
