"""HL7 v2.5.1 ORU^R01: the report for records that do not speak FHIR (HL7 v2.5.1 chapter 7).

Each finding is a group of OBX with the same sub-ID (OBX-4): what was found, where, how certain, what was measured. The
status is P (preliminary) everywhere until a person signs, then F, and C for what was signed again. OBX-20 (site) does
not exist in 2.5.1, so the tooth has an OBX of its own. MSH-10 depends on what is reported only, so that a message that
is sent twice can be told.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from service.domain import codes
from service.domain.codes import Code
from service.domain.errors import Permanent
from service.domain.finding import Finding
from service.domain.result import Result
from service.domain.review import ReportStatus, Signature
from service.results import wording
from service.results.examination import Examination, examinations
from service.results.mending import text_of
from service.results.report_page import draw_report
from service.results.sites import sites_of
from service.results.subject import Source, Subject
from service.results.verification import remark

MEDIA_TYPE = "application/hl7-v2"
KIND = "oru"
#: Status -> OBR-25 (HL7 table 0123), OBX-11 (table 0085): W is "post original as wrong, e.g. wrong patient".
_STATUS = {
    ReportStatus.PRELIMINARY: ("P", "P"),
    ReportStatus.FINAL: ("F", "F"),
    ReportStatus.AMENDED: ("C", "C"),
    ReportStatus.CORRECTED: ("C", "C"),
    ReportStatus.WITHDRAWN: ("X", "W"),
}
_FINDING_SITE = Code("363698007", "SCT", "Finding Site")
_PROBABILITY = "ai-probability^AI probability^L"
_DICOM_STUDY = "113014^DICOM Study^DCM"
_DOCUMENT = "PDF^Report^L"
_LANDMARKS = {"vertebra"}
#: HL7 table 0396: names of coding systems there, where they differ from DICOM's designators.
_SYSTEMS = {"SCT": "SCT", "LN": "LN", "DCM": "DCM", "UCUM": "UCUM"}
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\", "\r": "\\.br\\", "\n": "\\.br\\"}
_SEX = {"M", "F", "O"}
_CONTROL_ID = 20  # longest MSH-10


def write(subject: Subject) -> Sequence[Result]:
    """One message for each kind of examination; who sends and receives (MSH-4 to 6) is the destination's to fill in.

    Raises:
        Permanent: a finding or tooth that the code tables do not know.
    """
    return [_write(subject, kind, sources) for kind, sources in examinations(subject).items()]


def _write(subject: Subject, kind: Examination, sources: Sequence[Source]) -> Result:
    name = f"{subject.study_instance_uid}/{kind.line}/{subject.revision}"
    try:
        segments = list(_segments(subject, kind, sources, _control_id(name, sources)))
    except KeyError as error:
        message = f"no code for finding or tooth {error}; add it to service/domain"
        raise Permanent(message) from None
    return Result(KIND, name, MEDIA_TYPE, ("\r".join(segments) + "\r").encode())


def escaped(text: str) -> str:
    """A value with HL7's delimiters escaped (chapter 2.7)."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def _control_id(name: str, sources: Sequence[Source]) -> str:
    weights = [source.analysis.algorithm.weights_sha256 for source in sources]
    return hashlib.sha256("/".join((name, *weights)).encode()).hexdigest()[:_CONTROL_ID]


def _segments(subject: Subject, kind: Examination, sources: Sequence[Source], control_id: str) -> Iterator[str]:
    header = sources[0].header
    made_at = _instant(max(source.made_at for source in sources))
    signature = subject.signature
    of_order, of_value = _STATUS[ReportStatus.PRELIMINARY if signature is None else signature.status]
    accession = escaped(text_of(header, "AccessionNumber"))
    yield (f"MSH|^~\\&|DENTGATE||||{made_at}||ORU^R01^ORU_R01|{control_id}|P|2.5.1|||AL|NE||UNICODE UTF-8")
    yield f"PID|1||{_patient_id(header)}||{_name(header)}||{_date(header, 'PatientBirthDate')}|{_sex(header)}"
    yield f"ORC|RE||{accession}||CM"
    service = _coded(kind.code)
    taken = _date(header, "StudyDate") or made_at
    interpreter = "" if signature is None else f"|||||||{_interpreter(signature)}"  # OBR-32
    yield f"OBR|1||{accession}|{service}|||{taken}|||||||||||{accession}||||{made_at}||RAD|{of_order}{interpreter}"
    observer = "" if signature is None else f"||{_interpreter(signature).replace('&', '^')}"  # OBX-16
    for number, (fields, value) in enumerate(_observations(subject, sources), start=1):
        kind_of_value, question, group = fields
        yield f"OBX|{number}|{kind_of_value}|{question}|{group}|{value}|||||{of_value}|||{made_at}{observer}"


def _observations(subject: Subject, sources: Sequence[Source]) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Type, question and sub-ID of each observation, and its value with units where it has them."""
    group = 0
    for source in sources:
        for finding in source.analysis.findings:
            if finding.kind in _LANDMARKS:
                continue
            group += 1
            yield from _of_finding(finding, source, str(group))
    yield ("TX", _coded(codes.PROCEDURE_FINDINGS), ""), f"{escaped(wording.conclusion(sources))}|"
    for algorithm in dict.fromkeys(source.analysis.algorithm for source in sources):
        words = f"{algorithm.name} {algorithm.version} ({algorithm.manufacturer}), {algorithm.weights_sha256[:16]}"
        yield ("ST", "ai-algorithm^AI algorithm^L", ""), f"{escaped(words)}|"
    yield ("ST", _DICOM_STUDY, ""), f"{subject.study_instance_uid}|"
    page = base64.b64encode(draw_report(replace(subject, sources=sources))).decode()
    yield ("ED", _DOCUMENT, ""), f"^application^pdf^Base64^{page}|"


def _of_finding(finding: Finding, source: Source, group: str) -> Iterator[tuple[tuple[str, str, str], str]]:
    concept = codes.FINDINGS[finding.kind].answer
    yield ("CWE", _coded(codes.PROCEDURE_FINDINGS), group), f"{_coded(concept)}|"
    if finding.tooth is not None or finding.kind != "tooth":  # a tooth without a number is nowhere
        for site in sites_of(finding, source.header):
            yield ("CWE", _coded(_FINDING_SITE), group), f"{_coded(site)}|"
    if finding.tooth is not None:
        yield ("ST", "fdi^FDI tooth number (ISO 3950)^L", group), f"{finding.tooth}|"
    if not finding.by_person:
        yield ("NM", _PROBABILITY, group), f"{round(finding.certainty, 3):g}|1^no unit^UCUM"
    for measured in finding.measurements:
        concepts = codes.MEASUREMENTS[measured.kind]
        yield ("NM", _coded(concepts.name), group), f"{round(measured.value, 1):g}|{_coded(concepts.unit)}"
    if remark(finding):
        yield ("ST", "remark^Remark^L", group), f"{escaped(remark(finding))}|"
    for flag in finding.flags:
        quality = codes.QUALITIES.get(flag)
        if quality is None:
            yield ("ST", "remark^Remark^L", group), f"{escaped(wording.flag(flag))}|"
        else:
            yield ("CWE", _coded(concept), group), f"{_coded(quality)}|"


def _interpreter(signature: Signature) -> str:
    """Who answers for the report, as the first component of an NDL: ID, family name, given name, prefix (CNN)."""
    name = PersonName(signature.reviewer.name)
    parts = (signature.reviewer.identifier, name.family_name, name.given_name, "", "", name.name_prefix)
    return "&".join(escaped(part) for part in parts).rstrip("&")


def _coded(code: Code) -> str:
    system = "L" if ":" in code.scheme else _SYSTEMS.get(code.scheme, code.scheme)  # a site's own URI is local
    return f"{escaped(code.value)}^{escaped(code.meaning)}^{system}"


def _patient_id(header: Dataset) -> str:
    """CX: the ID and who gave it; an OID where DICOM has one."""
    value = escaped(text_of(header, "PatientID"))
    issuer = text_of(header, "IssuerOfPatientID")
    qualifiers = header.get("IssuerOfPatientIDQualifiersSequence") or [Dataset()]
    universal, kind = text_of(qualifiers[0], "UniversalEntityID"), text_of(qualifiers[0], "UniversalEntityIDType")
    authority = f"{escaped(issuer)}&{escaped(universal)}&{escaped(kind)}" if universal else escaped(issuer)
    return f"{value}^^^{authority}^MR" if value else ""


def _name(header: Dataset) -> str:
    """XPN of the alphabetic name, else of the ideographic one; DICOM has prefix before suffix, HL7 after it."""
    groups = [group for group in text_of(header, "PatientName").split("=") if group.strip("^ ")]
    name = PersonName(groups[0] if groups else "")
    parts = (name.family_name, name.given_name, name.middle_name, name.name_suffix, name.name_prefix)
    return "^".join(escaped(part) for part in parts).rstrip("^")


def _sex(header: Dataset) -> str:
    sex = text_of(header, "PatientSex")
    return sex if sex in _SEX else "U"


def _date(header: Dataset, keyword: str) -> str:
    try:
        return datetime.strptime(text_of(header, keyword), "%Y%m%d").replace(tzinfo=UTC).strftime("%Y%m%d")
    except ValueError:
        return ""


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
