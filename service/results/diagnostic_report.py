"""FHIR R4 DiagnosticReport of the AI as one transaction: Device, an Observation per finding, the report, Provenance.

Shapes after US Core, IHE IMR and the HL7 Europe Imaging guide as far as they allow a report that no person has read:
the report is ``preliminary``, has no ``resultsInterpreter`` and claims no profile. Patient, order and study are
*logical* references (identifier only); the FHIR destination puts the record's own patient in before it sends.
"""

import html
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError
from pydicom.dataset import Dataset

from service.domain import codes
from service.domain.errors import Permanent
from service.domain.finding import Algorithm, Finding
from service.domain.result import Result
from service.domain.tooth import TEETH
from service.domain.words import span_of
from service.results import wording
from service.results.examination import Examination, examinations
from service.results.sites import sites_of
from service.results.subject import Source, Subject

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_UNIVERSAL_SYSTEM = f"{_TERMINOLOGY}/ADAUniversalToothDesignationSystem"
_AI_TYPE = {
    "system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS",
    "code": "Artificial-Intelligence",
}
_AIAST = {
    "system": f"{_TERMINOLOGY}/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
_LANDMARKS = {"vertebra"}
_SEX = {"M": "male", "F": "female", "O": "other"}  # PS3.3 C.7.1.1, Patient's Sex -> AdministrativeGender
_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_Json = dict[str, Any]


def write(subject: Subject) -> Sequence[Result]:
    """One transaction Bundle for each kind of examination, over all its images and models; named by its identifier.

    An image that was not read is a report as well: ``preliminary`` like all the others, because a later revision may
    read it, with the reason in its conclusion and without a single Observation.

    Raises:
        Permanent: FHIR cannot express what the analysis says (a finding or tooth that the code tables do not know).
    """
    return [_result(_Report(subject, kind, tuple(sources))) for kind, sources in examinations(subject.sources).items()]


def _result(report: "_Report") -> Result:
    try:
        bundle = report.bundle()
    except KeyError as error:
        message = f"no code for finding or tooth {error}; add it to service/domain"
        raise Permanent(message) from None
    content = json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode()
    try:
        same = json.loads(Bundle.model_validate(bundle).model_dump_json()) == bundle
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, problem["loc"])) for problem in error.errors()}))
        message = f"the report is not valid FHIR R4: {fields}"
        raise Permanent(message) from None
    if not same:  # a number rounded, a date rewritten: the record would hold something else than was meant
        message = "the report changes when it is read as FHIR R4"
        raise Permanent(message)
    return Result(kind="report", name=report.key, media_type="application/fhir+json", content=content)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One finding, with every image it was seen in: the certainty in each."""

    role: str
    finding: Finding
    algorithm: Algorithm
    certainties: tuple[float, ...]
    flags: tuple[str, ...]
    header: Dataset


class _Report:
    """One report and the resources around it, each under a role within the transaction."""

    def __init__(self, subject: Subject, kind: Examination, sources: Sequence[Source]) -> None:
        self._subject, self._kind, self._sources, self._header = subject, kind, sources, sources[0].header
        #: stable over revisions and model versions
        self.key = f"{subject.study_instance_uid}/dental-findings/{_slug(kind.line)}"
        self._issued = _instant(max(source.analysis.started_at for source in sources))
        self._algorithms = list(dict.fromkeys(source.analysis.algorithm for source in sources))
        self._seen = _merge(sources)

    def bundle(self) -> _Json:
        """The transaction, plain POSTs only: any conditional entry narrows what servers accept."""
        resources = {self._device_role(algorithm): _device(algorithm) for algorithm in self._algorithms}
        resources |= {seen.role: self._observation(seen) for seen in self._seen}
        resources |= {"report": self._report(), "provenance": self._provenance()}
        entries = [
            {
                "fullUrl": self._url(role),
                "resource": resource,
                "request": {"method": "POST", "url": resource["resourceType"]},
            }
            for role, resource in resources.items()
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    def _url(self, role: str) -> str:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{codes.REPORT_SYSTEM}|{self.key}|{role}").urn

    def _reference(self, role: str) -> _Json:
        return {"reference": self._url(role)}

    def _device_role(self, algorithm: Algorithm) -> str:
        return f"device/{_algorithm_value(algorithm)}"

    def _study(self) -> _Json:
        identifier = {
            "type": _concept(codes.STUDY_UID),
            "system": "urn:dicom:uid",
            "value": f"urn:oid:{self._subject.study_instance_uid}",
        }
        return {"type": "ImagingStudy", "identifier": identifier}

    def _observation(self, seen: _Seen) -> _Json:
        resource: _Json = {
            "resourceType": "Observation",
            "meta": {"security": [_AIAST]},
            "identifier": [{"system": codes.OBSERVATION_SYSTEM, "value": f"{self.key}/{seen.role}"}],
            "status": "preliminary",
            "category": [{"coding": [_coding(f"{_TERMINOLOGY}/observation-category", "imaging", "Imaging")]}],
            "code": _concept(codes.PROCEDURE_FINDINGS),
            "subject": _patient(self._header),
            "effectiveDateTime": _study_date(self._header) or self._issued,
            "issued": self._issued,
            "valueCodeableConcept": _concept(codes.FINDINGS[seen.finding.kind].answer),
            "method": {"text": wording.method(seen.algorithm)},
            "device": self._reference(self._device_role(seen.algorithm)),
            "derivedFrom": [self._study()],
            "component": [*map(_probability, seen.certainties), *_measured(seen.finding)],
        }
        if seen.finding.tooth is not None:
            resource["bodySite"] = _body_site(seen.finding.tooth)
        elif seen.finding.kind != "tooth":  # a tooth without a number is nowhere
            resource["bodySite"] = _site(seen)
        remarks = [flag for flag in seen.flags if flag not in codes.QUALITIES]
        if remarks:
            resource["note"] = [{"text": wording.flag(flag)} for flag in remarks]
        return resource

    def _report(self) -> _Json:
        weights = "+".join(algorithm.weights_sha256[:16] for algorithm in self._algorithms)
        sentences = wording.sentences(self._sources)
        category = codes.PHOTOGRAPH_CATEGORY if self._kind.photograph else codes.RADIOLOGY_CATEGORY
        radiology = {"coding": [_coding(f"{_TERMINOLOGY}/v2-0074", "RAD", "Radiology")]}
        resource: _Json = {
            "resourceType": "DiagnosticReport",
            "meta": {"security": [_AIAST]},
            "text": {"status": "generated", "div": _narrative(sentences, self._algorithms)},
            "identifier": [
                {"system": codes.REPORT_SYSTEM, "value": self.key},
                {"system": codes.REVISION_SYSTEM, "value": f"{self._subject.revision}/{weights}"},
            ],
            "status": "preliminary",
            "category": [_concept(category), *([] if self._kind.photograph else [radiology])],
            "code": _concept(self._kind.code),
            "subject": _described_patient(self._header),
            "effectiveDateTime": _study_date(self._header) or self._issued,
            "issued": self._issued,
            "imagingStudy": [self._study()],
            "conclusion": wording.conclusion(self._sources),
        }
        order = _order(self._header)
        if order:
            resource["basedOn"] = [order]
        if self._seen:
            resource["result"] = [self._reference(seen.role) for seen in self._seen]
        return resource

    def _provenance(self) -> _Json:
        agents = [
            {
                "type": {"coding": [_coding(f"{_TERMINOLOGY}/provenance-participant-type", "author", "Author")]},
                "role": [{"coding": [_AI_TYPE]}],
                "who": self._reference(self._device_role(algorithm)),
            }
            for algorithm in self._algorithms
        ]
        return {
            "resourceType": "Provenance",
            "target": [self._reference("report"), *(self._reference(seen.role) for seen in self._seen)],
            "recorded": self._issued,
            "reason": [{"coding": [_AIAST]}],
            "activity": {"coding": [_coding(f"{_TERMINOLOGY}/v3-DataOperation", "CREATE", "create")]},
            "agent": agents,
            "entity": [{"role": "source", "what": self._study()}],
        }


def _merge(sources: Sequence[Source]) -> list[_Seen]:
    """What is seen of a tooth in several images is one finding of the study; findings without a tooth stay apart.

    Vertebrae are landmarks of a measurement, for SR and SEG, and no findings that a record should list.
    """
    groups: dict[str, list[tuple[Finding, Source]]] = {}
    for number, source in enumerate(sources, start=1):
        for order, finding in enumerate(source.analysis.findings, start=1):
            if finding.kind not in _LANDMARKS:
                loose = "" if finding.tooth is not None else f"/image{number}.{order}"
                groups.setdefault(f"{finding.label or finding.kind}{loose}", []).append((finding, source))
    return [
        _Seen(
            role=role,
            finding=group[0][0],
            algorithm=group[0][1].analysis.algorithm,
            certainties=tuple(finding.certainty for finding, _ in group),
            flags=tuple(dict.fromkeys(flag for finding, _ in group for flag in finding.flags)),
            header=group[0][1].header,
        )
        for role, group in groups.items()
    ]


def _narrative(sentences: Sequence[str], algorithms: Sequence[Algorithm]) -> str:
    made_by = ", ".join(f"{algorithm.name} {algorithm.version} ({algorithm.manufacturer})" for algorithm in algorithms)
    paragraphs = "".join(f"<p>{html.escape(text, quote=False)}</p>" for text in (*sentences, f"Made by {made_by}."))
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'


def _device(algorithm: Algorithm) -> _Json:
    return {
        "resourceType": "Device",
        "identifier": [{"system": codes.ALGORITHM_SYSTEM, "value": _algorithm_value(algorithm)}],
        "status": "active",
        "manufacturer": algorithm.manufacturer,
        "deviceName": [{"name": algorithm.name, "type": "model-name"}],
        "type": {"coding": [_AI_TYPE], "text": "AI algorithm"},
        "version": [
            {"type": {"text": "software"}, "value": algorithm.version},
            {"type": {"text": "weights SHA-256"}, "value": algorithm.weights_sha256},
        ],
    }


def _patient(header: Dataset) -> _Json:
    """The patient as DICOM names it: a logical reference, to be resolved before it is sent to a record."""
    value = str(header.get("PatientID") or "").strip()
    if not value:
        return {"type": "Patient", "display": "The study has no PatientID"}
    kind = {"coding": [_coding(f"{_TERMINOLOGY}/v2-0203", "MR", "Medical record number")]}
    return {"type": "Patient", "identifier": {"type": kind, **_issuer(header), "value": value}}


def _described_patient(header: Dataset) -> _Json:
    """The same with birth date and sex, which are compared with the patient that the record has."""
    known = {
        (codes.BIRTH_DATE_EXTENSION, "valueDate"): _date(str(header.get("PatientBirthDate") or "")),
        (codes.SEX_EXTENSION, "valueCode"): _SEX.get(str(header.get("PatientSex") or "")),
    }
    extensions = [{"url": url, key: value} for (url, key), value in known.items() if value]
    return _patient(header) | ({"extension": extensions} if extensions else {})


def _issuer(header: Dataset) -> _Json:
    """Who gave the PatientID: a system where it is a true OID, else its name; nothing where DICOM does not say."""
    name = str(header.get("IssuerOfPatientID") or "").strip()
    qualifiers = (header.get("IssuerOfPatientIDQualifiersSequence") or [Dataset()])[0]
    universal = str(qualifiers.get("UniversalEntityID") or "").strip()
    for candidate in (universal, name):
        if _OID.fullmatch(candidate):
            return {"system": f"urn:oid:{candidate}"}
    return {"assigner": {"display": name}} if name else {}


def _order(header: Dataset) -> _Json | None:
    accession = str(header.get("AccessionNumber") or "").strip()
    if not accession:
        return None
    kind = {"coding": [_coding(f"{_TERMINOLOGY}/v2-0203", "ACSN", "Accession ID")]}
    return {"type": "ServiceRequest", "identifier": {"type": kind, "value": accession}}


def _body_site(fdi: int) -> _Json:
    tooth = TEETH[fdi]
    site = _coding(codes.SYSTEM_URI["SCT"], tooth.snomed, tooth.meaning)
    # FDI has no registered system, and a bare "51" is another tooth to an ADA reader: it goes into text, named.
    return {"coding": [site, {"system": _UNIVERSAL_SYSTEM, "code": tooth.universal}], "text": f"FDI {fdi}"}


def _site(seen: _Seen) -> _Json:
    """The part of the body; of a curve its part of the spine, with the end vertebrae as text."""
    place = _concept(sites_of(seen.finding, seen.header)[0])
    ends = span_of(seen.finding)
    return place | ({"text": f"{ends[0]} to {ends[1]}"} if ends else {})


def _measured(finding: Finding) -> list[_Json]:
    """Measurements with UCUM units, and what is said of the finding in coded words, as components."""
    concepts = [(codes.MEASUREMENTS[measured.kind], measured.value) for measured in finding.measurements]
    components = [
        {
            "code": _concept(each.name),
            "valueQuantity": {
                "value": round(float(value), 1),
                "unit": each.unit.meaning,
                "system": codes.SYSTEM_URI["UCUM"],
                "code": each.unit.value,
            },
        }
        for each, value in concepts
    ]
    question = _concept(codes.FINDINGS[finding.kind].answer)
    qualities = [codes.QUALITIES[flag] for flag in finding.flags if flag in codes.QUALITIES]
    return [*components, *({"code": question, "valueCodeableConcept": _concept(value)} for value in qualities)]


def _probability(certainty: float) -> _Json:
    quantity = {"value": round(certainty, 3), "unit": "1", "system": codes.SYSTEM_URI["UCUM"], "code": "1"}
    return {"code": {"text": "AI probability"}, "valueQuantity": quantity}


def _concept(code: codes.Code) -> _Json:
    return {"coding": [_coding(codes.SYSTEM_URI[code.scheme], code.value, code.meaning)]}


def _coding(system: str, code: str, display: str) -> _Json:
    return {"system": system, "code": code, "display": display}


def _algorithm_value(algorithm: Algorithm) -> str:
    return f"{_slug(algorithm.name)}/{algorithm.version}/{algorithm.weights_sha256[:16]}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def _instant(moment: datetime) -> str:
    """FHIR instant in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _study_date(header: Dataset) -> str | None:
    # The date alone: DICOM times have no zone, and FHIR allows no time without one.
    return _date(str(header.get("StudyDate") or ""))


def _date(text: str) -> str | None:
    try:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return None
