"""Whose report, under which order, about which study: looked up in the real record by the tables of the settings."""

from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from service.domain.errors import Held
from tests.fhir_peer import Record

ORDERS = "urn:oid:1.2.3.9"


def order_of(record: Record, accession: str, patient: str = "", system: str = ORDERS) -> dict[str, Any]:
    """An order in the record."""
    return record.post(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": patient or f"Patient/{record.patient['id']}"},
            "identifier": [{"system": system, "value": accession}],
        }
    )


def issuer_of(name: str) -> list[Dataset]:
    """The issuer of an accession number as DICOM writes it."""
    item = Dataset()
    item.LocalNamespaceEntityID = name
    return [item]


def test_order_is_found_by_its_accession_number(record: Record) -> None:
    """The order of this patient is referred to; its issuer leads to the record's system by the table."""
    accession = record.name
    order = order_of(record, accession)
    destination = record.open(order_systems={"RIS": ORDERS})
    issuer = issuer_of("RIS")
    destination.deliver(record.delivery(36, AccessionNumber=accession, IssuerOfAccessionNumberSequence=issuer))
    (report,) = record.all("DiagnosticReport")
    (based,) = report["basedOn"]
    assert based["reference"] == f"ServiceRequest/{order['id']}"
    assert (based["identifier"]["system"], based["identifier"]["value"]) == (ORDERS, accession)


@pytest.mark.parametrize("orders", [0, 2])
def test_order_by_identifier_only(record: Record, orders: int) -> None:
    """No order, or several of the patient: the accession number alone, for a person to follow."""
    for _ in range(orders):
        order_of(record, record.name)
    record.deliver(36, AccessionNumber=record.name)
    (report,) = record.all("DiagnosticReport")
    assert "reference" not in report["basedOn"][0]
    assert report["basedOn"][0]["identifier"]["value"] == record.name


def test_order_of_another_patient_is_held(record: Record) -> None:
    """An accession number that belongs to somebody else's order means that one of the two is wrong."""
    other = record.post({"resourceType": "Patient"})
    order_of(record, record.name, f"Patient/{other['id']}")
    with pytest.raises(Held, match="another patient's"):
        record.open(order_systems={"*": ORDERS}).deliver(record.delivery(36, AccessionNumber=record.name))
    assert record.all("DiagnosticReport") == []


def test_study_of_the_record_is_referred_to(record: Record) -> None:
    """Where the record has the ImagingStudy, report, observations and Provenance refer to it."""
    delivery = record.delivery(36)
    study = record.post(
        {
            "resourceType": "ImagingStudy",
            "status": "available",
            "subject": {"reference": f"Patient/{record.patient['id']}"},
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{delivery.study_instance_uid}"}],
        }
    )
    name = f"ImagingStudy/{study['id']}"
    record.open(dicomweb_url="https://pacs.example.org/dicom-web").deliver(delivery)
    (report,) = record.all("DiagnosticReport")
    (observation,) = record.all("Observation")
    (provenance,) = record.provenances()
    assert report["imagingStudy"][0]["reference"] == name
    assert observation["derivedFrom"][0]["reference"] == name
    assert provenance["entity"][0]["what"]["reference"] == name
    assert "contained" not in report


def test_images_are_reached_through_an_endpoint(record: Record) -> None:
    """Without an ImagingStudy there, the report carries it within, with the DICOMweb address of the settings."""
    record.open(dicomweb_url="https://pacs.example.org/dicom-web").deliver(record.delivery(36))
    (report,) = record.all("DiagnosticReport")
    study, endpoint = report["contained"]
    assert report["imagingStudy"][0]["reference"] == f"#{study['id']}"
    assert study["endpoint"] == [{"reference": f"#{endpoint['id']}"}]
    assert study["subject"] == report["subject"]
    assert endpoint["address"] == "https://pacs.example.org/dicom-web"
    assert record.validate(report) == []


@pytest.mark.parametrize(
    ("issuer", "systems"),
    [
        ("HOSP", {"HOSP": "urn:oid:1.2.3"}),
        ("HOSP", {"OTHER": "urn:x", "*": "urn:oid:1.2.3"}),
        ("", {"*": "urn:oid:1.2.3"}),
        ("9.8.7", {"9.8.7": "urn:oid:1.2.3"}),
        ("1.2.3", {"*": "urn:x"}),
    ],
)
def test_issuer_leads_to_the_system(record: Record, issuer: str, systems: dict[str, str]) -> None:
    """The issuer of the PatientID is looked up in the table, an OID stands for itself, "*" is any other."""
    record.post({"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": record.name}]})
    record.open(patient_systems=systems).deliver(record.delivery(36, IssuerOfPatientID=issuer))
    assert len(record.all("DiagnosticReport")) == 1


def test_issuer_that_no_table_knows_is_held(record: Record) -> None:
    """With a table, an issuer that is not in it is not guessed."""
    destination = record.open(patient_systems={"OTHER": "urn:oid:1.2.3"})
    with pytest.raises(Held, match="'HOSP': name its system in patient_systems"):
        destination.deliver(record.delivery(36, IssuerOfPatientID="HOSP"))


def test_patient_is_created_only_where_told(record: Record) -> None:
    """With create_patient a patient is made from the DICOM header, once; never one whose identifier has no system."""
    new = f"{record.name}-new"
    delivery = record.delivery(36, PatientID=new, PatientName="Muster^Anna Maria^^Dr.", PatientSex="F")
    with pytest.raises(Held, match="no patient matches"):
        record.destination.deliver(delivery)
    destination = record.open(create_patient=True)
    with pytest.raises(Held, match="name its system"):
        destination.deliver(record.delivery(36, PatientID=new, IssuerOfPatientID=""))
    assert "created" in destination.deliver(delivery)
    destination.deliver(record.delivery(36, 37, PatientID=new, StudyInstanceUID="1.2.3.4.5"))
    with httpx.Client(trust_env=False, timeout=60, base_url=record.base) as client:
        found = client.get("/Patient", params={"identifier": f"urn:oid:1.2.3|{new}"}).json()["entry"]
    (patient,) = (entry["resource"] for entry in found)
    assert patient["name"] == [{"family": "Muster", "given": ["Anna", "Maria"], "prefix": ["Dr."]}]
    assert (patient["birthDate"], patient["gender"]) == ("1980-01-01", "female")
    record.patient = patient
    assert len(record.all("DiagnosticReport")) == 2


def test_findings_of_another_patient_stay_theirs(record: Record) -> None:
    """A study that came under another PatientID before, and whose report was deleted: nobody's findings move."""
    record.deliver(36)
    (theirs,) = record.all("Observation")
    (report,) = record.all("DiagnosticReport")
    record.delete(f"DiagnosticReport/{report['id']}")
    record.post({"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.3", "value": "B-1"}]})
    record.deliver(36, PatientID="B-1")
    assert record.get(f"Observation/{theirs['id']}") == theirs


def test_several_patients_are_held_even_so(record: Record) -> None:
    """create_patient makes nobody where two match."""
    record.post({key: record.patient[key] for key in ("resourceType", "identifier")})
    with pytest.raises(Held, match="2 patients match"):
        record.open(create_patient=True).deliver(record.delivery(36))
