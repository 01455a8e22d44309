"""FHIR R4 server (an electronic record): the report as one transaction, found again before it is sent again.

A conditional create is no safe guard (servers race, and limit such transactions), so each attempt first *asks*: is the
report there, who is the patient, is the algorithm's Device known. Then it sends plain POSTs, or for a later revision
PUTs with If-Match, as one transaction: all of it or nothing.
"""

import copy
import email.utils
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import httpx

from service import clock
from service.domain.codes import BIRTH_DATE_EXTENSION, REPORT_SYSTEM, REVISION_SYSTEM, SEX_EXTENSION
from service.domain.errors import ConfigurationError, DentgateError, Held, Permanent, Transient
from service.domain.result import Delivery, Result

_JSON = "application/fhir+json"
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MAX_ANSWER = 16 * 2**20
_MAX_WORDS = 500
_TRANSIENT = {408, 409, 412, 425, 429}  # and all of 5xx: the next attempt asks anew before it sends
_UNREAD = {"registered", "partial", "preliminary"}  # nobody has taken responsibility: the AI may replace its own words
#: What reading an answer raises that is JSON, but nests lists and objects otherwise than FHIR does.
_MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)
_NO_FHIR = "the server's answer is JSON without the shape of FHIR R4; is the base of the destination url right?"
_Json = dict[str, Any]


class FhirServer:
    """A FHIR R4 record. Never creates a patient: none or several matches are for a person to decide."""

    takes: tuple[str, ...] = ("report",)
    default_results: tuple[str, ...] = takes

    def __init__(self, url: str, calling_ae: str) -> None:
        """Take the base address from the URL; nothing is opened yet.

        Args:
            url: ``fhir+http(s)://host[:port]/base``; ``?patient-system=URI`` names the identifier system of the
                record's patients, used where the study does not name the issuer of its PatientID by an OID.
            calling_ae: not used, FHIR knows no AE titles.

        Raises:
            ConfigurationError: no host, a wrong port or an unknown parameter.
        """
        del calling_ae
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query))
        self._patient_system = parameters.pop("patient-system", "")
        try:
            sound = bool(parts.hostname) and parts.port != 0 and not parameters
        except ValueError:
            sound = False
        if not sound:
            message = "write a FHIR destination url as fhir+http(s)://host[:port]/base[?patient-system=URI]"
            raise ConfigurationError(message)
        self._base = f"{parts.scheme.removeprefix('fhir+')}://{parts.netloc}{parts.path.rstrip('/')}"

    def deliver(self, delivery: Delivery) -> str:
        """See Destination. 409 and 412 are Transient: the next attempt reads anew and compares."""
        try:
            return "; ".join(self._deliver(result) for result in delivery.results) or "nothing to send"
        except _MISSHAPEN as error:
            raise Permanent(_NO_FHIR) from error

    def check(self) -> str:
        """See Destination: reads the CapabilityStatement."""
        with _Connection(self._base) as peer:
            statement = peer.request("GET", "/metadata")
        if statement.get("resourceType") != "CapabilityStatement":
            message = "the address answers, but not with a CapabilityStatement; is it the base of a FHIR server?"
            raise Permanent(message)
        version = str(statement.get("fhirVersion"))
        if not version.startswith("4."):
            message = f"the server speaks FHIR {version}, reports are FHIR 4"
            raise Permanent(message)
        try:
            codes = {each.get("code") for rest in statement.get("rest", []) for each in rest.get("interaction", [])}
        except _MISSHAPEN as error:
            raise Permanent(_NO_FHIR) from error
        return f"FHIR {version}, transaction {'yes' if 'transaction' in codes else 'no'}"

    def _deliver(self, result: Result) -> str:
        if result.media_type != _JSON:
            message = f"a FHIR server takes no {result.kind}; take it out of `results` of this destination"
            raise Permanent(message)
        entries: list[_Json] = json.loads(result.content)["entry"]
        report = next(e["resource"] for e in entries if e["resource"]["resourceType"] == "DiagnosticReport")
        with _Connection(self._base, _private(report)) as peer:
            there = _only(peer.search("DiagnosticReport", REPORT_SYSTEM, _identifier(report, REPORT_SYSTEM)))
            if there is not None and (done := _standing(there, report)):
                return f"{_name(there)} {done}"
            patient = self._patient(peer, report["subject"])
            urls = _known_devices(peer, entries)
            entries = [entry for entry in entries if entry["fullUrl"] not in urls]
            if there is not None:
                entries = _as_update(peer, entries, there, patient, urls)
            return _transact(peer, _rewritten(entries, urls, patient), report)

    def _patient(self, peer: "_Connection", subject: _Json) -> str:
        """Reference of the one patient that the study means; compares birth date and sex where both sides know them."""
        identifier = subject.get("identifier", {})
        if not identifier.get("value"):
            message = "the study has no PatientID; give it one and send it again, or enter the report by hand"
            raise Held(message)
        system = identifier.get("system") or self._patient_system
        found = [p for p in peer.search("Patient", system, identifier["value"]) if p.get("active") is not False]
        if len(found) != 1:
            who = "no patient matches" if not found else f"{len(found)} patients match"
            message = f"{who} the PatientID of the study; mend it in the record or in the study, then deliver again"
            raise Held(message)
        known = {extension["url"]: extension for extension in subject.get("extension", [])}
        born, sex = (known.get(url, {}) for url in (BIRTH_DATE_EXTENSION, SEX_EXTENSION))
        if not _agree(born.get("valueDate", ""), str(found[0].get("birthDate") or "")):
            message = "the patient with the PatientID of the study was born on another day than the study says"
            raise Held(message)
        sexes = {sex.get("valueCode"), found[0].get("gender")}
        if sexes == {"male", "female"}:
            message = "the patient with the PatientID of the study has another sex than the study says"
            raise Held(message)
        return _name(found[0])


class _Connection:
    """HTTP to one server; answers are JSON or one of our errors, in which ``private`` words are masked."""

    def __init__(self, base: str, private: Sequence[str] = ()) -> None:
        """Connect at the first request.

        The proxy variables of the environment are not read (settings are the one door to it); certificates are
        checked against the machine's own trust store, where hospitals put theirs.
        """
        self.base = base
        self._private = private
        self._http = httpx.Client(timeout=_TIMEOUT, trust_env=False, verify=ssl.create_default_context())

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._http.close()

    def search(self, kind: str, system: str, value: str) -> list[_Json]:
        """Resources that carry an identifier; answers of a server that ignored the parameter are filtered out."""
        token = f"{_escaped(system)}|{_escaped(value)}" if system else _escaped(value)
        answer = self.request("GET", f"/{kind}", params={"identifier": token})
        found = [entry.get("resource", {}) for entry in answer.get("entry", [])]
        return [
            resource
            for resource in found
            if resource.get("resourceType") == kind
            and any(
                each.get("value") == value and (not system or each.get("system") == system)
                for each in resource.get("identifier", [])
            )
        ]

    def request(
        self, method: str, path: str, body: _Json | None = None, params: Mapping[str, str] | None = None
    ) -> _Json:
        """The resource that the server answers.

        Raises:
            Transient: no connection, no answer in time, 408, 409, 412, 425, 429 or 5xx.
            Permanent: any other refusal, or an answer that is no FHIR resource.
        """
        headers = {"Accept": _JSON, "Content-Type": _JSON, "Prefer": "handling=strict, return=minimal"}
        if method == "GET":  # HAPI answers a search from a cache for a minute: we would not see what we sent just now
            headers["Cache-Control"] = "no-cache"
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            with self._http.stream(
                method, self.base + path, content=content, params=params, headers=headers
            ) as response:
                raw = _bounded(response)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            message = f"no answer from the FHIR server: {type(error).__name__} {self.masked(str(error))}"
            raise Transient(message) from error
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError):
            answer = None
        what = f"{method} {path or '/'}"
        if not response.is_success:
            raise self.failure(what, response.status_code, answer, response.headers.get("Retry-After"))
        if not isinstance(answer, dict) or "resourceType" not in answer:
            message = f"{what} answers HTTP {response.status_code} without a FHIR resource; is the base right?"
            raise Permanent(message)
        return answer

    def failure(self, what: str, status: int, outcome: object, retry_after: str | None = None) -> DentgateError:
        """The error for a status, with the words of the OperationOutcome."""
        message = f"{what}: HTTP {status} {self.masked(_words(outcome))}".rstrip()
        if status in _TRANSIENT or status >= 500:  # noqa: PLR2004 - the family of server errors
            return Transient(message, _seconds(retry_after))
        return Permanent(message)

    def masked(self, text: str) -> str:
        """One line of at most 500 characters without patient data: a server likes to repeat what it was sent."""
        for word in self._private:
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "***", text)
        return " ".join(text.split())[:_MAX_WORDS]


def _bounded(response: httpx.Response) -> bytes:
    raw = bytearray()
    for chunk in response.iter_bytes():
        raw += chunk
        if len(raw) > _MAX_ANSWER:
            message = f"the FHIR server answers more than {_MAX_ANSWER} bytes"
            raise Permanent(message)
    return bytes(raw)


def _words(outcome: object) -> str:
    issues = outcome.get("issue", []) if isinstance(outcome, dict) else []
    return "; ".join(_issue(issue) for issue in issues if isinstance(issue, dict))


def _issue(issue: _Json) -> str:
    details = issue.get("details") or {}
    text = details.get("text") or issue.get("diagnostics") or ""
    where = ", ".join(map(str, issue.get("expression") or issue.get("location") or []))
    return " ".join(
        str(part) for part in (issue.get("severity"), issue.get("code"), text, where and f"({where})") if part
    )


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After as seconds from now (RFC 9110 10.2.3: seconds or an HTTP date); None if absent or not understood."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max((moment - clock.now()).total_seconds(), 0.0)


def _private(report: _Json) -> tuple[str, ...]:
    """What the server might repeat and nobody may read in a message."""
    identifiers = [reference.get("identifier", {}) for reference in (report["subject"], *report.get("basedOn", []))]
    dates = [extension.get("valueDate") for extension in report["subject"].get("extension", [])]
    return tuple(word for word in (*(identifier.get("value") for identifier in identifiers), *dates) if word)


def _standing(there: _Json, report: _Json) -> str:
    """Why nothing needs to be sent, empty if the report there is to be replaced. Raises Held if a person read it."""
    ours, theirs = _identifier(report, REVISION_SYSTEM), _identifier(there, REVISION_SYSTEM)
    if ours == theirs:
        return "is there already"
    if _age(there, theirs) > _age(report, ours):
        return "is there already in a newer revision"
    if there.get("status") not in _UNREAD:
        message = f"the report in the record is {there.get('status')}; a dentist must decide on the newer AI result"
        raise Held(message)
    return ""


def _age(report: _Json, revision: str) -> tuple[int, datetime]:
    number = revision.partition("/")[0]
    try:
        issued = datetime.fromisoformat(str(report.get("issued")))
    except ValueError:
        issued = datetime.fromtimestamp(0, UTC)
    return int(number) if number.isdecimal() else 0, issued.replace(tzinfo=issued.tzinfo or UTC)


def _known_devices(peer: _Connection, entries: Sequence[_Json]) -> dict[str, str]:
    """By fullUrl the reference of every Device that the record has: one algorithm is one Device there."""
    urls = {}
    for entry in entries:
        resource = entry["resource"]
        if resource["resourceType"] == "Device":
            identifier = resource["identifier"][0]
            found = peer.search("Device", identifier["system"], identifier["value"])
            if found:
                urls[entry["fullUrl"]] = _name(found[0])
    return urls


def _as_update(
    peer: _Connection, entries: Sequence[_Json], there: _Json, patient: str, urls: dict[str, str]
) -> list[_Json]:
    """The transaction that turns the report there into ours: what stands is replaced, what went is entered-in-error."""
    if not str(there.get("subject", {}).get("reference", "")).endswith(patient):
        message = "the report in the record belongs to another patient than the study now says"
        raise Held(message)
    standing = _standing_observations(peer, there)
    update = []
    for entry in copy.deepcopy(list(entries)):
        resource = entry["resource"]
        old = there if resource["resourceType"] == "DiagnosticReport" else None
        if resource["resourceType"] == "Observation":
            old = standing.pop(resource["identifier"][0]["value"], None)
        elif resource["resourceType"] == "Provenance":
            resource["activity"]["coding"][0] |= {"code": "UPDATE", "display": "revise"}
        if old is not None:
            urls[entry["fullUrl"]] = _name(old)
            entry = _put(peer, resource, old)  # noqa: PLW2901 - the same entry in another form
        update.append(entry)
    return update + [_put(peer, old | {"status": "entered-in-error"}, old) for old in standing.values()]


def _standing_observations(peer: _Connection, there: _Json) -> dict[str, _Json]:
    """The observations of a report by our identifier. Raises Held if a person has made one theirs."""
    observations = {}
    for result in there.get("result", []):
        reference = str(result.get("reference", "")).removeprefix(f"{peer.base}/")
        if re.fullmatch(r"Observation/[A-Za-z0-9.-]{1,64}", reference):
            observation = peer.request("GET", f"/{reference}")
            if observation.get("status") not in _UNREAD:
                status = observation.get("status")
                message = f"a finding in the record is {status}; a dentist must decide on the newer AI result"
                raise Held(message)
            observations[observation.get("identifier", [{}])[0].get("value", reference)] = observation
    return observations


def _put(peer: _Connection, resource: _Json, old: _Json) -> _Json:
    request = {"method": "PUT", "url": _name(old)}
    version = old.get("meta", {}).get("versionId")
    if version:
        request["ifMatch"] = f'W/"{version}"'
    return {"fullUrl": f"{peer.base}/{_name(old)}", "resource": resource | {"id": old["id"]}, "request": request}


def _transact(peer: _Connection, entries: Sequence[_Json], report: _Json) -> str:
    """Send, and look at every entry of the answer: some servers answer 200 with failures inside."""
    answer = peer.request("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)})
    responses = [entry.get("response", {}) for entry in answer.get("entry", [])]
    if answer.get("type") != "transaction-response" or len(responses) != len(entries):
        message = "the server took the transaction as something else: its answer is no transaction-response to it"
        raise Permanent(message)
    for entry, response in zip(entries, responses, strict=True):
        status = str(response.get("status"))[:3]
        if not status.startswith("2"):
            what = f"{entry['request']['method']} {entry['resource']['resourceType']}"
            raise peer.failure(what, int(status) if status.isdecimal() else 0, response.get("outcome"))
    place = next(i for i, entry in enumerate(entries) if entry["resource"]["resourceType"] == "DiagnosticReport")
    verb = "updated" if entries[place]["request"]["method"] == "PUT" else "created"
    named = re.search(r"DiagnosticReport(/[A-Za-z0-9.-]{1,64})?", str(responses[place].get("location")))
    where = named[0] if named else entries[place]["request"]["url"]
    return f"{where} {verb} with {len(report.get('result', []))} Observations"


def _rewritten(node: Any, urls: Mapping[str, str], patient: str) -> Any:  # noqa: ANN401 - any JSON
    """The same JSON with the record's patient as subject and known references in place of our own."""
    if isinstance(node, list):
        return [_rewritten(item, urls, patient) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {"reference": patient}
        if key == "subject"
        else urls.get(value, value)
        if key == "reference" and isinstance(value, str)
        else _rewritten(value, urls, patient)
        for key, value in node.items()
    }


def _only(found: Sequence[_Json]) -> _Json | None:
    if len(found) > 1:
        message = f"{len(found)} reports with the identifier of this one are in the record; a person must keep one"
        raise Held(message)
    return found[0] if found else None


def _agree(ours: str, theirs: str) -> bool:
    """Whether two dates say the same as far as both go (FHIR allows 1980 and 1980-01)."""
    return all(a == b for a, b in zip(ours.split("-"), theirs.split("-"), strict=False)) or not (ours and theirs)


def _identifier(resource: _Json, system: str) -> str:
    values = [each.get("value", "") for each in resource.get("identifier", []) if each.get("system") == system]
    return str(values[0]) if values else ""


def _name(resource: _Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _escaped(text: str) -> str:
    return re.sub(r"([\\,|$])", r"\\\1", text)  # FHIR R4, 3.1.1.4.0.1: escaping in search parameters
