"""Our report in a real FHIR record: Medplum's router and validator; tests/peers/fhir/server.mjs says what is ours."""

import pytest

from service.domain.codes import FINDINGS, OBSERVATION_SYSTEM, REPORT_SYSTEM, REVISION_SYSTEM, SYSTEM_URI
from service.domain.errors import Held
from service.domain.finding import Finding, Measurement
from service.domain.tooth import PERMANENT, TEETH
from tests.builders import ALGORITHM
from tests.fhir_peer import Record


def test_full_mouth_is_taken_whole(record: Record) -> None:
    """32 teeth arrive as 32 Observations of the patient, each referenced by the one report, each with its device."""
    record.deliver(*PERMANENT)
    (report,) = record.all("DiagnosticReport")
    observations = {f"Observation/{each['id']}": each for each in record.all("Observation")}
    assert {result["reference"] for result in report["result"]} == set(observations)
    assert len(observations) == 32
    (device,) = {each["device"]["reference"] for each in observations.values()}
    assert record.get(device)["manufacturer"] == ALGORITHM.manufacturer


def test_what_is_stored_is_valid(record: Record) -> None:
    """Everything that the record then has passes its validator, codes of required bindings included."""
    record.deliver(36, 37)
    for resource in (*record.all("DiagnosticReport"), *record.all("Observation")):
        assert record.validate(resource) == []


def test_validator_finds_what_is_wrong(record: Record) -> None:
    """The validator that says yes to ours says no to an unknown status and to a missing code."""
    good = {"resourceType": "Observation", "status": "preliminary", "code": {"text": "x"}}
    assert record.validate(good) == []
    assert record.validate(good | {"status": "finall"})
    assert record.validate({"resourceType": "Observation", "status": "preliminary"})


def test_report_without_teeth(record: Record) -> None:
    """No tooth found is a report, too."""
    record.deliver()
    (report,) = record.all("DiagnosticReport")
    assert "No teeth found" in report["conclusion"]


def test_every_kind_of_report_is_taken_and_valid(record: Record) -> None:
    """Conditions, curves with Cobb angles and photograph findings arrive whole and pass the validator."""
    findings = (
        Finding("filling", 36, 0.9),
        Finding("impacted", 48, 0.8),
        Finding("destroyed-crown", None, 0.8),
        Finding("caries", None, 0.7),
        Finding("fracture", None, 0.7, site="wrist"),
        Finding("scoliosis", None, 0.9, None, ("double-curve",), "T5-T11", (Measurement("cobb-angle", 34.2),)),
    )
    record.deliver(findings=findings)
    observations = record.all("Observation")
    assert len(observations) == len(findings)
    for resource in (*record.all("DiagnosticReport"), *observations):
        assert record.validate(resource) == []


def test_an_image_that_was_not_read_is_a_report(record: Record) -> None:
    """The record gets the reason, and no finding; when a later revision reads it, the same report is replaced."""
    record.deliver(refused="the image is too dark")
    (before,) = record.all("DiagnosticReport")
    assert "not read" in before["conclusion"].lower()
    assert record.all("Observation") == []
    assert record.validate(before) == []
    record.deliver(findings=(Finding("filling", 36, 0.9),), revision=2)
    (after,) = record.all("DiagnosticReport")
    assert after["id"] == before["id"]
    assert "tooth 36: filling" in after["conclusion"].lower()


def test_one_device_for_one_algorithm(record: Record) -> None:
    """A second study of the same algorithm uses the Device that is there; a new version makes a new one."""
    record.deliver(36, version="7.0.0")
    (first,) = {each["device"]["reference"] for each in record.all("Observation")}
    record.deliver(36, revision=2, version="7.0.0")
    assert {each["device"]["reference"] for each in record.all("Observation")} == {first}
    record.deliver(36, revision=3, version="7.1.0")
    assert {each["device"]["reference"] for each in record.all("Observation")} != {first}


def test_later_revision_replaces(record: Record) -> None:
    """A later revision keeps the report and its teeth, adds what is new, and marks what went as entered in error."""
    record.deliver(36, 37)
    (before,) = record.all("DiagnosticReport")
    assert "updated" in record.deliver(36, 46, revision=2)
    (after,) = record.all("DiagnosticReport")
    assert after["id"] == before["id"]
    assert {each["system"] for each in after["identifier"]} == {REPORT_SYSTEM, REVISION_SYSTEM}
    standing = {each["bodySite"]["text"]: each["status"] for each in record.all("Observation")}
    assert standing == {"FDI 36": "preliminary", "FDI 37": "entered-in-error", "FDI 46": "preliminary"}
    assert {record.get(each["reference"])["bodySite"]["text"] for each in after["result"]} == {"FDI 36", "FDI 46"}


def test_older_revision_does_not_come_back(record: Record) -> None:
    """A revision that was late on its way does not replace a newer one."""
    record.deliver(36, 37, revision=2)
    assert "newer revision" in record.deliver(36, revision=1)
    assert len(record.all("Observation")) == 2


def test_report_that_a_dentist_made_final_is_left_alone(record: Record) -> None:
    """The AI does not write over what a person has taken responsibility for: Held, nothing changed."""
    record.deliver(36)
    (report,) = record.all("DiagnosticReport")
    record.put(report | {"status": "final"})
    with pytest.raises(Held, match="final"):
        record.deliver(36, 37, revision=2)
    (after,) = record.all("DiagnosticReport")
    assert (after["status"], len(after["result"])) == ("final", 1)


def test_finding_that_a_dentist_changed_is_left_alone(record: Record) -> None:
    """The same holds for a single finding."""
    record.deliver(36)
    (observation,) = record.all("Observation")
    record.put(observation | {"status": "amended"})
    with pytest.raises(Held, match="amended"):
        record.deliver(36, 37, revision=2)


def test_other_patient_of_the_same_study_is_held(record: Record) -> None:
    """Where the study's PatientID now belongs to somebody else, the report there is not handed over."""
    record.deliver(36)
    record.put(record.patient | {"active": False})
    record.post({key: record.patient[key] for key in ("resourceType", "identifier", "birthDate")})
    with pytest.raises(Held, match="another patient"):
        record.deliver(36, 37, revision=2)


def test_two_reports_are_held(record: Record) -> None:
    """Two reports with the identifier of ours are for a person to sort out."""
    record.deliver(36)
    (report,) = record.all("DiagnosticReport")
    record.post({key: value for key, value in report.items() if key not in {"id", "meta"}})
    with pytest.raises(Held, match="2 reports"):
        record.deliver(36, 37, revision=2)


def test_unknown_patient_is_held_and_nothing_made(record: Record) -> None:
    """Without a match nothing is written, least of all a patient."""
    record.put(record.patient | {"identifier": [{"system": "urn:oid:9.9", "value": "other"}]})
    with pytest.raises(Held, match="no patient matches"):
        record.deliver(36)
    assert record.all("DiagnosticReport") == record.all("Observation") == []


def test_every_tooth_and_every_code_comes_back(record: Record) -> None:
    """All 52 teeth and every kind of finding go into the record and are read from there as what they were."""
    teeth = list(TEETH)
    kinds = [kind for kind in FINDINGS if kind not in {"tooth", "vertebra"}]
    conditions = tuple(Finding(kind, teeth[place], 0.5) for place, kind in enumerate(kinds))
    record.deliver(*teeth, findings=conditions)
    tooth_of = {tooth.snomed: fdi for fdi, tooth in TEETH.items()}
    kind_of = {(SYSTEM_URI[each.answer.scheme], each.answer.value): kind for kind, each in FINDINGS.items()}
    read = set()
    for observation in record.all("Observation"):
        site, answer = observation["bodySite"], observation["valueCodeableConcept"]["coding"][0]
        fdi = tooth_of[site["coding"][0]["code"]]
        assert site["coding"][1]["code"] == TEETH[fdi].universal
        assert site["text"] == f"FDI {fdi}"
        assert observation["identifier"][0]["system"] == OBSERVATION_SYSTEM
        read.add((kind_of[answer["system"], answer["code"]], fdi))
    assert read == {("tooth", fdi) for fdi in teeth} | {(each.kind, each.tooth) for each in conditions}
    assert len(kind_of) == len(FINDINGS)
