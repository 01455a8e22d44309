"""Findings survive the way through JSON, and name themselves."""

from datetime import UTC, datetime

from service.domain.finding import Algorithm, Analysis, Finding, Region
from service.domain.tooth import PERMANENT, TEETH, tooth_of


def test_an_analysis_comes_back_equal() -> None:
    """What is written as JSON is read back as the same value."""
    region = Region((1, 2, 5, 4), (0, 3, 1), ((1.5, 2.0), (5.0, 2.0), (5.0, 4.0)))
    analysis = Analysis(
        algorithm=Algorithm("teeth", "1.0", "ab", "Dentgate", research=True),
        sop_instance_uid="1.2.3",
        rows=10,
        columns=20,
        started_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        findings=(Finding("tooth", 36, 0.97, region, ("number-uncertain",)), Finding("tooth", None, 0.5)),
        notes=("orientation assumed",),
    )
    assert Analysis.from_json(analysis.to_json()) == analysis


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
