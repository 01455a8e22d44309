"""Parts of FHIR R4 resources: codings, the patient and the order as DICOM names them, the site of a finding, dates."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from service.domain import codes
from service.domain.finding import Algorithm, Finding
from service.domain.review import Signature
from service.domain.tooth import TEETH
from service.domain.words import span_of
from service.results.mending import text_of
from service.results.sites import sites_of

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
UNIVERSAL_SYSTEM = f"{TERMINOLOGY}/ADAUniversalToothDesignationSystem"
AI_TYPE = {
    "system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS",
    "code": "Artificial-Intelligence",
}
AIAST = {
    "system": f"{TERMINOLOGY}/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
_SEX = {"M": "male", "F": "female", "O": "other"}  # PS3.3 C.7.1.1, Patient's Sex -> AdministrativeGender
_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
Json = dict[str, Any]


def coding(system: str, code: str, display: str) -> Json:
    """A Coding."""
    return {"system": system, "code": code, "display": display}


def concept(*concepts: codes.Code) -> Json:
    """A CodeableConcept of one code, or of several that say the same."""
    return {
        "coding": [
            coding(codes.SYSTEM_URI.get(each.scheme, each.scheme), each.value, each.meaning) for each in concepts
        ]
    }


def device(algorithm: Algorithm) -> Json:
    """The Device that an algorithm is: one for each version and weights."""
    return {
        "resourceType": "Device",
        "identifier": [{"system": codes.ALGORITHM_SYSTEM, "value": algorithm_value(algorithm)}],
        "status": "active",
        "manufacturer": algorithm.manufacturer,
        "deviceName": [{"name": algorithm.name, "type": "model-name"}],
        "type": {"coding": [AI_TYPE], "text": "AI algorithm"},
        "version": [
            {"type": {"text": "software"}, "value": algorithm.version},
            {"type": {"text": "weights SHA-256"}, "value": algorithm.weights_sha256},
        ],
    }


def practitioner(signature: Signature) -> Json:
    """The person who signed: a logical reference, because nobody is ever created in a record."""
    reviewer = signature.reviewer
    reference: Json = {"type": "Practitioner", "display": reviewer.display}
    if reviewer.identifier:
        assigner = {"assigner": {"display": reviewer.organization}} if reviewer.organization else {}
        reference["identifier"] = {"value": reviewer.identifier, **assigner}
    return reference


def algorithm_value(algorithm: Algorithm) -> str:
    """The business identifier of an algorithm."""
    return f"{slug(algorithm.name)}/{algorithm.version}/{algorithm.weights_sha256[:16]}"


def patient(header: Dataset) -> Json:
    """The patient as DICOM names it: a logical reference, to be resolved before it is sent to a record."""
    value = text_of(header, "PatientID")
    if not value:
        return {"type": "Patient", "display": "The study has no PatientID"}
    kind = {"coding": [coding(f"{TERMINOLOGY}/v2-0203", "MR", "Medical record number")]}
    issuer = _issuer(text_of(header, "IssuerOfPatientID"), header.get("IssuerOfPatientIDQualifiersSequence"))
    return {"type": "Patient", "identifier": {"type": kind, **issuer, "value": value}}


def described_patient(header: Dataset) -> Json:
    """The same with name, birth date and sex: what a record's patient is compared with, or, where allowed, made of.

    The FHIR destination takes them off before anything is sent.
    """
    known: dict[tuple[str, str], Any] = {
        (codes.BIRTH_DATE_EXTENSION, "valueDate"): date(text_of(header, "PatientBirthDate")),
        (codes.SEX_EXTENSION, "valueCode"): _SEX.get(text_of(header, "PatientSex")),
        (codes.NAME_EXTENSION, "valueHumanName"): _name(header),
    }
    extensions = [{"url": url, key: value} for (url, key), value in known.items() if value]
    return patient(header) | ({"extension": extensions} if extensions else {})


def _name(header: Dataset) -> Json:
    """HumanName of the alphabetic name, else of the ideographic one (PS3.5 6.2.1)."""
    groups = [group for group in text_of(header, "PatientName").split("=") if group.strip("^ ")]
    if not groups:
        return {}
    name = PersonName(groups[0])
    given = [part for text in (name.given_name, name.middle_name) for part in text.split()]
    parts: Json = {
        "family": name.family_name.strip(),
        "given": given,
        "prefix": name.name_prefix.split(),
        "suffix": name.name_suffix.split(),
    }
    return {key: value for key, value in parts.items() if value}


def _issuer(name: str, qualifiers: Sequence[Dataset] | None) -> Json:
    """Who gave an identifier: a system where it is a true OID, else its name; nothing where DICOM does not say."""
    name = name.strip()
    universal = str((qualifiers or [Dataset()])[0].get("UniversalEntityID") or "").strip()
    for candidate in (universal, name):
        if _OID.fullmatch(candidate):
            return {"system": f"urn:oid:{candidate}"}
    return {"assigner": {"display": name}} if name else {}


def order(header: Dataset) -> Json | None:
    """The order by its accession number and the issuer of that (PS3.3 table C.7-3), None without accession number."""
    accession = text_of(header, "AccessionNumber")
    if not accession:
        return None
    kind = {"coding": [coding(f"{TERMINOLOGY}/v2-0203", "ACSN", "Accession ID")]}
    items = header.get("IssuerOfAccessionNumberSequence")
    local = str((items or [Dataset()])[0].get("LocalNamespaceEntityID") or "")
    return {"type": "ServiceRequest", "identifier": {"type": kind, **_issuer(local, items), "value": accession}}


def study(study_instance_uid: str) -> Json:
    """The study by its UID only: the right shape wherever the record does not let us make studies."""
    identifier = {
        "type": concept(codes.STUDY_UID),
        "system": "urn:dicom:uid",
        "value": f"urn:oid:{study_instance_uid}",
    }
    return {"type": "ImagingStudy", "identifier": identifier}


def body_site(fdi: int) -> Json:
    """A tooth: SNOMED CT and ADA codes, FDI as text. Raises KeyError for a number that ISO 3950 does not know."""
    tooth = TEETH[fdi]
    site = coding(codes.SYSTEM_URI["SCT"], tooth.snomed, tooth.meaning)
    # FDI has no registered system, and a bare "51" is another tooth to an ADA reader: it goes into text, named.
    return {"coding": [site, {"system": UNIVERSAL_SYSTEM, "code": tooth.universal}], "text": f"FDI {fdi}"}


def place(finding: Finding, header: Dataset) -> Json:
    """The part of the body; of a curve its part of the spine, with the end vertebrae as text."""
    site = concept(sites_of(finding, header)[0])
    ends = span_of(finding)
    return site | ({"text": f"{ends[0]} to {ends[1]}"} if ends else {})


def measured(finding: Finding) -> list[Json]:
    """Measurements with UCUM units, and what is said of the finding in coded words, as components."""
    concepts = [(codes.MEASUREMENTS[each.kind], each.value) for each in finding.measurements]
    components = [
        {
            "code": concept(each.name),
            "valueQuantity": {
                "value": round(float(value), 1),
                "unit": each.unit.meaning,
                "system": codes.SYSTEM_URI["UCUM"],
                "code": each.unit.value,
            },
        }
        for each, value in concepts
    ]
    question = concept(codes.FINDINGS[finding.kind].answer)
    qualities = [codes.QUALITIES[flag] for flag in finding.flags if flag in codes.QUALITIES]
    return [*components, *({"code": question, "valueCodeableConcept": concept(value)} for value in qualities)]


def probability(certainty: float) -> Json:
    """The confidence of a finding, 0 to 1, as a component that every reader of R4 understands."""
    quantity = {"value": round(certainty, 3), "unit": "1", "system": codes.SYSTEM_URI["UCUM"], "code": "1"}
    return {"code": {"text": "AI probability"}, "valueQuantity": quantity}


def slug(name: str) -> str:
    """A name as part of an identifier."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def instant(moment: datetime) -> str:
    """FHIR instant in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def study_date(header: Dataset) -> str | None:
    """The date alone: DICOM times have no zone, and FHIR allows no time without one."""
    return date(text_of(header, "StudyDate"))


def date(text: str) -> str | None:
    """A DICOM date (DA) as FHIR writes it, None if it is none."""
    try:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return None
