"""FHIR R4 DiagnosticReport of the AI as one transaction: Device, an Observation per finding, report, Provenance, PDF.

Shapes after US Core, IHE IMR and the HL7 Europe Imaging guide as far as they allow a report that no person has read:
the report is ``preliminary``, has no ``resultsInterpreter`` and claims no profile, until somebody signs it. Patient,
order and study are *logical* references (identifier only); the FHIR destination puts the record's own patient in before
it sends.
"""

import base64
import hashlib
import html
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError
from pydicom.dataset import Dataset

from service.domain import codes
from service.domain.errors import Permanent
from service.domain.finding import Algorithm, Finding
from service.domain.result import Result
from service.domain.review import ReportStatus
from service.results import wording
from service.results.examination import Examination, examinations
from service.results.fhir_elements import (
    AI_TYPE,
    AIAST,
    TERMINOLOGY,
    Json,
    algorithm_value,
    body_site,
    coding,
    concept,
    described_patient,
    device,
    instant,
    measured,
    order,
    patient,
    place,
    practitioner,
    probability,
    slug,
    study,
    study_date,
)
from service.results.report_page import draw_report
from service.results.subject import Source, Subject

_PDF = "application/pdf"
_PAGE = "page"  # role of the PDF, where it is a resource of its own
_MOST_INLINE = 500_000  # bytes of a PDF inside the report; some records refuse more, so a larger one is a Binary
_LANDMARKS = {"vertebra"}


def write(subject: Subject) -> Sequence[Result]:
    """One transaction Bundle for each kind of examination, over all its images and models; named by its identifier.

    An image that was not read is a report as well: ``preliminary`` like all the others, because a later revision may
    read it, with the reason in its conclusion and without a single Observation.

    Raises:
        Permanent: FHIR cannot express what the analysis says (a finding or tooth that the code tables do not know).
    """
    return [_result(_Report(subject, kind, tuple(sources))) for kind, sources in examinations(subject).items()]


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
    revised: bool


class _Report:
    """One report and the resources around it, each under a role within the transaction."""

    def __init__(self, subject: Subject, kind: Examination, sources: Sequence[Source]) -> None:
        self._subject, self._kind, self._sources, self._header = subject, kind, sources, sources[0].header
        #: stable over revisions and model versions
        self.key = f"{subject.study_instance_uid}/dental-findings/{slug(kind.line)}"
        self._issued = instant(max(source.made_at for source in sources))
        self._signature = subject.signature
        self._status = ReportStatus.PRELIMINARY if subject.signature is None else subject.signature.status
        self._algorithms = list(dict.fromkeys(source.analysis.algorithm for source in sources))
        self._seen = _merge(sources)
        self._page = _page(replace(subject, sources=sources))

    def bundle(self) -> Json:
        """The transaction, plain POSTs only: any conditional entry narrows what servers accept."""
        resources = {self._device_role(algorithm): device(algorithm) for algorithm in self._algorithms}
        if len(self._page) > _MOST_INLINE:
            page = base64.b64encode(self._page).decode()
            resources[_PAGE] = {"resourceType": "Binary", "contentType": _PDF, "data": page}
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

    def _reference(self, role: str) -> Json:
        return {"reference": self._url(role)}

    def _device_role(self, algorithm: Algorithm) -> str:
        return f"device/{algorithm_value(algorithm)}"

    def _observation(self, seen: _Seen) -> Json:
        resource: Json = {
            "resourceType": "Observation",
            "identifier": [{"system": codes.OBSERVATION_SYSTEM, "value": f"{self.key}/{seen.role}"}],
            "status": self._status_of(seen),
            "category": [{"coding": [coding(f"{TERMINOLOGY}/observation-category", "imaging", "Imaging")]}],
            "code": concept(codes.PROCEDURE_FINDINGS),
            "subject": patient(self._header),
            "effectiveDateTime": study_date(self._header) or self._issued,
            "issued": self._issued,
            "valueCodeableConcept": concept(codes.FINDINGS[seen.finding.kind].answer),
            "method": {"text": wording.method(seen.algorithm, seen.finding, self._signature)},
            "derivedFrom": [study(self._subject.study_instance_uid)],
        }
        components = [*map(probability, seen.certainties), *measured(seen.finding)]
        if components:
            resource["component"] = components
        if not seen.finding.by_person:
            resource["meta"] = {"security": [AIAST]}
            resource["device"] = self._reference(self._device_role(seen.algorithm))
        if self._signature is not None:
            resource["performer"] = [practitioner(self._signature)]
        if seen.finding.tooth is not None:
            resource["bodySite"] = body_site(seen.finding.tooth)
        elif seen.finding.kind != "tooth":  # a tooth without a number is nowhere
            resource["bodySite"] = place(seen.finding, seen.header)
        remarks = [flag for flag in seen.flags if flag not in codes.QUALITIES]
        if remarks:
            resource["note"] = [{"text": wording.flag(flag)} for flag in remarks]
        return resource

    def _status_of(self, seen: _Seen) -> ReportStatus:
        """That of the report; but what an amended report says as the one before it did is final as it was."""
        again = self._status in {ReportStatus.AMENDED, ReportStatus.CORRECTED} and not seen.revised
        return ReportStatus.FINAL if again else self._status

    def _version(self) -> str:
        """Tells this version of the report from all others; the number before the first slash rises."""
        weights = "+".join(algorithm.weights_sha256[:16] for algorithm in self._algorithms)
        edition = "" if self._signature is None else f"/{self._signature.edition}"
        return f"{self._subject.revision}/{weights}{edition}"

    def _report(self) -> Json:
        sentences = wording.sentences(self._sources)
        category = codes.PHOTOGRAPH_CATEGORY if self._kind.photograph else codes.RADIOLOGY_CATEGORY
        radiology = {"coding": [coding(f"{TERMINOLOGY}/v2-0074", "RAD", "Radiology")]}
        resource: Json = {
            "resourceType": "DiagnosticReport",
            "meta": {"security": [AIAST]},
            "text": {"status": "generated", "div": _narrative(sentences, self._algorithms)},
            "identifier": [
                {"system": codes.REPORT_SYSTEM, "value": self.key},
                {"system": codes.REVISION_SYSTEM, "value": self._version()},
            ],
            "status": self._status,
            "category": [concept(category), *([] if self._kind.photograph else [radiology])],
            "code": concept(self._kind.code),
            "subject": described_patient(self._header),
            "effectiveDateTime": study_date(self._header) or self._issued,
            "issued": self._issued,
            "imagingStudy": [study(self._subject.study_instance_uid)],
            "conclusion": wording.conclusion(self._sources),
        }
        if self._signature is not None:
            resource["resultsInterpreter"] = [practitioner(self._signature)]
        if self._page:
            resource["presentedForm"] = [self._attachment()]
        ordered = order(self._header)
        if ordered:
            resource["basedOn"] = [ordered]
        if self._seen:
            resource["result"] = [self._reference(seen.role) for seen in self._seen]
        return resource

    def _attachment(self) -> Json:
        """The page, inline while it is small, for a reader without imaging software. FHIR hashes by SHA-1."""
        attachment: Json = {
            "contentType": _PDF,
            "size": len(self._page),
            "hash": base64.b64encode(hashlib.sha1(self._page, usedforsecurity=False).digest()).decode(),
            "title": "AI report, as PDF",
            "creation": self._issued,
        }
        if len(self._page) > _MOST_INLINE:
            return attachment | {"url": self._url(_PAGE)}
        return attachment | {"data": base64.b64encode(self._page).decode()}

    def _provenance(self) -> Json:
        agents = [
            {
                "type": {"coding": [coding(f"{TERMINOLOGY}/provenance-participant-type", "author", "Author")]},
                "role": [{"coding": [AI_TYPE]}],
                "who": self._reference(self._device_role(algorithm)),
            }
            for algorithm in self._algorithms
        ]
        if self._signature is not None:
            verifier = coding(f"{TERMINOLOGY}/provenance-participant-type", "verifier", "Verifier")
            agents.append({"type": {"coding": [verifier]}, "who": practitioner(self._signature)})
        return {
            "resourceType": "Provenance",
            "target": [self._reference("report"), *(self._reference(seen.role) for seen in self._seen)],
            "recorded": self._issued,
            "reason": [{"coding": [AIAST]}],
            "activity": {"coding": [coding(f"{TERMINOLOGY}/v3-DataOperation", "CREATE", "create")]},
            "agent": agents,
            "entity": [{"role": "source", "what": study(self._subject.study_instance_uid)}],
        }


def _page(subject: Subject) -> bytes:
    """The report as PDF; empty where the header lacks what a page must name, because the findings matter more."""
    try:
        return draw_report(subject)
    except Permanent:
        return b""


def _merge(sources: Sequence[Source]) -> list[_Seen]:
    """What is seen of a tooth in several images is one finding of the study; findings without a tooth stay apart.

    Vertebrae are landmarks of a measurement, for SR and SEG, and no findings that a record should list.
    """
    groups: dict[str, list[tuple[Finding, Source]]] = {}
    for number, source in enumerate(sources, start=1):
        for place_in_list, finding in enumerate(source.analysis.findings, start=1):
            if finding.kind not in _LANDMARKS:
                position = place_in_list if finding.reviewed is None else finding.reviewed.place
                loose = "" if finding.tooth is not None else f"/image{number}.{position}"
                groups.setdefault(f"{finding.label or finding.kind}{loose}", []).append((finding, source))
    return [
        _Seen(
            role=role,
            finding=group[0][0],
            algorithm=group[0][1].analysis.algorithm,
            certainties=tuple(finding.certainty for finding, _ in group if not finding.by_person),
            flags=tuple(dict.fromkeys(flag for finding, _ in group for flag in finding.flags)),
            header=group[0][1].header,
            revised=any(finding.reviewed is not None and finding.reviewed.revised for finding, _ in group),
        )
        for role, group in groups.items()
    ]


def _narrative(sentences: Sequence[str], algorithms: Sequence[Algorithm]) -> str:
    made_by = ", ".join(f"{algorithm.name} {algorithm.version} ({algorithm.manufacturer})" for algorithm in algorithms)
    paragraphs = "".join(f"<p>{html.escape(text, quote=False)}</p>" for text in (*sentences, f"Made by {made_by}."))
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'
