"""What becomes of a report in the record: preliminary, signed, amended, withdrawn; and who writes at the same time."""

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from service.domain.codes import REPORT_SYSTEM
from service.domain.errors import Held, Transient
from service.domain.review import Action, Conclusion, Deed, Entry, Reviewer
from service.domain.tracking import tracking_uid
from service.results import diagnostic_report
from tests.builders import ALGORITHM, analysis_of, xray
from tests.fhir_peer import Answer, Record, edited, front
from tests.subjects import subject_of


@pytest.fixture(params=["transaction", "single"])
def form(request: pytest.FixtureRequest) -> str:
    """Both forms that write reports."""
    return str(request.param)


def standing(record: Record) -> dict[str, str]:
    """Status of the report and of each tooth."""
    statuses = {each["bodySite"]["text"]: each["status"] for each in record.all("Observation")}
    (report,) = record.all("DiagnosticReport")
    return {"report": report["status"]} | statuses


def test_signed_amended_withdrawn(record: Record, form: str) -> None:
    """A signed report replaces the preliminary one, an amended one the signed, a withdrawal takes all of it back."""
    destination = record.open(form=form)
    destination.deliver(record.delivery(36, 37))
    assert "updated" in destination.deliver(edited(record.delivery(36, 46), "final", 1))
    signed = {"report": "final", "FDI 36": "final", "FDI 37": "entered-in-error", "FDI 46": "final"}
    assert standing(record) == signed
    destination.deliver(edited(record.delivery(36, 37), "amended", 2))
    assert standing(record) == {
        "report": "amended",
        "FDI 36": "amended",
        "FDI 37": "amended",
        "FDI 46": "entered-in-error",
    }
    withdrawn = edited(record.delivery(36, 37), "entered-in-error", 3)
    assert "updated" in destination.deliver(withdrawn)
    assert set(standing(record).values()) == {"entered-in-error"}
    assert "is there already" in destination.deliver(withdrawn)
    assert len(record.provenances()) == 4


def test_a_review_in_the_record(record: Record, form: str) -> None:
    """What the review's own writer makes: rejected, changed, added and accepted findings, amended, and withdrawn."""
    destination = record.open(form=form)
    study = record.delivery().study_instance_uid
    ds = xray(seed=record.name)
    uids = {
        finding.tooth: tracking_uid(study, ALGORITHM, str(ds.SOPInstanceUID), finding)
        for finding in analysis_of(ds, (36, 37, 46)).findings
    }
    reject, move, new = (
        Action(Deed.REJECT, uids[37]),
        Action(Deed.CHANGE, uids[46], tooth=47),
        Action(Deed.ADD, kind="filling", tooth=36, image=str(ds.SOPInstanceUID)),
    )
    at = datetime(2025, 1, 16, 9, 0, tzinfo=UTC)
    who = Reviewer("Dr. Anna Muster", "L-77", "Clinic")
    signed = Entry(1, 1, who, at, (reject, move, new), Conclusion.SIGN)
    amended = Entry(2, 1, who, at.replace(hour=10), (Action(Deed.ACCEPT, uids[37]),), Conclusion.SIGN)
    gone = Entry(3, 1, who, at.replace(hour=11), (), Conclusion.WITHDRAW, reason="wrong patient")
    destination.deliver(record.delivery(36, 37, 46))
    destination.deliver(record.delivery(36, 37, 46, review=(signed,)))
    (report,) = record.all("DiagnosticReport")
    assert (report["status"], report["resultsInterpreter"][0]["display"]) == ("final", "Dr. Anna Muster")
    found = {each["identifier"][0]["value"].rpartition("panoramic/")[2]: each for each in record.all("Observation")}
    assert {role: each["status"] for role, each in found.items()} == {
        "FDI36": "final",
        "FDI37": "entered-in-error",
        "FDI46": "entered-in-error",
        "FDI47": "final",
        "FDI36/filling": "final",
    }
    destination.deliver(record.delivery(36, 37, 46, review=(signed, amended)))
    (report,) = record.all("DiagnosticReport")
    (back,) = (each for each in record.all("Observation") if each["bodySite"]["text"] == "FDI 37")
    assert (report["status"], back["status"]) == ("amended", "amended")
    assert "is there already, amended" in destination.deliver(record.delivery(36, 37, 46, review=(signed,)))
    destination.deliver(record.delivery(36, 37, 46, review=(signed, amended, gone)))
    assert {each["status"] for kind in ("DiagnosticReport", "Observation") for each in record.all(kind)} == {
        "entered-in-error"
    }
    last = max(record.provenances(), key=lambda each: str(each["recorded"]))
    assert "Dr. Anna Muster" in str(last["agent"])


def test_nothing_comes_after_a_signature_but_a_signature(record: Record, form: str) -> None:
    """A late delivery of what the person had seen is settled; newer findings of the AI are held; nothing changes."""
    destination = record.open(form=form)
    destination.deliver(edited(record.delivery(36), "final", 3))
    assert "is there already, final" in destination.deliver(record.delivery(36))
    assert "is there already, final" in destination.deliver(edited(record.delivery(36, 37), "final", 2))
    with pytest.raises(Held, match=r"final; a dentist must decide on the newer AI result"):
        destination.deliver(record.delivery(36, 37, revision=2))
    assert standing(record) == {"report": "final", "FDI 36": "final"}


def test_a_report_that_is_held_keeps_no_other_back(record: Record) -> None:
    """Of two reports of a study the one that a dentist made theirs is held, and the other one arrives."""
    first, second = record.delivery(36), record.delivery(36, revision=2)
    record.destination.deliver(edited(first, "final"))
    ds = xray(
        seed=record.name, modality="DX", SOPInstanceUID="2.25.7", PatientID=record.name, IssuerOfPatientID="1.2.3"
    )
    spine = dataclasses.replace(analysis_of(ds, ()), looks_for=("scoliosis",))
    results = diagnostic_report.write(subject_of(ds, spine))
    with pytest.raises(Held, match=r"is final; .*; DiagnosticReport/\S+ created with 0 Observations"):
        record.destination.deliver(dataclasses.replace(second, results=[*second.results, *results]))
    assert {each["status"] for each in record.all("DiagnosticReport")} == {"final", "preliminary"}


def test_what_was_withdrawn_stays_withdrawn(record: Record) -> None:
    """Neither the AI nor a signature brings a withdrawn report back without a person's decision in the record."""
    record.deliver(36)
    record.destination.deliver(edited(record.delivery(36), "entered-in-error", 1))
    assert "is there already, entered-in-error" in record.deliver(36)
    for later in (record.delivery(36, revision=2), edited(record.delivery(36), "final", 2)):
        with pytest.raises(Held, match="entered-in-error"):
            record.destination.deliver(later)


def test_withdrawal_of_what_never_came(record: Record, form: str) -> None:
    """Nothing is created to be withdrawn, not even where the patient is unknown."""
    delivery = edited(record.delivery(36, PatientID="NOBODY"), "entered-in-error")
    assert "nothing to withdraw" in record.open(form=form).deliver(delivery)
    assert record.all("DiagnosticReport") == []


def test_withdrawal_needs_no_patient(record: Record, form: str) -> None:
    """A report of the wrong patient can be taken back although the study now names another one; the text stays."""
    record.deliver(36)
    (before,) = record.all("DiagnosticReport")
    record.open(form=form).deliver(edited(record.delivery(36, PatientID="OTHER"), "entered-in-error"))
    (after,) = record.all("DiagnosticReport")
    assert after["status"] == "entered-in-error"
    assert after["subject"] == before["subject"]
    assert after["result"] == before["result"]


def test_report_that_somebody_signed_in_the_record_is_held(record: Record) -> None:
    """Who signed in the record itself is not written over, not even by a signature in Dentgate."""
    record.deliver(36)
    (report,) = record.all("DiagnosticReport")
    record.put(report | {"status": "final"})
    with pytest.raises(Held, match="is final; a dentist must decide on the newer report"):
        record.destination.deliver(edited(record.delivery(36, 37), "final"))


def test_somebody_writes_in_between(record: Record, form: str) -> None:
    """412: what stands there now is read again and compared, once, in the same attempt."""
    record.deliver(36)
    meddled: list[dict[str, Any]] = []

    def script(method: str, _path: str, _body: bytes, forward: Callable[[], Answer]) -> Answer:
        if method in {"POST", "PUT"} and not meddled:
            (report,) = record.all("DiagnosticReport")
            meddled.append(report)
            record.put(report | {"conclusion": "seen on the phone"})
        return forward()

    with front(record.base, script) as base:
        assert "updated" in record.open(base, form=form).deliver(record.delivery(36, 37, revision=2))
    assert standing(record) == {"report": "preliminary", "FDI 36": "preliminary", "FDI 37": "preliminary"}


def test_somebody_signs_in_between(record: Record, form: str) -> None:
    """412: where the other one signed, their word stands."""
    record.deliver(36)
    meddled: list[dict[str, Any]] = []

    def script(method: str, _path: str, _body: bytes, forward: Callable[[], Answer]) -> Answer:
        if method in {"POST", "PUT"} and not meddled:
            (report,) = record.all("DiagnosticReport")
            meddled.append(report)
            record.put(report | {"status": "final"})
        return forward()

    with front(record.base, script) as base, pytest.raises(Held, match="final"):
        record.open(base, form=form).deliver(record.delivery(36, 37, revision=2))
    (report,) = record.all("DiagnosticReport")
    assert (report["status"], len(report["result"])) == ("final", 1)


def test_somebody_writes_all_the_time(record: Record) -> None:
    """A conflict that does not end is for a later attempt."""
    record.deliver(36)

    def script(method: str, _path: str, _body: bytes, forward: Callable[[], Answer]) -> Answer:
        if method == "POST":
            (report,) = record.all("DiagnosticReport")
            record.put(report | {"conclusion": f"{report['meta']['versionId']}"})
        return forward()

    with front(record.base, script) as base, pytest.raises(Transient, match="412"):
        record.open(base).deliver(record.delivery(36, 37, revision=2))
    (report,) = record.all("DiagnosticReport")
    assert len(report["result"]) == 1


def test_update_names_the_version_it_read(record: Record) -> None:
    """Every PUT carries the version that was compared, so that no change of others is lost."""
    record.deliver(36)
    asked: list[str] = []

    def script(method: str, _path: str, body: bytes, forward: Callable[[], Answer]) -> Answer:
        if method == "POST":
            asked.extend(
                entry["request"].get("ifMatch", "none")
                for entry in json.loads(body)["entry"]
                if entry["request"]["method"] == "PUT"
            )
        return forward()

    with front(record.base, script) as base:
        record.open(base).deliver(record.delivery(36, 37, revision=2))
    assert asked
    assert all(each.startswith('W/"') for each in asked)


def test_tooth_that_went_and_came_back_is_one(record: Record, form: str) -> None:
    """A finding that is gone in one version and there again in the next stays one Observation."""
    destination = record.open(form=form)
    for revision, teeth in enumerate([(36, 37), (36,), (36, 37)], start=1):
        destination.deliver(record.delivery(*teeth, revision=revision))
    assert standing(record) == {"report": "preliminary", "FDI 36": "preliminary", "FDI 37": "preliminary"}
    assert len(record.all("Observation")) == 2
    (report,) = record.all("DiagnosticReport")
    assert report["identifier"][0]["system"] == REPORT_SYSTEM
