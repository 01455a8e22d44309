"""Every tooth and every kind of finding goes once through SR and SEG, and comes out the same, read by highdicom."""

import io
from dataclasses import replace

import highdicom as hd
import pytest
from pydicom.sr.codedict import codes

from service.domain.codes import FINDINGS, MEASUREMENTS, QUALITIES, SITES, VERTEBRAE, Code
from service.domain.finding import Analysis, Finding, Measurement, Region
from service.domain.tooth import TEETH
from service.domain.tooth_codes import tooth_number
from service.results import measurement_report, segmentation
from service.results.evidence import coded
from tests.builders import analysis_of, ellipse, header_of, runs_of, xray
from tests.subjects import subject_of

BOX = (30, 40, 90, 120)
REGION = Region(BOX, runs_of(ellipse(BOX)))
KEY_OF = {(concepts.finding.value, concepts.finding.scheme): kind for kind, concepts in FINDINGS.items()}
SITE_OF = {code.value: key for key, code in {**SITES, **VERTEBRAE}.items()}
Report = hd.sr.EnhancedSR | hd.sr.ComprehensiveSR | hd.sr.Comprehensive3DSR
GROUPS = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations | hd.sr.MeasurementsAndQualitativeEvaluations


def written(findings: list[Finding]) -> tuple[list[Report], hd.seg.Segmentation | None]:
    """Reports and segmentation of one image, as a reader opens them."""
    ds = xray(modality="DX")
    looks_for = tuple({finding.kind for finding in findings})
    analysis: Analysis = replace(analysis_of(header_of(ds), ()), findings=tuple(findings), looks_for=looks_for)
    subject = subject_of(ds, analysis)
    reports = [hd.sr.srread(io.BytesIO(result.content)) for result in measurement_report.write(subject)]
    segmentations = [hd.seg.segread(io.BytesIO(result.content)) for result in segmentation.write(subject)]
    return reports, segmentations[0] if segmentations else None


def groups_of(reports: list[Report]) -> list[GROUPS]:
    """All groups that are about a finding."""
    found: list[GROUPS] = []
    for report in reports:
        content = report.content
        assert isinstance(content, hd.sr.MeasurementReport)
        found += content.get_planar_roi_measurement_groups()
        found += content.get_image_measurement_groups()
    return found


def kind_of(code: hd.sr.CodedConcept | None) -> str:
    """The kind of finding that a code names."""
    assert code is not None
    return KEY_OF[code.value, code.scheme_designator]


def test_every_tooth_comes_back() -> None:
    """52 teeth in one report and one segmentation: each has its number, its code, its category and its UID in both."""
    reports, seg = written([Finding("tooth", fdi, 0.9, REGION) for fdi in TEETH])
    assert seg is not None
    groups = groups_of(reports)
    assert len(groups) == seg.number_of_segments == len(TEETH) == 52
    for number, (fdi, group) in enumerate(zip(TEETH, groups, strict=True), start=1):
        segment = seg.get_segment_description(number)
        (site,), (structure,) = group.finding_sites, segment.primary_anatomic_structures
        for code in (site.value, structure):
            assert tooth_number(code.value, code.scheme_designator) == fdi
            assert code.meaning == TEETH[fdi].meaning
        assert group.tracking_identifier == segment.tracking_id == f"FDI{fdi}"
        assert group.tracking_uid == segment.tracking_uid
        assert segment.segment_label == f"FDI {fdi}"
        assert kind_of(group.finding_type) == kind_of(segment.segmented_property_type) == "tooth"
        assert group.finding_category == segment.segmented_property_category == coded(FINDINGS["tooth"].category)


@pytest.mark.parametrize("where", ["region", "whole image"])
def test_every_kind_of_finding_comes_back(where: str) -> None:
    """Each kind, with a region and without: the code, its category, "present", and how certain in percent."""
    kinds = [kind for kind in FINDINGS if where == "region" or kind not in {"tooth", "vertebra"}]
    region = REGION if where == "region" else None
    found = [Finding(kind, 36 if FINDINGS[kind].site == "jaw" else None, 0.5, region) for kind in kinds]
    reports, seg = written(found)
    groups = {kind_of(group.finding_type): group for group in groups_of(reports)}
    assert set(groups) == set(kinds)
    for kind, group in groups.items():
        assert group.finding_category == coded(FINDINGS[kind].category)
        (certainty,) = group.get_measurements(name=codes.DCM.CertaintyOfFinding)
        assert (certainty.value, certainty.unit.value, certainty.unit.scheme_designator) == (50.0, "%", "UCUM")
        present = group.get_qualitative_evaluations(name=coded(FINDINGS[kind].finding))
        assert len(present) == (kind not in {"tooth", "vertebra"})
    if seg is not None:
        named = [kind_of(seg.get_segment_description(n).segmented_property_type) for n in seg.segment_numbers]
        assert sorted(named) == sorted(kinds)
    assert (seg is None) == (region is None)


@pytest.mark.parametrize("sites", [SITES, VERTEBRAE], ids=["sites", "vertebrae"])
def test_every_site_comes_back(sites: dict[str, Code]) -> None:
    """Each part of the body, and each vertebra, as the site of a finding and as the anatomy of a segment."""
    kind = "vertebra" if sites is VERTEBRAE else "fracture"
    reports, seg = written([Finding(kind, None, 0.9, REGION, site=site) for site in sites])
    groups = groups_of(reports)
    assert seg is not None
    for number, (site, group) in enumerate(zip(sites, groups, strict=True), start=1):
        assert SITE_OF[group.finding_sites[0].value.value] == site
        assert SITE_OF[seg.get_segment_description(number).primary_anatomic_structures[0].value] == site


def test_every_measurement_and_quality_comes_back() -> None:
    """Each kind of measurement with its UCUM unit, and each quality as the value of its finding."""
    measured = tuple(Measurement(kind, 12.5) for kind in MEASUREMENTS)
    reports, _ = written([Finding("scoliosis", None, 0.9, REGION, tuple(QUALITIES), "spine", measured)])
    (group,) = groups_of(reports)
    for concepts in MEASUREMENTS.values():
        (value,) = group.get_measurements(name=coded(concepts.name))
        assert value.value == 12.5
        assert (value.unit.value, value.unit.scheme_designator) == (concepts.unit.value, "UCUM")
    evaluations = group.get_qualitative_evaluations(name=coded(FINDINGS["scoliosis"].finding))
    values = {str(each[0].ConceptCodeSequence[0].CodeValue) for each in evaluations}
    assert values >= {quality.value for quality in QUALITIES.values()}


def test_each_algorithm_is_named_as_equipment() -> None:
    """IHE AIR: one item for the algorithm, with its maker, version, serial number and a UID of its own build."""
    (report,), _ = written([Finding("tooth", 36, 0.9, REGION)])
    items = report.ContributingEquipmentSequence
    (item,) = [each for each in items if each.get("ManufacturerModelName") == "tooth-numbering"]
    assert (item.Manufacturer, item.PurposeOfReferenceCodeSequence[0].CodeValue) == ("Dentgate", "109102")
    assert (item.SoftwareVersions, item.DeviceSerialNumber) == ("1.0.0", "ab" * 8)
    assert item.DeviceUID
