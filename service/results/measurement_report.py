"""DICOM SR: Imaging Measurement Report (PS3.16 TID 1500), one for each analysis of an image.

Findings with a region are planar ROI groups (TID 1410), findings of the whole image TID 1501 groups in a report of
their own: viewers show nothing at all of a report that mixes them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from service.domain.codes import (
    ABSENT,
    ARTIFICIAL_INTELLIGENCE,
    BOUNDED_BY,
    CERTAINTY,
    FINDINGS,
    IMAGING_PROCEDURE,
    MEASUREMENTS,
    PERCENT,
    PRESENT,
    QUALITIES,
    SITES,
    UNDETERMINED,
    Code,
)
from service.domain.errors import Permanent
from service.domain.finding import Finding, Measurement, Region
from service.domain.result import Result
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
    stamped,
    unwarned,
)
from service.results.identity import derived_uid, device_uid, result_uid, tracking_label, tracking_uid
from service.results.measurement_groups import Group, Image, encoded_groups, remarks_of, taken_content
from service.results.regions import closed_box
from service.results.sites import shown_in, sites_of
from service.results.subject import Source, Subject
from service.results.verification import earlier_edition, person_observer, predecessors, verify

COMMENT = Code("121106", "DCM", "Comment")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
_PROJECTION = {"CR", "DX", "IO", "PX", "MG", "RF", "RG", "XA"}
_MODALITY = "121139"  # (121139, DCM, "Modality")
#: Findings whose absence from a whole image is a statement of its own, also where something else was found.
_STATED = {"fracture", "scoliosis"}
_KINDS = ("sr", "sr-image")  # of reports: findings with regions, findings of the whole image beside those
_AFTER_TRACKING = 2  # place in a group: after Tracking Identifier and UID
Groups = Sequence[sr.PlanarROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations]


def write(subject: Subject, *, by_highdicom: bool = False) -> Sequence[Result]:
    """The reports of each analysis: findings with regions, findings without; "absent" where there is no finding at all.

    An image that was not read gets a report, too: everything that was looked for is undetermined, and why.

    Args:
        by_highdicom: build all groups with highdicom, not the first one only: the same bytes, many times as slow.

    Raises:
        Permanent: the header lacks a UID that the report must refer to, or a site has no code.
    """
    try:
        return [result for source in subject.sources for result in _Writer(subject, source).results(by_highdicom)]
    except KeyError as error:
        message = f"no code for finding, tooth or measurement {error}; add it to service/domain"
        raise Permanent(message) from None


class _Writer:
    """The reports of one analysis."""

    def __init__(self, subject: Subject, source: Source) -> None:
        """``subject``: the study it belongs to."""
        self._subject, self._source, self._analysis = subject, source, source.analysis

    @unwarned()
    def results(self, by_highdicom: bool) -> list[Result]:  # noqa: FBT001 - as write has it
        """Findings with a region, then those of the whole image, each kind in a report of its own."""
        self._evidence = evidence_of(self._source)
        regional = [self._group(f, number, f.region) for f, number in self._source.counted if f.region]
        whole: Groups = [self._whole(f, number) for f, number in self._source.counted if not f.region]
        whole = [*whole, *self._not_found()]
        title = wording.title(self._analysis)
        reports = []
        if regional:
            details = self._details("sr", 901, f"AI: {title} (unverified)")
            first, repeated = (regional, ()) if by_highdicom else (regional[:1], regional)
            reports.append(self._report([self._planar(group) for group in first], details, repeated))
        if whole:
            kind = "sr" if not regional else "sr-image"
            remark = "not read" if self._analysis.refused else "whole image"
            single = "tooth" in self._analysis.looks_for and not self._analysis.refused
            description = "AI: whole image findings (unverified)" if single else f"AI: {title}, {remark} (unverified)"
            reports.append(self._report(whole, self._details(kind, 904, description)))
        return reports

    def _details(self, kind: str, number: int, description: str) -> dict[str, Any]:
        return common(self._subject, self._source, kind, number, description)

    def _report(self, groups: Groups, details: dict[str, Any], repeated: Sequence[Group] = ()) -> Result:
        """A report of groups; ``repeated`` are put in their place as bytes, the first of them again."""
        evidence = self._evidence
        content = sr.MeasurementReport(
            observation_context=_observer(self._source),
            procedure_reported=coded(IMAGING_PROCEDURE),
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
            referenced_images=[evidence] if _fits_image_library(evidence) else None,
        )
        _conclude(content, self._source)
        report = sr.Comprehensive3DSR(
            evidence=[evidence], content=content, is_complete=True, is_final=False, is_verified=False, **details
        )
        _repair(report, evidence)
        self._verify(report)
        if len(repeated) <= 1:
            return finished(report, self._source, "sr")
        image = Image(
            str(evidence.SOPClassUID), str(evidence.SOPInstanceUID), self._analysis.rows, self._analysis.columns
        )
        tail = taken_content(report, encoded_groups(repeated, image, self._analysis.algorithm, self._source.signature))
        head = stamped(report, self._source, "sr")
        return replace(head, content=head.content + tail)

    def _verify(self, report: Dataset) -> None:
        """Under whose name it stands, and in place of which report: the one of its kind, else the other one."""
        editions = self._source.edition, earlier_edition(self._source)
        now, before = (uids_in(self._subject, self._source, edition) for edition in editions)
        same = before[now.index(str(report.SOPInstanceUID))]
        verify(report, self._source, predecessors(self._subject, [same, *before]), self._subject.study_instance_uid)

    def _group(self, finding: Finding, number: int, region: Region) -> Group:
        analysis = self._analysis
        identity = self._subject.study_instance_uid, analysis.algorithm, analysis.sop_instance_uid
        uid = tracking_uid(*identity, finding, number)
        return Group(finding, region, number, uid, sites_of(finding, self._source.header))

    def _planar(self, placed: Group) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
        finding, number, region = placed.finding, placed.number, placed.region
        concepts = FINDINGS[finding.kind]
        anatomy = concepts.category == FINDINGS["tooth"].category  # is there; what is found of it may be present
        evaluations = [*([] if anatomy else [PRESENT]), *_qualities(finding)]
        group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(finding, number),
            algorithm_id=None if finding.by_person else _algorithm(self._source),
            referenced_region=sr.ImageRegion(
                sr.GraphicTypeValues.POLYLINE,
                closed_box(region, self._analysis.rows, self._analysis.columns),
                sr.SourceImageForRegion(self._evidence.SOPClassUID, self._evidence.SOPInstanceUID),
            ),
            finding_type=coded(concepts.finding),
            finding_category=coded(concepts.category),
            finding_sites=self._sites(finding),
            geometric_purpose=coded(BOUNDED_BY),
            measurements=_measurements(finding) or None,
            qualitative_evaluations=[_evaluation(concepts.finding, value) for value in evaluations] or None,
        )
        self._attribute(group, finding)
        return group

    def _whole(self, finding: Finding, number: int) -> sr.MeasurementsAndQualitativeEvaluations:
        concepts = FINDINGS[finding.kind]
        group = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(finding, number),
            algorithm_id=None if finding.by_person else _algorithm(self._source),
            finding_type=coded(concepts.finding),
            finding_category=coded(concepts.category),
            finding_sites=self._sites(finding),
            measurements=_measurements(finding) or None,
            qualitative_evaluations=[_evaluation(concepts.finding, value) for value in (PRESENT, *_qualities(finding))],
            source_images=[self._image()],
        )
        self._attribute(group, finding)
        return group

    def _attribute(self, group: Sequence[Dataset], finding: Finding) -> None:
        """Remarks; and the person as observer in place of the algorithm, where a person says so (TID 1002)."""
        content = group[0].ContentSequence
        if finding.by_person and self._source.signature is not None:
            for place, item in enumerate(person_observer(self._source.signature), start=_AFTER_TRACKING):
                content.insert(place, item)
        for remark in remarks_of(finding):
            content.append(_text(remark))

    def _not_found(self) -> Groups:
        """What was looked for in vain: said, not left out (a report without groups is not a report)."""
        analysis = self._analysis
        found = {finding.kind for finding in analysis.findings}
        if analysis.refused:
            group = self._statement(analysis.looks_for, UNDETERMINED, "not read")
            group[0].ContentSequence.append(_text(wording.refusal(analysis)))
            return [group]
        if not found:
            return [self._statement(analysis.looks_for, ABSENT, "no finding")]
        return [
            self._statement([kind], ABSENT, f"no {kind}")
            for kind in analysis.looks_for
            if kind in _STATED and kind not in found
        ]

    def _statement(
        self, kinds: Sequence[str], value: Code, identifier: str
    ) -> sr.MeasurementsAndQualitativeEvaluations:
        """A group about the whole image, in which all kinds have the same value."""
        uid = derived_uid(
            "absent" if identifier == "no finding" else identifier,
            self._subject.study_instance_uid,
            device_uid(self._analysis.algorithm),
            self._evidence.SOPInstanceUID,
        )
        concepts = [FINDINGS[kind] for kind in kinds]
        only = concepts[0] if len(concepts) == 1 else None
        site = shown_in(self._source.header, concepts[0].site if concepts else "bone")
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier=identifier),
            algorithm_id=_algorithm(self._source),
            finding_type=coded(only.finding) if only else None,
            finding_category=coded(only.category) if only else None,
            finding_sites=[sr.FindingSite(coded(SITES[site]))],
            qualitative_evaluations=[_evaluation(each.finding, value) for each in concepts] or None,
            source_images=[self._image()],
        )

    def _image(self) -> sr.SourceImageForMeasurementGroup:
        return sr.SourceImageForMeasurementGroup(self._evidence.SOPClassUID, self._evidence.SOPInstanceUID)

    def _tracking(self, finding: Finding, number: int) -> sr.TrackingIdentifier:
        analysis = self._analysis
        uid = tracking_uid(
            self._subject.study_instance_uid, analysis.algorithm, analysis.sop_instance_uid, finding, number
        )
        return sr.TrackingIdentifier(uid=uid, identifier=tracking_label(finding, number))

    def _sites(self, finding: Finding) -> list[sr.FindingSite]:
        return [sr.FindingSite(coded(site)) for site in sites_of(finding, self._source.header)]


def uids_in(subject: Subject, source: Source, edition: str) -> list[str]:
    """SOP Instance UIDs of the reports of an analysis in an edition, made or not: with regions, of the whole image."""
    analysis = source.analysis
    return [
        result_uid(subject.study_instance_uid, analysis.algorithm, kind, analysis.sop_instance_uid, edition)
        for kind in _KINDS
    ]


def _observer(source: Source) -> sr.ObservationContext:
    """The algorithm, and the person who signed (TID 1001)."""
    algorithm = source.analysis.algorithm
    attributes = sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(algorithm),
        name=short(algorithm.name),
        manufacturer_name=MANUFACTURER,
        model_name=short(algorithm.name),
        serial_number=serial_number(algorithm),
    )
    return sr.ObservationContext(
        observer_person_context=None if source.signature is None else person_observer(source.signature),
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=attributes
        ),
    )


def _algorithm(source: Source) -> sr.AlgorithmIdentification:
    """TID 4019."""
    algorithm = source.analysis.algorithm
    return sr.AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        family=coded(ARTIFICIAL_INTELLIGENCE),
        manufacturer=algorithm.manufacturer,
    )


def _measurements(finding: Finding) -> list[sr.Measurement]:
    """The certainty of an algorithm, and what was measured, in its unit with one decimal."""
    certainty = sr.Measurement(coded(CERTAINTY), percent(finding.certainty), coded(PERCENT))
    return [*([] if finding.by_person else [certainty]), *(_measurement(measured) for measured in finding.measurements)]


def _measurement(measured: Measurement) -> sr.Measurement:
    concepts = MEASUREMENTS[measured.kind]
    return sr.Measurement(coded(concepts.name), round(float(measured.value), 1), coded(concepts.unit))


def _qualities(finding: Finding) -> list[Code]:
    return [QUALITIES[flag] for flag in finding.flags if flag in QUALITIES]


def _evaluation(name: Code, value: Code) -> sr.QualitativeEvaluation:
    return sr.QualitativeEvaluation(coded(name), coded(value))


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
