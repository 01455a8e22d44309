"""The report as a document: DocumentReference with the PDF, for records that let nobody create a DiagnosticReport."""

from collections.abc import Sequence

from service.domain.codes import REPORT_SYSTEM
from service.domain.errors import Permanent
from service.export.fhir_capability import Capability
from service.export.fhir_record import Json, Record, TooLarge, identifier_of, name_of, version_of
from service.export.fhir_sending import page_apart, page_url, write_page
from service.export.fhir_shape import demand_r4
from service.export.fhir_versions import WITHDRAWN

#: diagnostic-report-status -> composition-status (R4); what is corrected is amended there.
_STATUS = {"preliminary": "preliminary", "final": "final", "amended": "amended", "corrected": "amended"}


def document_of(entries: Sequence[Json], patient: str) -> Json:
    """The DocumentReference of a report, its PDF inline; a large one as our Binary entry left it: by its url.

    Raises:
        Permanent: the report has no page.
    """
    report = next(e["resource"] for e in entries if e["resource"]["resourceType"] == "DiagnosticReport")
    if not report.get("presentedForm"):
        message = "the report has no PDF, because the image's header lacks a UID; this server takes documents only"
        raise Permanent(message)
    attachment = dict(report["presentedForm"][0])
    pages = {e["fullUrl"]: e["resource"] for e in entries if e["resource"]["resourceType"] == "Binary"}
    if attachment.get("url") in pages:
        attachment["data"] = pages[attachment.pop("url")]["data"]
    devices = [e["resource"] for e in entries if e["resource"]["resourceType"] == "Device"]
    persons = report.get("resultsInterpreter", [])
    document: Json = {
        "resourceType": "DocumentReference",
        "meta": report["meta"],
        "identifier": report["identifier"],
        "status": "current",
        "docStatus": _STATUS[report["status"]],
        "type": report["code"],
        "category": report["category"],
        "subject": {"reference": patient},
        "date": report["issued"],
        "author": [*persons, *({"type": "Device", **_named(device)} for device in devices)],
        "description": report["conclusion"],
        "securityLabel": [{"coding": report["meta"]["security"]}],
        "content": [{"attachment": attachment}],
        "context": {"related": [*report["imagingStudy"], *report.get("basedOn", [])]},
    }
    if persons:
        document["authenticator"] = persons[0]
    return document


def send_document(record: Record, document: Json, there: Json | None, capability: Capability) -> str:
    """Create it, or replace the version that was read; where it is too large, its PDF goes apart as a Binary."""
    verb = "created" if there is None else "updated"
    try:
        return f"{_write(record, document, there)} {verb}"
    except TooLarge:
        page, attachment = page_apart(document["content"][0]["attachment"])
        where = write_page(record, page, page_url(identifier_of(document, REPORT_SYSTEM)), capability)
        apart = document | {"content": [{"attachment": attachment | {"url": f"{record.base}/{where}"}}]}
        return f"{_write(record, apart, there)} {verb}, its PDF as {where}"


def withdraw_document(record: Record, report: Json, there: Json) -> str:
    """The document as it is in the record, entered in error."""
    said = {"identifier": report["identifier"], "status": WITHDRAWN, "docStatus": WITHDRAWN}
    record.put(there | said, version_of(there))
    return f"{name_of(there)} withdrawn"


def _write(record: Record, document: Json, there: Json | None) -> str:
    demand_r4(document)
    if there is None:
        return record.create(document)
    return record.put(document | {"id": there["id"]}, version_of(there))


def _named(device: Json) -> Json:
    name = f"{device['deviceName'][0]['name']} {device['version'][0]['value']}"
    return {"identifier": device["identifier"][0], "display": name}
