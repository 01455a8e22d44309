"""DICOM SR: Imaging Measurement Report (PS3.16 TID 1500), one for each analyzed image.

Findings with a region are planar ROI groups (TID 1410), findings of the whole image TID 1501 groups in a report of
their own: viewers show nothing at all of a report that mixes them.
"""

from collections.abc import Sequence
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from service.domain.codes import (
    ARTIFICIAL_INTELLIGENCE,
    BOUNDED_BY,
    CERTAINTY,
    FINDINGS,
    IMAGING_PROCEDURE,
    JAW_REGION,
    PERCENT,
    Code,
)
from service.domain.finding import Algorithm, Finding, Region
from service.domain.result import Result
from service.domain.tooth import tooth_of
from service.results import wording
from service.results.evidence import (
    MANUFACTURER,
    coded,
    common,
    evidence_of,
    finished,
    percent,
    serial_number,
    short,
    unwarned,
)
from service.results.identity import derived_uid, device_uid, tracking_uid
from service.results.regions import closed_box
from service.results.subject import Source, Subject

PRESENT = Code("52101004", "SCT", "Present")  # CID 240
ABSENT = Code("272519000", "SCT", "Absent")  # CID 240; FHIR content uses another code
COMMENT = Code("121106", "DCM", "Comment")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
_PROJECTION = {"CR", "DX", "IO", "PX", "MG", "RF", "RG", "XA"}
_MODALITY = "121139"  # (121139, DCM, "Modality")
Groups = Sequence[sr.PlanarROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations]


def write(subject: Subject) -> Sequence[Result]:
    """The reports of each image: findings with regions, findings without; "absent" where there is no finding at all.

    Raises:
        Permanent: the header lacks a UID that the report must refer to.
    """
    return [result for source in subject.sources for result in _write(subject, source)]


@unwarned()
def _write(subject: Subject, source: Source) -> list[Result]:
    evidence = evidence_of(source)
    findings = source.analysis.findings
    regional = [
        _planar_group(subject, source, evidence, finding, finding.region) for finding in findings if finding.region
    ]
    whole = [_image_group(subject, source, evidence, finding) for finding in findings if not finding.region]
    if not findings:
        whole = [_absent_group(subject, source, evidence)]
    reports = []
    if regional:
        details = common(subject, source, "sr", 901, "AI: tooth numbering (unverified)")
        reports.append(_report(source, evidence, regional, details))
    if whole:
        kind = "sr" if not regional else "sr-image"
        details = common(subject, source, kind, 904, "AI: whole image findings (unverified)")
        reports.append(_report(source, evidence, whole, details))
    return reports


def _report(source: Source, evidence: Dataset, groups: Groups, details: dict[str, Any]) -> Result:
    content = sr.MeasurementReport(
        observation_context=_observer(source.analysis.algorithm),
        procedure_reported=coded(IMAGING_PROCEDURE),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[evidence] if _fits_image_library(evidence) else None,
    )
    _conclude(content, source)
    report = sr.Comprehensive3DSR(
        evidence=[evidence], content=content, is_complete=True, is_final=False, is_verified=False, **details
    )
    _repair(report, evidence)
    return finished(report, source, "sr")


def _observer(algorithm: Algorithm) -> sr.ObservationContext:
    attributes = sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(algorithm),
        name=short(algorithm.name),
        manufacturer_name=MANUFACTURER,
        model_name=short(algorithm.name),
        serial_number=serial_number(algorithm),
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=attributes
        )
    )


def _planar_group(
    subject: Subject, source: Source, evidence: Dataset, finding: Finding, region: Region
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    box = closed_box(region, source.analysis.rows, source.analysis.columns)
    concepts = FINDINGS[finding.kind]
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(subject, source, finding),
        algorithm_id=_algorithm(source),
        referenced_region=sr.ImageRegion(
            sr.GraphicTypeValues.POLYLINE,
            box,
            sr.SourceImageForRegion(evidence.SOPClassUID, evidence.SOPInstanceUID),
        ),
        finding_type=coded(concepts.finding),
        finding_category=coded(concepts.category),
        finding_sites=[_site(finding)],
        geometric_purpose=coded(BOUNDED_BY),
        measurements=[_certainty(finding)],
    )
    _comment(group, finding.flags)
    return group


def _image_group(
    subject: Subject, source: Source, evidence: Dataset, finding: Finding
) -> sr.MeasurementsAndQualitativeEvaluations:
    concepts = FINDINGS[finding.kind]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(subject, source, finding),
        algorithm_id=_algorithm(source),
        finding_type=coded(concepts.finding),
        finding_category=coded(concepts.category),
        finding_sites=[_site(finding)],
        measurements=[_certainty(finding)],
        qualitative_evaluations=[sr.QualitativeEvaluation(coded(concepts.finding), coded(PRESENT))],
        source_images=[sr.SourceImageForMeasurementGroup(evidence.SOPClassUID, evidence.SOPInstanceUID)],
    )
    _comment(group, finding.flags)
    return group


def _absent_group(subject: Subject, source: Source, evidence: Dataset) -> sr.MeasurementsAndQualitativeEvaluations:
    """No finding at all: said, not left out (a report without groups is not a report)."""
    concepts = FINDINGS["tooth"]
    uid = derived_uid(
        "absent", subject.study_instance_uid, device_uid(source.analysis.algorithm), evidence.SOPInstanceUID
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier="no finding"),
        algorithm_id=_algorithm(source),
        finding_type=coded(concepts.finding),
        finding_category=coded(concepts.category),
        finding_sites=[sr.FindingSite(coded(JAW_REGION))],
        qualitative_evaluations=[sr.QualitativeEvaluation(coded(concepts.finding), coded(ABSENT))],
        source_images=[sr.SourceImageForMeasurementGroup(evidence.SOPClassUID, evidence.SOPInstanceUID)],
    )


def _tracking(subject: Subject, source: Source, finding: Finding) -> sr.TrackingIdentifier:
    analysis = source.analysis
    uid = tracking_uid(subject.study_instance_uid, analysis.algorithm, analysis.sop_instance_uid, finding)
    return sr.TrackingIdentifier(uid=uid, identifier=finding.label or finding.kind)


def _algorithm(source: Source) -> sr.AlgorithmIdentification:
    """TID 4019."""
    algorithm = source.analysis.algorithm
    return sr.AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        family=coded(ARTIFICIAL_INTELLIGENCE),
        manufacturer=algorithm.manufacturer,
    )


def _site(finding: Finding) -> sr.FindingSite:
    """The tooth, whose code carries side and arch; the jaw for a finding that belongs to no tooth."""
    if finding.tooth is None:
        return sr.FindingSite(coded(JAW_REGION))
    tooth = tooth_of(finding.tooth)
    return sr.FindingSite(coded(Code(tooth.snomed, "SCT", tooth.meaning)))


def _certainty(finding: Finding) -> sr.Measurement:
    return sr.Measurement(coded(CERTAINTY), percent(finding.certainty), coded(PERCENT))


def _comment(group: Sequence[Dataset], remarks: Sequence[str]) -> None:
    """Flags of one finding, in words, as TEXT items of its group."""
    for remark in remarks:
        group[0].ContentSequence.append(_text(wording.flag(remark)))


def _conclude(content: sr.MeasurementReport, source: Source) -> None:
    """The whole image in plain words, in the container that TID 1500 has for evaluations without a group."""
    container = sr.ContainerContentItem(
        name=coded(QUALITATIVE_EVALUATIONS), relationship_type=sr.RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = sr.ContentSequence([_text(wording.conclusion([source]))])
    content[0].ContentSequence.append(container)


def _text(remark: str) -> sr.TextContentItem:
    return sr.TextContentItem(name=coded(COMMENT), value=remark, relationship_type=sr.RelationshipTypeValues.CONTAINS)


def _fits_image_library(evidence: Dataset) -> bool:
    """Whether TID 1603 can be filled: for projection images highdicom needs orientation and spacing."""
    if evidence.Modality not in _PROJECTION:
        return True
    return len(evidence.get("PatientOrientation") or ()) == 2 and bool(evidence.get("ImagerPixelSpacing"))  # noqa: PLR2004 - row and column


def _repair(report: Dataset, evidence: Dataset) -> None:
    """What highdicom leaves out, or takes from the SOP class instead of the image."""
    if "StudyDescription" in evidence:
        report.StudyDescription = evidence.StudyDescription
    if evidence.Modality == "PX":
        _name_panoramic(report.ContentSequence)


def _name_panoramic(items: Sequence[Dataset]) -> None:
    for item in items:
        name = item.get("ConceptNameCodeSequence")
        if name and name[0].get("CodeValue") == _MODALITY:
            value = item.ConceptCodeSequence[0]
            value.CodeValue, value.CodeMeaning = "PX", "Panoramic X-Ray"
        _name_panoramic(item.get("ContentSequence", ()))
