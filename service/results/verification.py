"""Who answers for a result: an algorithm alone, or a person who signed. Every word and attribute that says so."""

import re
from collections.abc import Iterable, Sequence

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from service import clock
from service.domain.finding import Analysis, Finding
from service.domain.review import Signature, edition_of
from service.domain.words import kind_word
from service.results.labels import site_name
from service.results.subject import Reference, Source, Subject

Sources = Sequence[Source]
_LONGEST_NAME = 64  # of one component group of a PN (PS3.5 6.2)
_LABEL = re.compile(r"(?:FDI(\d+)|([A-Za-z0-9-]+)(?=/))(?:/(.+))?")  # a kind with its code has colons before a slash
_MARK = "(unverified)"  # what every series description of a result says


def signature_of(sources: Sources) -> Signature | None:
    """Under whose name the sources stand; None = nobody's."""
    return sources[0].signature if sources else None


def headline(sources: Sources) -> str:
    """What must stand on every picture of a result, in capitals."""
    signature = signature_of(sources)
    return "AI RESULT - NOT VERIFIED" if signature is None else said_of(signature).upper()


def verdict(sources: Sources) -> str:
    """The same within a line: "not verified"."""
    signature = signature_of(sources)
    return "not verified" if signature is None else said_of(signature)


def opening(sources: Sources) -> str:
    """The first sentence of a report."""
    signature = signature_of(sources)
    if signature is None:
        return "AI result, not verified by a dentist."
    who = f" ({signature.reviewer.organization})" if signature.reviewer.organization else ""
    if signature.withdrawn:
        return f"Report {said_of(signature)}{who}: {signature.reason.rstrip('.')}."
    return f"AI result, {said_of(signature)}{who}."


def struck_out(analyses: Iterable[Analysis]) -> str:
    """What the person rejected, as a clause; empty if nothing."""
    words = dict.fromkeys(rejected_name(finding) for analysis in analyses for finding in analysis.rejected)
    return f"found by the AI, but rejected by the reviewer: {', '.join(words)}" if words else ""


def rejected_name(finding: Finding) -> str:
    """What a rejected finding was: "tooth 36", "caries of tooth 36"."""
    where = site_name(finding)
    if finding.kind == "tooth":
        return f"tooth {where}".strip()
    place = f" of tooth {where}" if finding.tooth is not None else f" ({where})" if where else ""
    return f"{kind_word(finding.kind)}{place}"


def remark(finding: Finding) -> str:
    """What a person did to a finding, as a remark on it; empty if nothing but let it stand."""
    if finding.reviewed is None or not finding.by_person:
        return ""
    if finding.reviewed.was:
        return f"The AI said {_said_before(finding.reviewed.was)}; changed by the reviewer"
    return "Added by the reviewer, not found by the AI"


def _said_before(label: str) -> str:
    """A label of a finding, "FDI36/caries", in words: "caries of tooth 36"."""
    match = _LABEL.fullmatch(label)
    if match is None:
        return kind_word(label)
    tooth, site, kind = match.groups()
    if kind is None:
        return f"tooth {tooth}"
    return f"{kind_word(kind)} of tooth {tooth}" if tooth else f"{kind_word(kind)} ({site})"


def described(description: str, source: Source) -> str:
    """A series description as it is after a signature."""
    return description if source.signature is None else description.replace(_MARK, "(verified)")


def person_name(signature: Signature) -> str:
    """The name as PN: as it was given where that has components, else as family name."""
    return signature.reviewer.name.replace("\\", " ").replace("=", " ")[:_LONGEST_NAME]


def person_observer(signature: Signature) -> sr.ObserverContext:
    """TID 1002 and 1003: the person who saw it."""
    attributes = sr.PersonObserverIdentifyingAttributes(
        name=person_name(signature), organization_name=signature.reviewer.organization or None
    )
    return sr.ObserverContext(observer_type=codes.DCM.Person, observer_identifying_attributes=attributes)


def verify(ds: Dataset, source: Source, predecessors: Sequence[Reference], study_uid: str) -> None:
    """SR Document General (PS3.3 C.17.2): final, verified by whom, and which documents it takes the place of."""
    signature = source.signature
    if signature is None:
        return
    ds.CompletionFlag, ds.PreliminaryFlag, ds.VerificationFlag = "COMPLETE", "FINAL", "VERIFIED"
    observer = Dataset()
    observer.VerifyingOrganization = signature.reviewer.organization[:64] or "not stated"
    observer.VerificationDateTime = f"{signature.at:%Y%m%d%H%M%S.%f%z}"
    observer.VerifyingObserverName = person_name(signature)
    observer.VerifyingObserverIdentificationCodeSequence = []
    ds.VerifyingObserverSequence = [observer]
    if predecessors:
        ds.PredecessorDocumentsSequence = [_referenced_study(predecessors, study_uid)]


def earlier_edition(source: Source) -> str:
    """The edition that this one takes the place of: that of the signature before, or what the algorithm said."""
    return "" if source.signature is None else edition_of(source.signature.previous)


def predecessors(subject: Subject, candidates: Sequence[str]) -> list[Reference]:
    """The documents that a signed one takes the place of: the first of the candidates that were really made.

    Args:
        candidates: SOP Instance UIDs in the edition before.
    """
    made = {reference.sop_instance_uid: reference for reference in subject.earlier}
    return [made[uid] for uid in candidates if uid in made][:1]


def _referenced_study(references: Sequence[Reference], study_uid: str) -> Dataset:
    """Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1)."""
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = study_uid, []
    for reference in references:
        series, pointer = Dataset(), Dataset()
        series.SeriesInstanceUID = reference.series_uid
        pointer.ReferencedSOPClassUID = reference.sop_class_uid
        pointer.ReferencedSOPInstanceUID = reference.sop_instance_uid
        series.ReferencedSOPSequence = [pointer]
        study.ReferencedSeriesSequence.append(series)
    return study


def said_of(signature: Signature) -> str:
    """By whom and when: "verified by Dr. Anna Muster on 2026-11-21"."""
    verb = "withdrawn" if signature.withdrawn else "verified"
    return f"{verb} by {signature.reviewer.display} on {clock.local(signature.at):%Y-%m-%d}"
