"""FHIR R4 server (an electronic record): the report in the form it takes, found again before it is sent again.

A conditional create is no safe guard (servers race, and limit such transactions), so each attempt first *asks*: is the
report there and in which version, who is the patient, which order, is the algorithm's Device known. Then it sends
plain POSTs, or for a later version PUTs with If-Match: as one transaction, one by one, or as a document.
"""

import json
from collections.abc import Sequence

from service.domain.codes import REPORT_SYSTEM
from service.domain.errors import DentgateError, Held, Permanent
from service.domain.result import Delivery, Result
from service.export.fhir_capability import NO_FHIR, Capability, Form, capability_of, choose
from service.export.fhir_document import document_of, send_document, withdraw_document
from service.export.fhir_matching import Matching, Rules
from service.export.fhir_plan import Plan, is_about, plan_of, withdrawal_of, without
from service.export.fhir_record import JSON, MISSHAPEN, Conflict, Json, Record, TooLarge, identifier_of, name_of
from service.export.fhir_sending import add_provenance, as_single, as_transaction, has_provenance
from service.export.fhir_versions import SAME, WITHDRAWN, standing, status_of
from service.export.http import HttpServer
from service.settings import DestinationSettings

#: Without these a report can still be sent: it says by itself what they would say.
_DISPENSABLE = ("Device", "Binary", "Observation", "Provenance")
_UNKNOWN = Capability("", transaction=True, creates=None, chooses_ids=frozenset())


class FhirServer:
    """A FHIR R4 record. Creates no patient unless told to: none or several matches are for a person to decide."""

    takes: tuple[str, ...] = ("report",)
    default_results: tuple[str, ...] = takes

    def __init__(self, entry: DestinationSettings, calling_ae: str) -> None:
        """Take address and rules from the settings; nothing is opened yet.

        Args:
            entry: its url is ``fhir+http(s)://host[:port]/base``.
            calling_ae: not used, FHIR knows no AE titles.

        Raises:
            ConfigurationError: no host, a wrong port, a query, or a login or file that cannot be used.
        """
        del calling_ae
        self._server = HttpServer(entry, "fhir")
        self._rules = Rules(entry.patient_systems, entry.order_systems, entry.create_patient)
        self._form, self._dicomweb_url = entry.form, entry.dicomweb_url

    def deliver(self, delivery: Delivery) -> str:
        """See Destination. One report that is held or refused does not keep the others of its study back."""
        lines: list[str] = []
        refusals: list[DentgateError] = []
        for result in delivery.results:
            try:
                lines.append(self._deliver(result))
            except (Held, Permanent) as error:
                refusals.append(error)
        if refusals:
            message = "; ".join([*dict.fromkeys(map(str, refusals)), *lines])
            undecided = any(isinstance(error, Held) for error in refusals)  # a person can still bring it further
            raise (Held if undecided else Permanent)(message) from refusals[0]
        return "; ".join(lines) or "nothing to send"

    def check(self) -> str:
        """See Destination: reads the CapabilityStatement, and says in which form reports will go."""
        with Record(self._server) as record:
            capability = capability_of(record)
        form, why = choose(capability, self._form)
        lacking = [] if form is Form.DOCUMENT else [kind for kind in _DISPENSABLE if not capability.takes(kind)]
        left_out = f"; it creates no {', '.join(lacking)}, so reports go without" if lacking else ""
        return f"FHIR {capability.version}, form {form}: {why}{left_out}"

    def _deliver(self, result: Result) -> str:
        if result.media_type != JSON:
            message = f"a FHIR server takes no {result.kind}; take it out of `results` of this destination"
            raise Permanent(message)
        entries: list[Json] = json.loads(result.content)["entry"]
        try:
            return self._send(entries)
        except MISSHAPEN as error:
            raise Permanent(NO_FHIR) from error

    def _send(self, entries: Sequence[Json]) -> str:
        """409 and 412 are read again and compared once, then for a later attempt."""
        with Record(self._server, _private(_report_of(entries))) as record:
            capability = self._capability(record)
            form, why = choose(capability, self._form)
            sending = _Sending(record, capability, self._rules, self._dicomweb_url)
            try:
                line = sending.send(entries, form)
            except Conflict:  # somebody wrote between our reading and writing: what stands there now decides
                line = sending.send(entries, form)
        return f"{line} ({form}: {why})"

    def _capability(self, record: Record) -> Capability:
        try:
            return capability_of(record)
        except Permanent:
            if self._form == "auto":
                raise
            return _UNKNOWN


class _Sending:
    """One report on its way to one record."""

    def __init__(self, record: Record, capability: Capability, rules: Rules, dicomweb_url: str) -> None:
        self._record, self._capability, self._dicomweb_url = record, capability, dicomweb_url
        self._matching = Matching(record, rules)

    def send(self, entries: Sequence[Json], form: Form) -> str:
        """Ask, compare, write.

        Returns:
            One line on what became of the report.
        """
        report = _report_of(entries)
        kind = "DocumentReference" if form is Form.DOCUMENT else "DiagnosticReport"
        there = _only(self._record.search(kind, REPORT_SYSTEM, identifier_of(report, REPORT_SYSTEM)))
        if there is None and status_of(report) == WITHDRAWN:
            return "the report is not in the record, so there is nothing to withdraw"
        if form is not Form.DOCUMENT:
            entries = without(entries, [kind for kind in _DISPENSABLE if not self._capability.takes(kind)])
        words = "" if there is None else standing(there, report)
        if there is not None and words:
            return f"{name_of(there)} {words}{self._finished(entries, there, form) if words == SAME else ''}"
        if form is Form.DOCUMENT:
            return self._send_document(entries, there)
        return self._write(self._plan(entries, there), form)

    def _finished(self, entries: Sequence[Json], there: Json, form: Form) -> str:
        """What a run that was cut off between the report and its Provenance did not get to."""
        ours = next((e["resource"] for e in entries if e["resource"]["resourceType"] == "Provenance"), None)
        if form is Form.DOCUMENT or ours is None or status_of(there) == WITHDRAWN:
            return ""
        if has_provenance(self._record, name_of(there), ours):
            return ""
        add_provenance(self._record, self._plan(entries, there))
        return ", its Provenance was added"

    def _plan(self, entries: Sequence[Json], there: Json | None) -> Plan:
        report = _report_of(entries)
        if there is not None and status_of(report) == WITHDRAWN:
            return withdrawal_of(self._record, entries, there)
        patient = self._matching.patient(report["subject"])
        entries = self._matching.placed(entries, patient, self._dicomweb_url)
        return plan_of(self._record, entries, there, patient, self._matching.devices(entries))

    def _write(self, plan: Plan, form: Form) -> str:
        if form is Form.SINGLE:
            return as_single(self._record, plan, self._capability)
        try:
            return as_transaction(self._record, plan)
        except TooLarge as error:
            return f"{as_single(self._record, plan, self._capability)}, one by one, for the server said: {error}"

    def _send_document(self, entries: Sequence[Json], there: Json | None) -> str:
        report = _report_of(entries)
        if there is not None and status_of(report) == WITHDRAWN:
            return withdraw_document(self._record, report, there)
        patient = self._matching.patient(report["subject"])
        if there is not None and not is_about(there, patient):
            message = "the document in the record belongs to another patient than the study now says"
            raise Held(message)
        document = document_of(self._matching.placed(entries, patient, ""), patient)
        return send_document(self._record, document, there, self._capability)


def _report_of(entries: Sequence[Json]) -> Json:
    return next(e["resource"] for e in entries if e["resource"]["resourceType"] == "DiagnosticReport")


def _only(found: Sequence[Json]) -> Json | None:
    if len(found) > 1:
        message = f"{len(found)} reports with the identifier of this one are in the record; a person must keep one"
        raise Held(message)
    return found[0] if found else None


def _private(report: Json) -> tuple[str, ...]:
    """What the server might repeat and nobody may read in a message."""
    identifiers = [reference.get("identifier", {}) for reference in (report["subject"], *report.get("basedOn", []))]
    said = report["subject"].get("extension", [])
    names = [extension.get("valueHumanName", {}) for extension in said]
    words = [*(each.get("value") for each in identifiers), *(extension.get("valueDate") for extension in said)]
    words += [word for name in names for word in (name.get("family"), *name.get("given", []))]
    return tuple(word for word in words if word)
