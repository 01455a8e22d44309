"""What leaves for a record, against the R4 definitions themselves: shape, required codes and invariants, offline.

The validator is pyrofile-validator (nobody here wrote it), the definitions are those that Medplum's server reads.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.domain.codes import FINDINGS
from service.domain.finding import Finding, Measurement
from service.domain.review import Conclusion, Entry, Reviewer
from service.domain.tooth import TEETH
from tests.fhir_peer import Answer, Record, edited, front
from tests.servers import fhir_definitions

_FILES = ("profiles-types", "profiles-resources", "valuesets", "v3-codesystems", "v2-tables")
_SENT = {"Binary", "Bundle", "Device", "DiagnosticReport", "DocumentReference", "Observation", "Patient", "Provenance"}
_WITHIN = {"Endpoint", "ImagingStudy", "Resource", "DomainResource"}
#: HL7 has had this code since 2023, the definitions of R4 are of 2019.
_NEWER_THAN_R4 = "Code 'AIAST' is not valid in code system http://terminology.hl7.org/CodeSystem/v3-ObservationValue"

Validate = Callable[[dict[str, Any]], list[str]]


@pytest.fixture(scope="module")
def validate(tmp_path_factory: pytest.TempPathFactory) -> Validate:
    """What is wrong with a resource."""
    pyrofile = pytest.importorskip("pyrofile_validator", reason="pyrofile-validator is not installed")
    config = pytest.importorskip("pyrofile_validator.config")
    folder = tmp_path_factory.mktemp("definitions")
    for number, resource in enumerate(_needed()):
        (folder / f"{number}.json").write_text(json.dumps(resource), encoding="utf-8")
    validator = pyrofile.Validator(config.ValidatorConfig(local_package_paths=[str(folder)]))

    def wrong_with(resource: dict[str, Any]) -> list[str]:
        issues = validator.validate_resource(resource).issues
        errors = [issue for issue in issues if issue.severity.value == "error" and issue.message != _NEWER_THAN_R4]
        return [f"{issue.path}: {issue.message}" for issue in errors]

    return wrong_with


def _needed() -> list[dict[str, Any]]:
    """The definitions of what we send, the value sets that these are bound to, the code systems of those."""
    every = [entry["resource"] for name in _FILES for entry in _entries(fhir_definitions() / f"{name}.json")]
    shapes = [
        each
        for each in every
        if each["resourceType"] == "StructureDefinition"
        and (each["kind"] != "resource" or each["type"] in _SENT | _WITHIN)
    ]
    elements = [element for shape in shapes for element in shape["snapshot"]["element"]]
    bound = {element.get("binding", {}).get("valueSet", "").partition("|")[0] for element in elements}
    sets = [each for each in every if each["resourceType"] == "ValueSet" and each["url"] in bound]
    included = {part.get("system") for each in sets for part in each.get("compose", {}).get("include", [])}
    systems = [each for each in every if each["resourceType"] == "CodeSystem" and each["url"] in included]
    return [*shapes, *sets, *systems]


def _entries(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")).get("entry", [])
    return entries


@pytest.fixture
def record(fhir_server: str) -> Iterator[Record]:
    """The record, with a patient of this module."""
    with httpx.Client(trust_env=False, base_url=fhir_server, timeout=30) as client:
        yield Record(client, fhir_server, "validity")


def everything(record: Record) -> list[dict[str, Any]]:
    """The body of every write of every form: all teeth, all findings, measured, signed, withdrawn, with Endpoint."""
    sent: list[dict[str, Any]] = []

    def keep(method: str, _path: str, body: bytes, forward: Callable[[], Answer]) -> Answer:
        if method in {"POST", "PUT"}:
            sent.append(json.loads(body))
        return forward()

    kinds = [kind for kind in FINDINGS if kind not in {"tooth", "vertebra"}]
    findings = (
        *(Finding(kind, tooth, 0.5) for kind, tooth in zip(kinds, TEETH, strict=False)),
        Finding("caries", None, 0.7, flags=("number-uncertain",)),
        Finding("fracture", None, 0.7, site="wrist"),
        Finding("scoliosis", None, 0.9, None, ("double-curve",), "T5-T11", (Measurement("cobb-angle", 34.2),)),
    )
    with front(record.base, keep) as base:
        wide = record.open(base, create_patient=True, dicomweb_url="https://pacs.example.org/dicom-web")
        wide.deliver(
            record.delivery(
                36,
                55,
                findings=findings,
                PatientID="NEW",
                PatientName="A^B",
                StudyInstanceUID="1.2.3.7",
                version="validity",
            )
        )
        single, document = record.open(base, form="single"), record.open(base, form="document")
        at = datetime(2025, 1, 16, 9, 0, tzinfo=UTC)
        signature = Entry(1, 1, Reviewer("Muster^Anna^^Dr.", "L-77", "Clinic"), at, (), Conclusion.SIGN)
        signed = record.delivery(36, review=(signature,))
        for destination in (single, document):
            destination.deliver(record.delivery(36, 37))
            destination.deliver(signed)
            destination.deliver(edited(record.delivery(36), "entered-in-error", 2))
    return sent


def test_everything_that_leaves_is_valid_r4(record: Record, validate: Validate) -> None:
    """No error in any form of delivery, and the validator had something of every type to look at."""
    sent = everything(record)
    bundles = [body for body in sent if body["resourceType"] == "Bundle"]
    kinds = {body["resourceType"] for body in sent}
    assert kinds | {"Device"} == _SENT - {"Binary"}
    assert {entry["resource"]["resourceType"] for bundle in bundles for entry in bundle["entry"]} >= {"Device"}
    assert {body["resourceType"]: wrong for body in sent if (wrong := validate(body))} == {}


@pytest.mark.parametrize(
    "change",
    [
        {"status": "finall"},
        {"study": [{"reference": "ImagingStudy/1"}]},
        {"subject": {"reference": 5}},
        {"code": None},
        {"identifier": [{"use": "secret", "value": "1"}]},
        {"contained": [{"resourceType": "ImagingStudy", "id": "unused", "status": "available", "subject": {}}]},
    ],
)
def test_validator_sees_what_is_wrong(validate: Validate, change: dict[str, Any]) -> None:
    """The validator that says yes to ours says no to wrong codes, R5's elements, types and invariants."""
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"display": "x"},
    }
    assert validate(report) == []
    assert validate({key: value for key, value in (report | change).items() if value is not None})
