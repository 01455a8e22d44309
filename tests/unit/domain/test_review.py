"""What follows from what people made of findings."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.domain.errors import NotUnderstood, Outdated
from service.domain.finding import Finding, Judgement, Measurement, Region
from service.domain.review import (
    Action,
    Conclusion,
    Deed,
    Entry,
    ReportStatus,
    Reviewer,
    Standing,
    apply,
    judge,
    signature_of,
    standing_of,
)
from service.domain.review_rules import check_entry
from service.domain.tracking import tracking_uid
from tests.builders import analysis_of, header_of, xray

STUDY = "1.2.3"
ANNA = Reviewer("Muster^Anna^^Dr.", "L-7", "Praxis am Tor")
WHEN = datetime(2026, 11, 21, 9, tzinfo=UTC)
ANALYSIS = analysis_of(header_of(xray()), (36, 37, 46), flags={36: ("number-uncertain",)})
IDS = {
    finding.tooth: tracking_uid(STUDY, ANALYSIS.algorithm, ANALYSIS.sop_instance_uid, finding)
    for finding in ANALYSIS.findings
}


def entry(*actions: Action, number: int = 1, conclusion: Conclusion = Conclusion.OPEN, **more: object) -> Entry:
    """What Anna does."""
    return Entry(number, 1, ANNA, WHEN + timedelta(hours=number), actions, conclusion, **more)  # type: ignore[arg-type]  # as the test says


def on(fdi: int, deed: Deed, **more: object) -> Action:
    """An action on a tooth of the analysis."""
    return Action(deed, IDS[fdi], **more)  # type: ignore[arg-type]  # as the test says


def add(kind: str = "caries", tooth: int | None = 47, **more: object) -> Action:
    """A finding that the algorithm did not see."""
    return Action(Deed.ADD, kind=kind, tooth=tooth, image=ANALYSIS.sop_instance_uid, **more)  # type: ignore[arg-type]  # as the test says


def test_what_was_rejected_goes_what_was_changed_stays_itself_what_was_added_has_a_name() -> None:
    """Rejected findings are left out and named, a changed one keeps its tracking UID, an added one gets its own."""
    did = entry(on(37, Deed.REJECT), on(46, Deed.CHANGE, tooth=47), add("caries", 36, box=(10, 10, 20, 20)))
    (made,) = apply(STUDY, [ANALYSIS], [did])
    said = [(f.label, f.by_person, f.reviewed and f.reviewed.judgement) for f in made.findings]
    assert said == [
        ("FDI36", False, Judgement.PENDING),
        ("FDI47", True, Judgement.CHANGED),
        ("FDI36/caries", True, Judgement.ADDED),
    ]
    assert [finding.tooth for finding in made.rejected] == [37]
    uids = [f.reviewed.tracking_uid for f in made.findings if f.reviewed]
    assert uids[:2] == [IDS[36], IDS[46]]
    assert len({*uids, *IDS.values()}) == 4
    assert made.findings[1].reviewed is not None
    assert made.findings[1].reviewed.was == "FDI46"
    assert made.findings[2].region == Region((10, 10, 20, 20))
    assert apply(STUDY, [ANALYSIS], [did]) == (made,)


def test_a_signed_number_is_not_uncertain() -> None:
    """Whoever signs has seen the number: the remark goes."""
    (made,) = apply(STUDY, [ANALYSIS], [entry(conclusion=Conclusion.SIGN)])
    assert [finding.flags for finding in made.findings] == [(), (), ()]


def test_the_last_word_counts() -> None:
    """Of several decisions on a finding the last one stands, and accepting brings back what the algorithm said."""
    did = [entry(on(36, Deed.CHANGE, tooth=35)), entry(on(36, Deed.REJECT), number=2)]
    assert judge(STUDY, [ANALYSIS], did)[0].judgement is Judgement.REJECTED
    again = judge(STUDY, [ANALYSIS], [*did, entry(on(36, Deed.ACCEPT), number=3)])[0]
    assert (again.judgement, again.value, again.label) == (Judgement.ACCEPTED, ANALYSIS.findings[0], "FDI36")
    assert (again.by, again.at) == (ANNA, WHEN + timedelta(hours=3))


def test_a_change_to_what_was_said_is_no_change() -> None:
    """Naming the algorithm's own tooth accepts it."""
    assert judge(STUDY, [ANALYSIS], [entry(on(36, Deed.CHANGE, tooth=36))])[0].judgement is Judgement.ACCEPTED


def test_another_kind_has_no_measurements_of_the_first() -> None:
    """A Cobb angle belongs to the curve that was measured."""
    curve = Finding("scoliosis", None, 0.9, site="spine", measurements=(Measurement("cobb-angle", 30.0),))
    analysis = replace(ANALYSIS, findings=(curve,))
    uid = judge(STUDY, [analysis], [])[0].tracking_uid
    (made,) = apply(STUDY, [analysis], [entry(Action(Deed.CHANGE, uid, kind="fracture"))])
    assert (made.findings[0].kind, made.findings[0].measurements) == ("fracture", ())
    (kept,) = apply(STUDY, [analysis], [entry(Action(Deed.CHANGE, uid, site="thoracic-spine"))])
    assert kept.findings[0].measurements == curve.measurements


def test_labels_stay_apart() -> None:
    """Two findings of one analysis never bear the same Tracking Identifier."""
    did = entry(on(36, Deed.CHANGE, tooth=37), add("tooth", 46), add(), add())
    labels = [each.label for each in judge(STUDY, [ANALYSIS], [did])]
    assert labels == ["FDI37/2", "FDI37", "FDI46", "FDI46/2", "FDI47/caries", "FDI47/caries/2"]


def test_decisions_on_what_is_no_longer_there_do_nothing() -> None:
    """Other weights make other findings: what was decided on the old ones is history, and stops nothing."""
    did = entry(Action(Deed.REJECT, "2.25.1"))
    assert [each.judgement for each in judge(STUDY, [ANALYSIS], [did])] == [Judgement.PENDING] * 3


def test_the_life_of_a_report() -> None:
    """Preliminary, final, amended or corrected, withdrawn; each signature knows the one before."""
    sign, amend = entry(conclusion=Conclusion.SIGN), entry(number=3, conclusion=Conclusion.SIGN)
    work = entry(on(36, Deed.REJECT), number=2)
    assert signature_of([work]) is None
    first, second = signature_of([sign]), signature_of([sign, work, amend])
    assert first is not None
    assert second is not None
    assert (first.status, first.previous, first.edition) == (ReportStatus.FINAL, 0, "review/1")
    assert (second.status, second.previous, second.edition) == (ReportStatus.AMENDED, 1, "review/3")
    corrected = signature_of([sign, work, replace(amend, correcting=True)])
    assert corrected is not None
    assert corrected.status is ReportStatus.CORRECTED
    gone = signature_of([sign, entry(number=2, conclusion=Conclusion.WITHDRAW, reason="wrong patient")])
    assert gone is not None
    assert (gone.status, gone.withdrawn, gone.reason) == (ReportStatus.WITHDRAWN, True, "wrong patient")


def test_where_a_review_stands() -> None:
    """Not reviewed, in review, signed, newer findings, withdrawn."""
    sign, work = entry(conclusion=Conclusion.SIGN), entry(on(36, Deed.REJECT), number=2)
    assert standing_of([], 1) is Standing.UNREAD
    assert standing_of([work], 1) is Standing.OPEN
    assert standing_of([sign], 1) is Standing.SIGNED
    assert standing_of([sign], 2) is Standing.NEWER
    assert standing_of([sign, work], 1) is Standing.OPEN
    assert standing_of([sign, entry(number=2, conclusion=Conclusion.WITHDRAW)], 2) is Standing.WITHDRAWN


def test_only_what_changed_since_the_last_signature_is_revised() -> None:
    """A second signature tells what is new from what was signed before."""
    first = entry(on(46, Deed.CHANGE, tooth=47), conclusion=Conclusion.SIGN)
    second = entry(add(), number=2, conclusion=Conclusion.SIGN)
    (made,) = apply(STUDY, [ANALYSIS], [first, second])
    assert [f.reviewed.revised for f in made.findings if f.reviewed] == [False, False, False, True]


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (entry(), "nothing to do"),
        (entry(Action(Deed.REJECT, "2.25.1")), r"action 1 \(reject\): there is no finding 2.25.1"),
        (entry(on(36, Deed.ACCEPT), on(36, Deed.ACCEPT, tooth=37)), r"action 2 .*`change` does"),
        (entry(on(36, Deed.CHANGE)), "name a kind, tooth or site"),
        (entry(on(36, Deed.CHANGE, tooth=39)), "39 is no FDI number"),
        (entry(on(36, Deed.CHANGE, kind="cavity")), "unknown kind of finding 'cavity'"),
        (entry(on(36, Deed.CHANGE, site="T5-T99", kind="scoliosis")), "unknown site"),
        (entry(on(36, Deed.CHANGE, tooth=35, site="jaw")), "not both"),
        (entry(on(36, Deed.CHANGE, tooth=35, box=(0, 0, 5, 5))), "cannot be changed"),
        (entry(on(36, Deed.CHANGE, site="jaw")), "a tooth has a number"),
        (entry(add("tooth", None)), "a tooth has a number"),
        (entry(add("")), "name the kind"),
        (entry(replace(add(), image="2.25.7")), "name the image"),
        (entry(add(box=(10, 10, 5, 20))), "does not lie in the image"),
        (entry(add(box=(0, 0, 100_000, 20))), "does not lie in the image"),
        (entry(conclusion=Conclusion.WITHDRAW), "names its reason"),
        (entry(on(36, Deed.CHANGE, tooth=37), conclusion=Conclusion.SIGN), "tooth 37 stands twice"),
    ],
)
def test_nonsense_is_refused(new: Entry, words: str) -> None:
    """Each refusal names the action and what is wrong with it."""
    with pytest.raises(NotUnderstood, match=words):
        check_entry(STUDY, [ANALYSIS], [], new)


def test_numbers_may_be_shifted_in_one_request() -> None:
    """What stands twice in between is no matter; what is signed must stand once."""
    shift = entry(on(37, Deed.CHANGE, tooth=38), on(36, Deed.CHANGE, tooth=37), conclusion=Conclusion.SIGN)
    check_entry(STUDY, [ANALYSIS], [], shift)
    check_entry(STUDY, [ANALYSIS], [], entry(on(36, Deed.CHANGE, tooth=37)))  # not signed yet
    check_entry(STUDY, [ANALYSIS], [], entry(add("SCT:233604007:Pneumonia", None, site="chest")))


def test_too_late() -> None:
    """Signing twice what has not changed, and anything after a withdrawal, is refused as outdated."""
    sign = entry(conclusion=Conclusion.SIGN)
    gone = entry(number=2, conclusion=Conclusion.WITHDRAW, reason="wrong patient")
    with pytest.raises(Outdated, match="signed already"):
        check_entry(STUDY, [ANALYSIS], [sign], entry(number=2, conclusion=Conclusion.SIGN))
    check_entry(STUDY, [ANALYSIS], [sign], replace(entry(number=2, conclusion=Conclusion.SIGN), revision=2))
    with pytest.raises(Outdated, match="withdrawn"):
        check_entry(STUDY, [ANALYSIS], [sign, gone], entry(on(36, Deed.REJECT), number=3))


def test_a_name_is_said_as_people_say_it() -> None:
    """A DICOM name is put in order, a plain one is left alone."""
    assert ANNA.display == "Dr. Anna Muster"
    assert Reviewer("Anna Muster").display == "Anna Muster"
