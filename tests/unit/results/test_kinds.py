"""Every kind of finding through SR, SEG and FHIR and back: codes, sites, measurements; images that were not read."""

import dataclasses
import io
import json
import re
from typing import Any

import highdicom as hd
import pytest
from pydicom.dataset import Dataset
from pydicom.sr import _concepts_dict

from service.domain import codes
from service.domain.codes import BODY_PARTS, FINDINGS, QUALITIES, SITES, VERTEBRAE
from service.domain.errors import Permanent
from service.domain.finding import Analysis, Finding, Measurement, Region
from service.domain.words import kind_word
from service.results import diagnostic_report, measurement_report, segmentation
from service.results.subject import Source, Subject
from tests.builders import ALGORITHM, analysis_of, header_of, xray
from tests.subjects import subject_of

BOX = Region((20, 30, 60, 90), (0, 40 * 60))
PRIVATE = {"destroyed-crown", "discoloration"}


def found(*findings: Finding, name: str = "model", refused: str = "", looks_for: tuple[str, ...] = ()) -> Analysis:
    """What a model found in the image of ``xray()``."""
    algorithm = dataclasses.replace(ALGORITHM, name=name)
    kinds = looks_for or tuple(dict.fromkeys(finding.kind for finding in findings))
    analysis = analysis_of(header_of(xray()), (), algorithm=algorithm)
    return dataclasses.replace(analysis, findings=findings, looks_for=kinds, refused=refused)


def reports(subject: Subject) -> list[hd.sr.Comprehensive3DSR]:
    """All SRs of a subject."""
    return [hd.sr.srread(io.BytesIO(result.content)) for result in measurement_report.write(subject)]  # type: ignore[misc]


def groups(subject: Subject) -> list[Any]:
    """All measurement groups of all SRs, planar ones first in each."""
    every: list[Any] = []
    for report in reports(subject):
        assert isinstance(report.content, hd.sr.MeasurementReport)
        every += report.content.get_planar_roi_measurement_groups()
        every += report.content.get_image_measurement_groups()
    return every


def fhir(subject: Subject, kind: str) -> list[dict[str, Any]]:
    """The resources of one type in all reports."""
    bundles = [json.loads(result.content) for result in diagnostic_report.write(subject)]
    return [e["resource"] for bundle in bundles for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def conclusion(*analyses: Analysis, ds: Dataset | None = None) -> str:
    """The words of the FHIR report, without the standing remarks."""
    (report,) = fhir(subject_of(ds or xray(), *analyses), "DiagnosticReport")
    return str(report["conclusion"]).partition("not for diagnosis. ")[2]


def evaluations(group: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - a group of either template
    """Name and value of what is said of findings in a group."""
    names = {each.finding.value for each in FINDINGS.values()}
    every = [(each.name.value, each.value.value) for each in group.get_qualitative_evaluations()]
    return [(name, value) for name, value in every if name in names]


@pytest.mark.parametrize("kind", sorted(FINDINGS))
def test_every_kind_comes_back_from_sr_and_seg_and_fhir(kind: str) -> None:
    """The code that went in is the code that a reader finds; a private one is declared in the object that uses it."""
    expected = FINDINGS[kind]
    tooth = 36 if expected.site == "jaw" else None
    subject = subject_of(xray(), found(Finding(kind, tooth, 0.8, BOX, site="T7" if kind == "vertebra" else "")))
    (group,) = groups(subject)
    assert (group.finding_type.value, group.finding_type.scheme_designator, group.finding_type.meaning) == (
        expected.finding.value,
        expected.finding.scheme,
        expected.finding.meaning,
    )
    assert group.finding_category.value == expected.category.value
    (result,) = segmentation.write(subject)
    seg = hd.seg.segread(io.BytesIO(result.content))
    assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == expected.finding.value
    assert seg.SegmentSequence[0].TrackingUID == group.tracking_uid
    answers = [
        coding
        for observation in fhir(subject, "Observation")
        for coding in observation["valueCodeableConcept"]["coding"]
    ]
    landmarks = {"vertebra"}  # for SR and SEG only
    assert [each["code"] for each in answers] == ([] if kind in landmarks else [expected.answer.value])
    assert all(each["system"] == codes.SYSTEM_URI[expected.answer.scheme] for each in answers)
    for ds in (*reports(subject), seg):
        declared = {item.CodingSchemeDesignator for item in ds.get("CodingSchemeIdentificationSequence", ())}
        assert (codes.PRIVATE_SCHEME in declared) is (kind in PRIVATE)


def test_only_findings_without_a_public_code_are_private() -> None:
    """Private codes are the exception, each of them known to this test, and no two kinds of one place share a code."""
    private = {kind for kind, each in FINDINGS.items() if each.finding.scheme == codes.PRIVATE_SCHEME}
    assert private == PRIVATE
    assert {each.scheme for each in QUALITIES.values()} == {codes.PRIVATE_SCHEME}
    keys = [(each.finding.value, each.site) for each in FINDINGS.values()]
    assert len(set(keys)) == len(keys)


def test_sites_are_those_of_the_standard() -> None:
    """Every site is a concept of PS3.16 with its own meaning; every body part leads to one; all 17 vertebrae differ."""
    standard: dict[str, set[str]] = {}
    for entry in _concepts_dict.concepts["SCT"].values():
        for value, (meaning, _) in entry.items():  # type: ignore[attr-defined] # a table without annotations
            standard.setdefault(value, set()).add(meaning)
    assert all(site.meaning in standard[site.value] for site in SITES.values())
    assert set(BODY_PARTS.values()) <= set(SITES)
    assert len({site.value for site in VERTEBRAE.values()}) == 17


@pytest.mark.parametrize(
    ("finding", "attributes", "expected"),
    [
        (Finding("filling", 36, 0.9, BOX), {}, ["866006002"]),
        (Finding("caries", None, 0.9), {"BodyPartExamined": "HAND"}, ["123851003"]),
        (Finding("fracture", None, 0.9), {"BodyPartExamined": "WRIST"}, ["74670003"]),
        (Finding("fracture", None, 0.9), {"BodyPartExamined": "NOWHERE"}, ["272673000"]),
        (Finding("fracture", None, 0.9), {}, ["272673000"]),
        (Finding("fracture", None, 0.9, BOX, site="femur"), {"BodyPartExamined": "WRIST"}, ["71341001"]),
        (Finding("vertebra", None, 0.9, BOX, site="T12"), {}, ["23215003"]),
        (Finding("scoliosis", None, 0.9, BOX), {}, ["421060004"]),
        (Finding("scoliosis", None, 0.9, BOX, site="T5-T11"), {}, ["122495006", "56401006", "12989004"]),
        (Finding("scoliosis", None, 0.9, BOX, site="T11-L3"), {}, ["1217256009", "12989004", "36470004"]),
        (Finding("scoliosis", None, 0.9, BOX, site="L1-L5"), {}, ["122496007", "66794005", "49668003"]),
        (
            Finding("scoliosis", None, 0.9, BOX, ("from-T10-to-L2",), "thoracic-spine"),
            {},
            ["122495006", "7610001", "14293000"],
        ),
    ],
)
def test_where_a_finding_is(finding: Finding, attributes: dict[str, str], expected: list[str]) -> None:
    """The tooth, else the finding's own site, else the body part of the header, else what the kind allows to say."""
    ds = xray(modality="DX", BodyPartExamined=attributes.get("BodyPartExamined"), AnatomicRegionSequence=None)
    subject = subject_of(ds, found(finding))
    (group,) = (each for each in groups(subject) if "272519000" not in dict(evaluations(each)).values())
    assert [site.value.value for site in group.finding_sites] == expected
    for observation in fhir(subject, "Observation"):
        assert observation["bodySite"]["coding"][0]["code"] == expected[0]


def test_site_from_the_anatomic_region() -> None:
    """The region that the header codes wins over the body part, if the table knows it."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "70258002", "SCT", "Ankle joint"
    ds = xray(modality="DX", BodyPartExamined="LEG", AnatomicRegionSequence=[item])
    (group,) = groups(subject_of(ds, found(Finding("fracture", None, 0.7))))
    assert group.finding_sites[0].value.value == "70258002"


def test_a_site_without_code_is_permanent() -> None:
    """A site that nobody coded ends in a clear error."""
    with pytest.raises(Permanent, match="left-ear"):
        measurement_report.write(subject_of(xray(), found(Finding("fracture", None, 0.7, site="left-ear"))))


def test_conditions_of_a_tooth_are_groups_of_their_own() -> None:
    """Two conditions of one tooth: two groups with that tooth, present, their certainty and tracking of their own."""
    subject = subject_of(xray(), found(Finding("filling", 36, 0.81, BOX), Finding("root-canal-treated", 36, 0.7, BOX)))
    first, second = groups(subject)
    assert (first.tracking_identifier, second.tracking_identifier) == ("FDI36/filling", "FDI36/root-canal-treated")
    assert first.tracking_uid != second.tracking_uid
    assert [site.value.value for group in (first, second) for site in group.finding_sites] == ["866006002"] * 2
    assert evaluations(first) == [("278550007", "52101004")]
    assert first.get_measurements()[0].value == 81.0
    assert fhir(subject, "Observation")[0]["bodySite"]["text"] == "FDI 36"


def test_equal_findings_have_different_tracking() -> None:
    """Two fractures in one image are two findings, the same two in SR and SEG."""
    subject = subject_of(xray(), found(Finding("fracture", None, 0.9, BOX), Finding("fracture", None, 0.6, BOX)))
    tracked = [(group.tracking_identifier, group.tracking_uid) for group in groups(subject)]
    assert [identifier for identifier, _ in tracked] == ["fracture", "fracture/2"]
    (result,) = segmentation.write(subject)
    segments = hd.seg.segread(io.BytesIO(result.content)).SegmentSequence
    assert [(segment.TrackingID, segment.TrackingUID) for segment in segments] == tracked


CURVES = (
    Finding("scoliosis", None, 0.93, BOX, ("double-curve",), "T5-T11", (Measurement("cobb-angle", 34.26),)),
    Finding("scoliosis", None, 0.93, BOX, (), "T12-L4", (Measurement("cobb-angle", 22.0),)),
)


def test_cobb_angles_are_measurements_in_degrees() -> None:
    """The angle comes back from SR and FHIR with its code, value and UCUM unit; the curve type as a coded value."""
    subject = subject_of(xray(modality="DX"), found(*CURVES, Finding("vertebra", None, 0.9, BOX, site="T5")))
    main = groups(subject)[0]
    angle = main.get_measurements()[1]
    assert (angle.name.value, angle.value, angle.unit.value, angle.unit.scheme_designator) == (
        ("285285000", 34.3, "deg", "UCUM")
    )
    assert evaluations(main) == [("298382003", "52101004"), ("298382003", "DOUBLE-CURVE")]
    observation = fhir(subject, "Observation")[0]
    assert observation["bodySite"]["text"] == "T5 to T11"
    quantities = [part["valueQuantity"] for part in observation["component"] if "valueQuantity" in part]
    assert quantities[1] == {"value": 34.3, "unit": "degree", "system": "http://unitsofmeasure.org", "code": "deg"}
    quality = observation["component"][2]["valueCodeableConcept"]["coding"][0]
    assert (quality["system"], quality["code"]) == ("urn:dentgate:code", "DOUBLE-CURVE")
    assert "note" not in observation


def test_absence_of_what_a_whole_image_is_asked_for() -> None:
    """Vertebrae without a curve: besides their groups a second report says that scoliosis is absent."""
    vertebra = Finding("vertebra", None, 0.9, BOX, site="T5")
    subject = subject_of(xray(modality="DX"), found(vertebra, looks_for=("vertebra", "scoliosis")))
    landmark, absent = groups(subject)
    assert landmark.finding_type.value == "51282000"
    assert evaluations(absent) == [("298382003", "272519000")]
    assert len(reports(subject)) == 2  # viewers show nothing of a report that mixes both


def test_an_image_that_was_not_read_says_so_everywhere() -> None:
    """SR: undetermined, and the reason; FHIR: preliminary, the reason, no Observation; no SEG; nowhere "absent"."""
    refused = found(refused="the image is too dark", looks_for=("fracture",))
    subject = subject_of(xray(modality="DX"), refused)
    (report,) = reports(subject)
    assert "not read" in report.SeriesDescription
    (group,) = groups(subject)
    assert evaluations(group) == [("125605004", "373068000")]
    assert "272519000" not in report.to_json()
    assert "not read: the image is too dark" in report.to_json()
    assert segmentation.write(subject) == []
    (document,) = fhir(subject, "DiagnosticReport")
    assert document["status"] == "preliminary"
    assert "Not read for bone fracture: the image is too dark." in document["conclusion"]
    assert fhir(subject, "Observation") == []
    assert "result" not in document


def test_results_of_several_models_on_one_image_stand_apart() -> None:
    """UIDs, series numbers and descriptions of all results of one image differ; those of the teeth are as before."""
    teeth = analysis_of(header_of(xray()), (36,), algorithm=dataclasses.replace(ALGORITHM, name="teeth_panoramic"))
    analyses = [
        teeth,
        found(Finding("filling", 36, 0.9, BOX), name="tooth_conditions"),
        found(Finding("caries", None, 0.9, BOX), name="site-model-a"),
        found(Finding("caries", None, 0.9, BOX), name="site-model-b"),
    ]
    together = subject_of(xray(), *analyses)
    results = [*segmentation.write(together), *measurement_report.write(together)]
    files = [
        hd.imread(io.BytesIO(r.content)) if r.kind == "seg" else hd.sr.srread(io.BytesIO(r.content)) for r in results
    ]
    assert len({(int(ds.SeriesNumber), ds.SeriesDescription) for ds in files}) == len(results) == 8
    assert len({int(ds.SeriesNumber) for ds in files}) == 8
    assert len({name for ds in files for name in (ds.SeriesInstanceUID, ds.SOPInstanceUID)}) == 16
    alone = subject_of(xray(), teeth)
    assert measurement_report.write(alone)[0] == measurement_report.write(together)[0]
    equipment = [item.ManufacturerModelName for item in files[-1].ContributingEquipmentSequence]
    assert "site-model-b" in equipment


@pytest.mark.parametrize(
    ("analyses", "words"),
    [
        (
            [found(Finding("filling", 36, 0.9), Finding("root-canal-treated", 36, 0.9), Finding("crown", 11, 0.9))],
            "Tooth 11: crown; tooth 36: filling, root-canal treated.",
        ),
        ([found(looks_for=("filling", "crown"))], "No filling or crown found."),
        ([found(looks_for=("fracture",))], "No fracture found."),
        ([found(Finding("fracture", None, 0.873, site="femur"))], "Fracture (femur) suspected (certainty 87 %)."),
        (
            [found(*CURVES)],
            "Scoliosis: main curve T5-T11 34 degrees, second curve T12-L4 22 degrees (double curve).",
        ),
        (
            [
                found(
                    Finding(
                        "scoliosis",
                        None,
                        0.9,
                        BOX,
                        ("single-curve", "from-T5-to-T11", "apex-T8", "convex-to-right-of-image", "level-uncertain"),
                        "thoracic-spine",
                        (Measurement("cobb-angle", 12.6),),
                    )
                )
            ],
            "Scoliosis: main curve T5-T11 13 degrees (single curve); level uncertain: thoracic-spine.",
        ),
        ([found(Finding("scoliosis", None, 0.8))], "Scoliosis suspected (certainty 80 %)."),
        (
            [found(Finding("vertebra", None, 0.8, site="T1"), looks_for=("scoliosis", "vertebra"))],
            "No scoliosis found; 1 vertebra outlined.",
        ),
        (
            [
                found(
                    Finding("calculus", None, 0.66), Finding("gingivitis", None, 0.71), looks_for=("ulcer", "calculus")
                )
            ],
            "Calculus or plaque suspected (certainty 66 %); gingivitis suspected (certainty 71 %).",
        ),
        ([found(refused="the image is too dark.", name="image_gate")], "Not read: the image is too dark."),
        (
            [found(Finding("crown", 11, 0.9)), found(refused="the arch is cut off", looks_for=("tooth",))],
            "Tooth 11: crown; not read for tooth numbering: the arch is cut off.",
        ),
    ],
)
def test_what_a_dentist_reads(analyses: list[Analysis], words: str) -> None:
    """One sentence for an image, over all its models, in a dentist's words."""
    assert conclusion(*analyses, ds=xray(modality="DX")) == words


def test_a_photograph_is_no_radiograph() -> None:
    """The report of a photograph is not filed under radiology."""
    (report,) = fhir(subject_of(xray(modality="XC"), found(Finding("caries", None, 0.8))), "DiagnosticReport")
    listed = {coding["code"] for category in report["category"] for coding in category["coding"]}
    assert listed == {"85430-7"}
    assert report["identifier"][0]["value"].endswith("/oral-photograph")


def test_no_word_is_a_code_name() -> None:
    """Every kind has words without hyphens that a dentist would not write."""
    for kind in FINDINGS:
        words = kind_word(kind)
        assert re.fullmatch(r"[a-z -]+", words)
        assert "_" not in words


def test_a_source_counts_equal_findings() -> None:
    """The second of two equal labels is number 2, another label starts at 1."""
    findings = (Finding("fracture", None, 0.9), Finding("fracture", None, 0.8), Finding("caries", 11, 0.8))
    source = Source(header_of(xray()), found(*findings))
    assert [number for _, number in source.counted] == [1, 2, 1]
