"""What people made of the findings of a study: entries that are only ever added, and what follows from all of them.

A signature lets everything stand that was not rejected: nobody presses 32 times "accept". What was found later, by a
late image or another model, waits for the next signature.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from service.domain.finding import UNCERTAIN, Analysis, Finding, Judgement, Region, Reviewed
from service.domain.tracking import derived_uid, tracking_label, tracking_uid


class Deed(StrEnum):
    """What a person does to one finding."""

    ACCEPT = "accept"
    CHANGE = "change"
    REJECT = "reject"
    ADD = "add"


class Conclusion(StrEnum):
    """How an entry ends."""

    OPEN = "open"  #: work in progress: nothing leaves
    SIGN = "sign"
    WITHDRAW = "withdraw"  #: wrong patient or study: every report of it is taken back, for ever


class ReportStatus(StrEnum):
    """What a report is, in FHIR's words (R4 diagnostic-report-status)."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"
    CORRECTED = "corrected"
    WITHDRAWN = "entered-in-error"


class Standing(StrEnum):
    """Where the review of a study stands."""

    UNREAD = "not reviewed"
    OPEN = "in review"
    SIGNED = "signed"
    NEWER = "signed, newer findings wait for review"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A person, as they named themselves.

    Attributes:
        name: plain, "Dr. Anna Muster", or as DICOM writes it, "Muster^Anna^^Dr." (PS3.5 6.2, PN).
        identifier: of the person in the organization, for example a licence number.
    """

    name: str
    identifier: str = ""
    organization: str = ""

    @property
    def display(self) -> str:
        """The name as it is said: "Dr. Anna Muster"."""
        family, given, middle, prefix, suffix = (*self.name.split("^"), "", "", "", "")[:5]
        return " ".join(part for part in (prefix, given, middle, family, suffix) if part)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a person does.

    Attributes:
        finding: tracking UID of what it is done to; empty for ``ADD``.
        kind, tooth, site: what is said from now on; empty or None leaves it as it was. A tooth takes the place of a
            site and the other way round.
        image: SOP Instance UID, for ``ADD`` only.
        box: as ``Region.box``, for ``ADD`` only.
        note: why, in the person's words; kept in the record, written nowhere else.
    """

    deed: Deed
    finding: str = ""
    kind: str = ""
    tooth: int | None = None
    site: str = ""
    image: str = ""
    box: tuple[int, int, int, int] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of a person, as it is recorded.

    Attributes:
        number: 1 for the first of the study.
        revision: the analyses that the person saw: those of this revision.
        correcting: the signature corrects an error of an earlier one.
        reason: of a withdrawal.
    """

    number: int
    revision: int
    reviewer: Reviewer
    at: datetime
    actions: tuple[Action, ...] = ()
    conclusion: Conclusion = Conclusion.OPEN
    correcting: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """Under whose name a report goes out.

    Attributes:
        number: of the entry; greater than those of all earlier signatures.
        previous: number of the signature before, 0 if there was none.
    """

    reviewer: Reviewer
    at: datetime
    number: int
    status: ReportStatus
    previous: int = 0
    reason: str = ""

    @property
    def edition(self) -> str:
        """What the UIDs of its results depend on besides their subject."""
        return edition_of(self.number)

    @property
    def withdrawn(self) -> bool:
        """Whether it takes everything back."""
        return self.status is ReportStatus.WITHDRAWN


def edition_of(number: int) -> str:
    """The name of what was signed by the entry of a number; empty for 0, which is what the algorithm said."""
    return f"review/{number}" if number else ""


@dataclass(slots=True)
class Judged:
    """A finding with what became of it.

    Attributes:
        analysis: place of its analysis among all, 0 for the first.
        place: its place in the analysis, 1 for the first.
        ai: what the algorithm said; None if a person added it.
        value: what is said now; also of a rejected one, as it was.
        by, at: who decided last, and when; None while it is pending.
    """

    analysis: int
    place: int
    tracking_uid: str
    label: str
    ai: Finding | None
    value: Finding
    judgement: Judgement
    number: int = 0
    by: Reviewer | None = None
    at: datetime | None = None


@dataclass(slots=True)
class _Ledger:
    """The findings of a study while the entries are read one after the other."""

    study_uid: str
    analyses: Sequence[Analysis]
    judged: dict[str, Judged] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, analysis in enumerate(self.analyses):
            for place, (finding, number) in enumerate(analysis.counted, start=1):
                uid = tracking_uid(self.study_uid, analysis.algorithm, analysis.sop_instance_uid, finding, number)
                label = tracking_label(finding, number)
                self.judged[uid] = Judged(index, place, uid, label, finding, finding, Judgement.PENDING)

    def read(self, entry: Entry) -> None:
        """Do what an entry says; what it says of findings that are not there (of earlier weights) does nothing."""
        for order, action in enumerate(entry.actions):
            if action.deed is Deed.ADD:
                self._add(action, entry, order)
            elif action.finding in self.judged:
                judged = self.judged[action.finding]
                self._do(judged, action)
                judged.by, judged.at, judged.number = entry.reviewer, entry.at, entry.number

    def _do(self, judged: Judged, action: Action) -> None:
        if action.deed is Deed.REJECT:
            judged.judgement = Judgement.REJECTED
            return
        if action.deed is Deed.CHANGE:
            judged.value = _changed(judged.value, action)
        elif judged.ai is not None:
            judged.value = judged.ai
        same = judged.ai is not None and _says(judged.value) == _says(judged.ai)
        changed = Judgement.ADDED if judged.ai is None else Judgement.CHANGED
        judged.judgement = Judgement.ACCEPTED if same else changed
        if same and judged.ai is not None:
            judged.value = judged.ai
        judged.label = self._free_label(judged)

    def _free_label(self, judged: Judged) -> str:
        """The label of the value, with a number where another finding of the analysis bears it."""
        others = (other for other in self.judged.values() if other is not judged and other.analysis == judged.analysis)
        taken = {other.label for other in others}
        labels = (tracking_label(judged.value, number) for number in range(1, len(self.judged) + 2))
        return next(label for label in labels if label not in taken)

    def _add(self, action: Action, entry: Entry, order: int) -> None:
        index = self._analysis_for(action)
        if index is None:
            return
        uid = derived_uid("added", self.study_uid, str(entry.number), str(order))
        region = None if action.box is None else Region(action.box)
        finding = Finding(action.kind, action.tooth, 1.0, region, (), "" if action.tooth is not None else action.site)
        place = 1 + sum(judged.analysis == index for judged in self.judged.values())
        judged = Judged(index, place, uid, "", None, finding, Judgement.ADDED, entry.number, entry.reviewer, entry.at)
        judged.label = self._free_label(judged)
        self.judged[uid] = judged

    def _analysis_for(self, action: Action) -> int | None:
        """Where an added finding belongs: to the analysis of its image that looked for such, else to the first."""
        of_image = [i for i, analysis in enumerate(self.analyses) if analysis.sop_instance_uid == action.image]
        fitting = [i for i in of_image if action.kind in self.analyses[i].looks_for]
        return next(iter(fitting or of_image), None)


def judge(study_uid: str, analyses: Sequence[Analysis], entries: Sequence[Entry]) -> tuple[Judged, ...]:
    """Every finding with what became of it, rejected ones as well, in the order of the analyses."""
    ledger = _Ledger(study_uid, analyses)
    for entry in entries:
        ledger.read(entry)
    return tuple(sorted(ledger.judged.values(), key=lambda judged: (judged.analysis, judged.place)))


def apply(study_uid: str, analyses: Sequence[Analysis], entries: Sequence[Entry]) -> tuple[Analysis, ...]:
    """The analyses as they stand after a review: with what was changed and added, without what was rejected."""
    judged = judge(study_uid, analyses, entries)
    signatures = [entry.number for entry in entries if entry.conclusion is Conclusion.SIGN]
    since = signatures[-2] if len(signatures) > 1 else 0
    made = []
    for index, analysis in enumerate(analyses):
        of_analysis = [each for each in judged if each.analysis == index]
        standing = tuple(_standing(each, since) for each in of_analysis if each.judgement is not Judgement.REJECTED)
        rejected = tuple(each.value for each in of_analysis if each.judgement is Judgement.REJECTED)
        made.append(replace(analysis, findings=standing, rejected=rejected))
    return tuple(made)


def signature_of(entries: Sequence[Entry]) -> Signature | None:
    """The newest signature or withdrawal; None if nobody has signed."""
    concluded = [entry for entry in entries if entry.conclusion is not Conclusion.OPEN]
    if not concluded:
        return None
    last = concluded[-1]
    previous = concluded[-2].number if len(concluded) > 1 else 0
    if last.conclusion is Conclusion.WITHDRAW:
        status = ReportStatus.WITHDRAWN
    elif not previous:
        status = ReportStatus.FINAL
    else:
        status = ReportStatus.CORRECTED if last.correcting else ReportStatus.AMENDED
    return Signature(last.reviewer, last.at, last.number, status, previous, last.reason)


def standing_of(entries: Sequence[Entry], revision: int) -> Standing:
    """Where the review stands.

    Args:
        revision: the newest analyses that there are.
    """
    signature = signature_of(entries)
    if signature is None:
        return Standing.OPEN if entries else Standing.UNREAD
    if signature.withdrawn:
        return Standing.WITHDRAWN
    signed = next(entry for entry in entries if entry.number == signature.number)
    if revision > signed.revision:
        return Standing.NEWER
    return Standing.SIGNED if entries[-1].number == signature.number else Standing.OPEN


def doubled_teeth(judged: Sequence[Judged]) -> Iterator[int]:
    """FDI numbers that stand twice in one analysis: nobody can sign that."""
    seen: set[tuple[int, int]] = set()
    for each in judged:
        fdi = each.value.tooth
        if each.judgement is Judgement.REJECTED or each.value.kind != "tooth" or fdi is None:
            continue
        if (each.analysis, fdi) in seen:
            yield fdi
        seen.add((each.analysis, fdi))


def _standing(judged: Judged, since: int) -> Finding:
    """A finding that stands; whoever signed knows its number, so nothing about it is uncertain any more."""
    was = judged.ai.label if judged.judgement is Judgement.CHANGED and judged.ai is not None else ""
    revised = bool(since) and judged.number > since
    reviewed = Reviewed(judged.judgement, judged.tracking_uid, judged.label, judged.place, was, revised)
    flags = tuple(flag for flag in judged.value.flags if flag != UNCERTAIN)
    return replace(judged.value, flags=flags, reviewed=reviewed)


def _changed(finding: Finding, action: Action) -> Finding:
    """What a person says instead; measurements and heat belong to the kind that was measured."""
    changed = finding
    if action.tooth is not None:
        changed = replace(changed, tooth=action.tooth, site="")
    elif action.site:
        changed = replace(changed, tooth=None, site=action.site)
    if action.kind and action.kind != finding.kind:
        changed = replace(changed, kind=action.kind, measurements=(), heat=None, flags=())
    return changed


def _says(finding: Finding) -> tuple[str, int | None, str]:
    return finding.kind, finding.tooth, finding.site
