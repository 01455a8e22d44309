"""Who and what a report is about in this record: patient, order, study, the algorithms' Devices."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.domain.codes import BIRTH_DATE_EXTENSION, NAME_EXTENSION, SEX_EXTENSION
from service.domain.errors import Held, Permanent
from service.export.fhir_plan import is_about
from service.export.fhir_record import Json, Record, name_of
from service.export.fhir_shape import demand_r4

ANY = "*"  #: in a table of systems: any issuer that does not stand there, and none


@dataclass(frozen=True, slots=True)
class Rules:
    """How a site matches.

    Attributes:
        patient_systems: issuer of the PatientID as DICOM writes it, or "*" for any other -> system in the record.
        order_systems: the same for the accession number.
        create_patient: a patient who is not there is made from the DICOM header.
    """

    patient_systems: Mapping[str, str] = field(default_factory=dict)
    order_systems: Mapping[str, str] = field(default_factory=dict)
    create_patient: bool = False


@dataclass(frozen=True, slots=True)
class Matching:
    """Looks things up for one report."""

    record: Record
    rules: Rules

    def patient(self, subject: Json) -> str:
        """Reference of the one patient that the study means; compares birth date and sex where both sides know them.

        Raises:
            Held: none, several, or one who was born on another day or has another sex.
        """
        identifier = subject.get("identifier", {})
        if not identifier.get("value"):
            message = "the study has no PatientID; give it one and send it again, or enter the report by hand"
            raise Held(message)
        known = {extension["url"]: extension for extension in subject.get("extension", [])}
        system = self._patient_system(identifier)
        found = [
            each
            for each in self.record.search("Patient", system, identifier["value"])
            if each.get("active") is not False
        ]
        if not found and self.rules.create_patient:
            return self._create(identifier["value"], system, known)
        if len(found) != 1:
            who = "no patient matches" if not found else f"{len(found)} patients match"
            message = f"{who} the PatientID of the study; mend it in the record or in the study, then deliver again"
            raise Held(message)
        _compare(known, found[0])
        return name_of(found[0])

    def placed(self, entries: Sequence[Json], patient: str, dicomweb_url: str) -> list[Json]:
        """The entries with the record's own order and study in them, or the address of the images.

        Args:
            patient: reference of the record's patient.
            dicomweb_url: where the record's readers reach the images by DICOMweb; empty: nowhere.
        """
        placed = copy.deepcopy(list(entries))
        report = next(e["resource"] for e in placed if e["resource"]["resourceType"] == "DiagnosticReport")
        if "basedOn" in report:
            report["basedOn"] = [self.order(order, patient) for order in report["basedOn"]]
        for study in report["imagingStudy"]:
            found = self.study(study, patient)
            placed = _replaced(placed, study, found)
        report = next(e["resource"] for e in placed if e["resource"]["resourceType"] == "DiagnosticReport")
        if dicomweb_url and "reference" not in report["imagingStudy"][0]:
            report |= _with_endpoint(report["imagingStudy"][0], patient, dicomweb_url)
        return placed

    def order(self, order: Json, patient: str) -> Json:
        """The order by its reference where the record has exactly one of this patient, else by identifier only.

        Raises:
            Held: the accession number is that of another patient's order.
        """
        identifier = order["identifier"]
        system = _system_of(identifier, self.rules.order_systems)
        if system:
            order = order | {"identifier": identifier | {"system": system}}
        found = self._found("ServiceRequest", system, identifier["value"])
        mine = [each for each in found if is_about(each, patient)]
        if found and not mine and system:
            message = "the order with the accession number of the study is another patient's; mend one of them"
            raise Held(message)
        return order | {"reference": name_of(mine[0])} if len(mine) == 1 else order

    def study(self, study: Json, patient: str) -> Json:
        """The study by its reference where the record has it, else by its UID only."""
        identifier = study["identifier"]
        found = self._found("ImagingStudy", identifier["system"], identifier["value"])
        mine = [each for each in found if is_about(each, patient)]
        return study | {"reference": name_of(mine[0])} if len(mine) == 1 else study

    def devices(self, entries: Sequence[Json]) -> dict[str, str]:
        """By fullUrl the reference of every Device that the record has: one algorithm is one Device there."""
        urls = {}
        for entry in entries:
            resource = entry["resource"]
            if resource["resourceType"] == "Device":
                identifier = resource["identifier"][0]
                found = self.record.search("Device", identifier["system"], identifier["value"])
                if found:
                    urls[entry["fullUrl"]] = name_of(found[0])
        return urls

    def _patient_system(self, identifier: Json) -> str:
        system = _system_of(identifier, self.rules.patient_systems)
        issuer = identifier.get("assigner", {}).get("display")
        if issuer and not system and self.rules.patient_systems:
            message = f"the study's PatientID was issued by {issuer!r}: name its system in patient_systems"
            raise Held(message)
        return system

    def _found(self, kind: str, system: str, value: str) -> list[Json]:
        """What the record has; nothing where it does not let us look, for the report does not need it."""
        try:
            return self.record.search(kind, system, value)
        except Permanent:
            return []

    def _create(self, value: str, system: str, known: Mapping[str, Json]) -> str:
        """A patient from the DICOM header. Raises Held where the record could not tell them from another's patient."""
        if not system:
            message = "no patient matches the PatientID of the study; to create one, name its system in patient_systems"
            raise Held(message)
        person: Json = {"resourceType": "Patient", "active": True, "identifier": [{"system": system, "value": value}]}
        for url, key, name in (
            (NAME_EXTENSION, "valueHumanName", "name"),
            (BIRTH_DATE_EXTENSION, "valueDate", "birthDate"),
            (SEX_EXTENSION, "valueCode", "gender"),
        ):
            said = known.get(url, {}).get(key)
            if said:
                person[name] = [said] if name == "name" else said
        return self.record.create(demand_r4(person), f"identifier={system}|{value}")


def _replaced(node: Any, old: Json, new: Json) -> Any:  # noqa: ANN401 - any JSON
    if node == old:
        return new
    if isinstance(node, list):
        return [_replaced(item, old, new) for item in node]
    return {key: _replaced(value, old, new) for key, value in node.items()} if isinstance(node, dict) else node


def _with_endpoint(study: Json, patient: str, address: str) -> Json:
    """Elements of a report that carries its study within, for only that has an Endpoint (R4 knows none in a report)."""
    contained = {
        "resourceType": "ImagingStudy",
        "id": "study",
        "identifier": [study["identifier"]],
        "status": "available",
        "subject": {"reference": patient},
        "endpoint": [{"reference": "#endpoint"}],
    }
    endpoint = {
        "resourceType": "Endpoint",
        "id": "endpoint",
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "dicom-wado-rs",
        },
        "payloadType": [{"text": "DICOM"}],
        "address": address,
    }
    return {"contained": [contained, endpoint], "imagingStudy": [study | {"reference": "#study"}]}


def _system_of(identifier: Json, systems: Mapping[str, str]) -> str:
    """The identifier's own system, else what the table says of its issuer; an issuer may stand there as its OID."""
    own = str(identifier.get("system") or "")
    issuer = own.removeprefix("urn:oid:") or identifier.get("assigner", {}).get("display") or ""
    return systems.get(issuer) or own or systems.get(ANY, "")


def _compare(known: Mapping[str, Json], patient: Json) -> None:
    born, sex = (known.get(url, {}) for url in (BIRTH_DATE_EXTENSION, SEX_EXTENSION))
    if not _agree(born.get("valueDate", ""), str(patient.get("birthDate") or "")):
        message = "the patient with the PatientID of the study was born on another day than the study says"
        raise Held(message)
    if {sex.get("valueCode"), patient.get("gender")} == {"male", "female"}:
        message = "the patient with the PatientID of the study has another sex than the study says"
        raise Held(message)


def _agree(ours: str, theirs: str) -> bool:
    """Whether two dates say the same as far as both go (FHIR allows 1980 and 1980-01)."""
    return all(a == b for a, b in zip(ours.split("-"), theirs.split("-"), strict=False)) or not (ours and theirs)
