"""The reports for viewers that go dark at a measurement report without regions, as OHIF does.

Findings with a region stay what they are in "sr" (the very same object); all else, "nothing found" and "not read"
included, is said in a Basic Text SR (PS3.3 A.35.1, PS3.16 TID 2000), which every viewer of reports shows.
"""

from collections.abc import Sequence
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from service.domain.codes import IMAGING_REPORT
from service.domain.result import Result
from service.results import measurement_report, wording
from service.results.composite import as_result, code_item, composite, date_content, uid_for
from service.results.content_items import evidence_item, language, observer, section, text_item
from service.results.evidence import unwarned
from service.results.identity import result_uid
from service.results.labels import finding_label, sureness
from service.results.subject import Reference, Source, Subject
from service.results.verification import earlier_edition, predecessors, remark, verify

KIND = "sr-text"


def write(subject: Subject) -> Sequence[Result]:
    """For each analysis the measurement report of its regions, and a text report where it has anything beyond them.

    Raises:
        Permanent: the header lacks a UID that the report must refer to.
    """
    written = {result.name: result for result in measurement_report.write(subject)}
    results = []
    for source in subject.sources:
        regions, whole = (written.get(_uid(subject, source, kind)) for kind in ("sr", "sr-image"))
        if regions is not None and _has_regions(source):
            results.append(replace(regions, kind=KIND))
        if whole is not None or not _has_regions(source):
            results.append(_write(subject, source))
    return results


def _uid(subject: Subject, source: Source, kind: str) -> str:
    analysis = source.analysis
    identity = subject.study_instance_uid, analysis.algorithm, kind, analysis.sop_instance_uid
    return result_uid(*identity, source.edition)


def _predecessors(subject: Subject, source: Source) -> list[Reference]:
    before = earlier_edition(source)
    return predecessors(
        subject,
        [
            uid_for(subject, [source], KIND, edition=before),
            *measurement_report.uids_in(subject, source, before),
        ],
    )


def _has_regions(source: Source) -> bool:
    return any(finding.region is not None for finding in source.analysis.findings)


@unwarned()
def _write(subject: Subject, source: Source) -> Result:
    header = source.header
    ds = composite(subject, [source], KIND, (909, "AI: report in words (unverified)"), BasicTextSRStorage)
    date_content(ds, [source])
    ds.Modality, ds.ValueType, ds.ContinuityOfContent = "SR", "CONTAINER", "SEPARATE"
    ds.CompletionFlag, ds.PreliminaryFlag, ds.VerificationFlag = "COMPLETE", "PRELIMINARY", "UNVERIFIED"
    verify(ds, source, _predecessors(subject, source), subject.study_instance_uid)
    ds.ReferencedPerformedProcedureStepSequence, ds.PerformedProcedureCodeSequence = [], []
    ds.ConceptNameCodeSequence = [code_item(IMAGING_REPORT.value, IMAGING_REPORT.scheme, IMAGING_REPORT.meaning)]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2000"
    ds.ContentTemplateSequence = [template]
    image = str(header.SeriesInstanceUID), str(header.SOPClassUID), str(header.SOPInstanceUID)
    ds.CurrentRequestedProcedureEvidenceSequence = [evidence_item(subject, [image])]
    sentences = [text_item("121071", "Finding", sentence) for sentence in wording.sentences([source])]
    ds.ContentSequence = [
        language(),
        *observer(source),
        section("121070", "Findings", [*sentences, *_findings(source)]),
    ]
    return as_result(ds, [source], KIND)


def _findings(source: Source) -> list[Dataset]:
    """A line for each finding without a region: what, how certain."""
    whole = [finding for finding in source.analysis.findings if finding.region is None]
    lines = [
        f"{finding_label(each)}: {''.join(f'{sure} certain' for sure in sureness(each)) or remark(each)}."
        for each in whole
    ]
    return [text_item("121071", "Finding", line) for line in lines]
