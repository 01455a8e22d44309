"""Requests to a FHIR R4 server: search by business identifier, create, update, transaction; answers are looked at.

What the server says (OperationOutcome) goes into the error: severity, code, details, expression.
"""

import json
import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from service.domain.errors import DentgateError, Permanent, Transient
from service.export.http import HttpServer
from service.export.transport import Answer

JSON = "application/fhir+json"
Json = dict[str, Any]
#: What reading an answer raises that is JSON, but nests lists and objects otherwise than FHIR does.
MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)
_SOME_IDENTIFIERS = 20  # in one search: about 4 kB of URL
_PATIENCE_SECONDS = 60.0  # some records take that long for a transaction of 60 entries
_CONFLICT = {409, 412}
_TOO_LARGE = 413
_LITERAL = re.compile(r"([A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?$")
#: A limit that a server names in words, for no status and no issue code stands for it alone. Seen in Medplum:
#: "Transaction contains more update operations than allowed", "... but has too many entries".
_LIMIT = re.compile(r"(too (many|large|big|long)|more [\w ]{0,40}than|exceed|limit|maxim)", re.IGNORECASE)
_LIMITED = re.compile(r"(entr(y|ies)|operation|bundle|transaction|resources|payload|body|size)", re.IGNORECASE)
_LIMIT_STATUS = {400, 422}


class Conflict(Transient):
    """Somebody else wrote at the same time (409, 412): read again and compare."""


class TooLarge(Permanent):
    """The server takes less at once (413, or an outcome that names a limit): split."""


class Record:
    """One server; every trouble is one of our errors, in which ``private`` words are masked."""

    def __init__(self, server: HttpServer, private: Sequence[str] = ()) -> None:
        """Connect at the first request."""
        self.base = server.base
        self._http = server.connect(private)

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._http.__exit__(kind, error, trace)

    def search(self, kind: str, system: str, value: str) -> list[Json]:
        """Resources that carry an identifier; answers of a server that ignored the parameter are filtered out."""
        return [
            resource
            for resource in self.query(kind, {"identifier": _token(system, value)})
            if any(
                each.get("value") == value and (not system or each.get("system") == system)
                for each in resource.get("identifier", [])
            )
        ]

    def by_value(self, kind: str, system: str, values: Sequence[str]) -> dict[str, Json]:
        """Business identifier -> resource, for those that the record has, asked for in a few requests.

        Where several carry one identifier, the one that is not entered in error.
        """
        found: dict[str, Json] = {}
        for start in range(0, len(values), _SOME_IDENTIFIERS):
            some = values[start : start + _SOME_IDENTIFIERS]
            tokens = ",".join(_token(system, value) for value in some)
            for resource in self.query(kind, {"identifier": tokens, "_count": "100"}):
                value = identifier_of(resource, system)
                if value in some and found.get(value, {}).get("status", "entered-in-error") == "entered-in-error":
                    found[value] = resource
        return found

    def query(self, kind: str, params: Mapping[str, str]) -> list[Json]:
        """What a search finds of a kind.

        Raises:
            Permanent: the server answers in pages, so not all is known; nothing that we search for is that frequent.
        """
        answer = self.request("GET", f"/{kind}", params=params)
        if any(link.get("relation") == "next" for link in answer.get("link", [])):
            message = f"the search for {kind} answers more than one page; does the server heed {', '.join(params)}?"
            raise Permanent(message)
        found = [entry.get("resource", {}) for entry in answer.get("entry", [])]
        return [resource for resource in found if resource.get("resourceType") == kind]

    def read(self, reference: str) -> Json:
        """A resource by its relative reference."""
        return self.request("GET", f"/{reference}")

    def create(self, resource: Json, if_none_exist: str = "") -> str:
        """The reference of what was created, or with ``if_none_exist`` ("identifier=...") of what was there.

        Raises:
            Permanent: the server does not say where it is.
        """
        headers = {"If-None-Exist": if_none_exist} if if_none_exist else {}
        what = f"POST /{resource['resourceType']}"
        answer = self._send("POST", f"/{resource['resourceType']}", resource, headers=headers)
        body = answer.json()
        made = (
            body.get("id") if isinstance(body, dict) and body.get("resourceType") == resource["resourceType"] else None
        )
        reference = _LITERAL.search(answer.location)
        if reference is None and not made:
            message = f"{what}: HTTP {answer.status}, but the server does not say where it put it"
            raise Permanent(message)
        return reference[1] if reference else f"{resource['resourceType']}/{made}"

    def put(self, resource: Json, version: str = "") -> str:
        """Replace, or with an id of our own choosing create; with a version only if that is still the newest."""
        headers = {"If-Match": f'W/"{version}"'} if version else {}
        self._send("PUT", f"/{name_of(resource)}", resource, headers=headers)
        return name_of(resource)

    def transaction(self, entries: Sequence[Json]) -> list[Json]:
        """The response to each entry, all of them good: some servers answer 200 with failures inside.

        Raises:
            TooLarge: more than the server takes at once.
            Permanent: refused, or stored as a document instead of done.
        """
        answer = self.request("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)})
        responses = [entry.get("response", {}) for entry in answer.get("entry", [])]
        if answer.get("type") != "transaction-response" or len(responses) != len(entries):
            message = "the server took the transaction as something else: its answer is no transaction-response to it"
            raise Permanent(message)
        for entry, response in zip(entries, responses, strict=True):
            status = str(response.get("status"))[:3]
            if not status.startswith("2"):
                what = f"{entry['request']['method']} {entry['resource']['resourceType']}"
                raise self._failure(what, int(status) if status.isdecimal() else 0, response.get("outcome"))
        return responses

    def request(
        self, method: str, path: str, body: Json | None = None, params: Mapping[str, str] | None = None
    ) -> Json:
        """The resource that the server answers.

        Raises:
            Transient: no connection, no answer in time, 408, 425, 429 or 5xx; ``Conflict`` of 409 and 412.
            Permanent: any other refusal, or an answer that is no FHIR resource; ``TooLarge`` of 413.
        """
        answer = self._send(method, path, body, params=params)
        resource = answer.json()
        if not isinstance(resource, dict) or "resourceType" not in resource:
            what = f"{method} {path or '/'}"
            message = f"{what} answers HTTP {answer.status} without a FHIR resource; is the base right?"
            raise Permanent(message)
        return resource

    def _send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        own = {"Accept": JSON, "Content-Type": JSON, "Prefer": "handling=strict, return=minimal"}
        if method == "GET":  # HAPI answers a search from a cache for a minute: we would not see what we sent just now
            own["Cache-Control"] = "no-cache"
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        answer = self._http.send(
            method,
            path,
            headers=own | dict(headers or {}),
            params=params,
            content=content,
            patience=_PATIENCE_SECONDS,
        )
        if not answer.is_success:
            what = f"{method} {path or '/'}"
            raise self._failure(what, answer.status, answer.json(), answer.retry_after)
        return answer

    def _failure(self, what: str, status: int, outcome: object, retry_after: float | None = None) -> DentgateError:
        """The error for a status, with the words of the OperationOutcome."""
        words = _words(outcome)
        error = self._http.failure(what, status, words, retry_after)
        if status in _CONFLICT:
            return Conflict(str(error), retry_after)
        limited = "too-costly" in words or (_LIMIT.search(words) and _LIMITED.search(words))
        if status == _TOO_LARGE or (status in _LIMIT_STATUS and limited):
            return TooLarge(str(error))
        return error


def identifier_of(resource: Json, system: str) -> str:
    """The value of a resource's identifier in a system, empty if it has none."""
    values = [each.get("value", "") for each in resource.get("identifier", []) if each.get("system") == system]
    return str(values[0]) if values else ""


def name_of(resource: Json) -> str:
    """The relative reference of a resource of the record."""
    return f"{resource['resourceType']}/{resource['id']}"


def version_of(resource: Json) -> str:
    """Its version, which the next update names; empty where the server keeps none."""
    return str(resource.get("meta", {}).get("versionId") or "")


def _token(system: str, value: str) -> str:
    return f"{_escaped(system)}|{_escaped(value)}" if system else _escaped(value)


def _escaped(text: str) -> str:
    return re.sub(r"([\\,|$])", r"\\\1", text)  # FHIR R4, 3.1.1.4.0.1: escaping in search parameters


def _words(outcome: object) -> str:
    issues = outcome.get("issue", []) if isinstance(outcome, dict) else []
    return "; ".join(_issue(issue) for issue in issues if isinstance(issue, dict))


def _issue(issue: Json) -> str:
    details = issue.get("details") or {}
    codings = details.get("coding") or []
    code = " ".join(str(coding.get("code") or "") for coding in codings)
    text = " ".join(part for part in (code, details.get("text") or issue.get("diagnostics") or "") if part)
    where = ", ".join(map(str, issue.get("expression") or issue.get("location") or []))
    return " ".join(
        str(part) for part in (issue.get("severity"), issue.get("code"), text, where and f"({where})") if part
    )
