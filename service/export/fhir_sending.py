"""A plan carried out: as one transaction, or one request after the other."""

import re
import uuid
from datetime import UTC, datetime

from service.domain.codes import REPORT_SYSTEM
from service.domain.errors import Permanent
from service.export.fhir_capability import Capability
from service.export.fhir_plan import Plan, Step, rewritten, says_the_same
from service.export.fhir_record import Json, Record, TooLarge, identifier_of, name_of, version_of
from service.export.fhir_shape import demand_r4

_REPORT, _PAGE = "DiagnosticReport", "Binary"


def as_transaction(record: Record, plan: Plan) -> str:
    """All or nothing. Plain POSTs, and PUTs with the version that was read; no conditional entries.

    Returns:
        One line on what became of the report.

    Raises:
        TooLarge: the server takes less at once.
    """
    references = plan.standing()
    entries: list[Json] = []
    for step in plan.steps:
        resource = _resource(step, references, plan.patient, record.base)
        if step.old is None:
            request = {"method": "POST", "url": resource["resourceType"]}
            entries.append({"fullUrl": step.url, "resource": resource, "request": request})
        elif not says_the_same(step.old, resource):
            entries.append(_replacement(record, resource, step.old))
    responses = record.transaction(entries)
    place = next((i for i, entry in enumerate(entries) if entry["resource"]["resourceType"] == _REPORT), None)
    (report,) = plan.of_kind(_REPORT)
    if place is None:
        return _line(plan, references[report.url]["reference"])
    named = re.search(rf"{_REPORT}(/[A-Za-z0-9.-]{{1,64}})?", str(responses[place].get("location")))
    return _line(plan, named[0] if named else entries[place]["request"]["url"])


def as_single(record: Record, plan: Plan, capability: Capability) -> str:
    """One resource after the other, each looked for before: after a crash in between, the next run doubles nothing.

    Returns:
        One line on what became of the report, and of its PDF where the server refused that.
    """
    references = plan.standing()
    notes: list[str] = []
    for step in plan.steps:
        resource = _resource(step, references, plan.patient, record.base)
        if step.old is not None and says_the_same(step.old, resource):
            continue
        if resource["resourceType"] == _REPORT:
            reference = _send_report(record, step, resource, capability, notes)
        elif resource["resourceType"] == "Provenance":
            (report,) = plan.of_kind(_REPORT)
            if report.old is None or not has_provenance(record, name_of(report.old), resource):
                record.create(resource)
            continue
        else:
            reference = _write(record, step, resource, capability)
        references[step.url] = {"reference": reference}
    (report,) = plan.of_kind(_REPORT)
    return "; ".join([_line(plan, references[report.url]["reference"]), *notes])


def add_provenance(record: Record, plan: Plan) -> None:
    """What an earlier run did not get to."""
    for step in plan.of_kind("Provenance"):
        record.create(_resource(step, plan.standing(), plan.patient, record.base))


def has_provenance(record: Record, report: str, ours: Json) -> bool:
    """Whether the record says already how this version came about: Provenance has no identifier to search for."""
    try:
        found = record.query("Provenance", {"target": report, "_count": "100"})
    except Permanent:  # it cannot be searched: rather once too few than twice
        return True
    return any(_told(each) == _told(ours) for each in found)


def page_url(key: str) -> str:
    """The fullUrl of the PDF of a report that was inline."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{REPORT_SYSTEM}|{key}|page").urn


def write_page(record: Record, page: Json, url: str, capability: Capability) -> str:
    """The reference of a PDF; under an id of our choosing where the server lets us, so that twice is once.

    Args:
        url: its fullUrl, which makes the id.
    """
    demand_r4(page)
    if _PAGE in capability.chooses_ids:
        return record.put(page | {"id": url.removeprefix("urn:uuid:")})
    return record.create(page)


def page_apart(attachment: Json) -> tuple[Json, Json]:
    """A PDF that is inline as a Binary, and the attachment without it."""
    left = {key: value for key, value in attachment.items() if key != "data"}
    return {"resourceType": _PAGE, "contentType": attachment["contentType"], "data": attachment["data"]}, left


def _resource(step: Step, references: dict[str, Json], patient: str, base: str) -> Json:
    if not step.ours:
        return step.resource
    resource: Json = rewritten(step.resource, references, patient, base)
    return demand_r4(resource)


def _replacement(record: Record, resource: Json, old: Json) -> Json:
    request = {"method": "PUT", "url": name_of(old)}
    if version := version_of(old):
        request["ifMatch"] = f'W/"{version}"'
    return {"fullUrl": f"{record.base}/{name_of(old)}", "resource": resource | {"id": old["id"]}, "request": request}


def _write(record: Record, step: Step, resource: Json, capability: Capability) -> str:
    if step.old is not None:
        return record.put(resource | {"id": step.old["id"]}, version_of(step.old))
    if resource["resourceType"] == _PAGE:
        return write_page(record, resource, step.url, capability)
    return record.create(resource)


def _send_report(record: Record, step: Step, report: Json, capability: Capability, notes: list[str]) -> str:
    """With its PDF inline; where that is too large, as a Binary; where that is, too, without it, which is said."""
    try:
        return _write(record, step, report, capability)
    except TooLarge:
        if not any("data" in form for form in report.get("presentedForm", [])):
            raise
    page, attachment = page_apart(report["presentedForm"][0])
    report = {key: value for key, value in report.items() if key != "presentedForm"}
    try:
        where = write_page(record, page, page_url(identifier_of(report, REPORT_SYSTEM)), capability)
    except Permanent as error:
        notes.append(f"without its PDF, which the server refused: {error}")
    else:
        report["presentedForm"] = [attachment | {"url": f"{record.base}/{where}"}]
    return _write(record, step, report, capability)


def _line(plan: Plan, reference: str) -> str:
    (report,) = plan.of_kind(_REPORT)
    verb = "created" if report.old is None else "updated"
    return f"{reference} {verb} with {len(report.resource.get('result', []))} Observations"


def _told(provenance: Json) -> tuple[datetime | None, int]:
    """What tells the versions of a report apart: when it was made, and of how much it consists."""
    return _moment(provenance.get("recorded")), len(provenance.get("target", []))


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)
