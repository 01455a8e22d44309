"""Subjects as they stand after a person reviewed them; apart from ``subjects`` because few tests need it."""

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pydicom

from service.domain.finding import Finding
from service.domain.review import Action, Conclusion, Deed, Entry, Reviewer, apply, judge, signature_of
from service.results import WRITERS
from service.results.subject import Reference, Subject

REVIEWER = Reviewer("Muster^Anna^^Dr.", "L-7", "Praxis am Tor")
_MADE = ("sr", "sr-text", "seg", "presentation-state")
SIGNED_AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def done(*actions: Action, number: int = 1, conclusion: Conclusion = Conclusion.SIGN, **more: object) -> Entry:
    """An entry of the reviewer, an hour after the one before."""
    at = SIGNED_AT + timedelta(hours=number - 1)
    return Entry(number, 1, REVIEWER, at, actions, conclusion, **more)  # type: ignore[arg-type]  # as the test says


def signed(subject: Subject, *entries: Entry) -> Subject:
    """The subject after these entries, with everything that was made before the last of them."""
    analyses = [source.analysis for source in subject.sources]
    made = apply(subject.study_instance_uid, analyses, entries)
    pairs = zip(subject.sources, made, strict=True)
    signature = signature_of(entries)
    sources = tuple(replace(source, analysis=analysis, signature=signature) for source, analysis in pairs)
    before = [entry for entry in entries[:-1] if entry.conclusion is not Conclusion.OPEN]
    earlier = signed(subject, *entries[: entries.index(before[-1]) + 1]) if before else subject
    references = (*earlier.earlier, *references_of(earlier))
    return replace(subject, revision=len(before) + 2, sources=sources, earlier=references)


def references_of(subject: Subject) -> list[Reference]:
    """DICOM objects that are made of a subject."""
    found = []
    for kind in _MADE:
        for result in WRITERS[kind](subject):
            ds = pydicom.dcmread(io.BytesIO(result.content), stop_before_pixels=True)
            found.append(
                Reference(kind, str(ds.SeriesInstanceUID), str(ds.SOPClassUID), str(ds.SOPInstanceUID)),
            )
    return list({each.sop_instance_uid: each for each in found}.values())


def id_of(subject: Subject, kind: str = "tooth", tooth: int | None = None, place: int = 0) -> str:
    """Tracking UID of a finding: of a kind and tooth, the first or a later one."""

    def fits(finding: Finding) -> bool:
        return finding.kind == kind and finding.tooth == tooth

    judged = judge(subject.study_instance_uid, [source.analysis for source in subject.sources], [])
    return [each.tracking_uid for each in judged if fits(each.value)][place]


def usual_review(subject: Subject, teeth: Sequence[int] = (36, 37, 46)) -> tuple[Action, ...]:
    """One finding rejected, one changed, one added with a box and one without."""
    image = subject.sources[0].analysis.sop_instance_uid
    return (
        Action(Deed.REJECT, id_of(subject, tooth=teeth[0])),
        Action(Deed.CHANGE, id_of(subject, tooth=teeth[1]), tooth=38),
        Action(Deed.ADD, kind="caries", tooth=teeth[2], image=image, box=(10, 20, 60, 90)),
        Action(Deed.ADD, kind="gingivitis", site="mouth", image=image),
    )
