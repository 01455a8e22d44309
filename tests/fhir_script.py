"""A FHIR server that answers as servers do on a bad day: a real HTTP server with answers by script."""

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any

from service.domain.result import Delivery
from service.export.fhir import FhirServer
from service.results import diagnostic_report
from tests.builders import analysis_of, destination_of, xray
from tests.http_peers import Reply, Request, serving
from tests.subjects import subject_of

Answer = tuple[int, dict[str, str], bytes]
Script = Callable[[str, str, bytes], Answer | None]
Heard = list[tuple[str, Message]]  # methods and headers
OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [
        {
            "severity": "error",
            "code": "value",
            "details": {"text": "unknown code for PROBE-1, born 1980-01-01"},
            "expression": ["Observation.code"],
        }
    ],
}


def fhir(resource: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """An answer with a resource."""
    return status, {"Content-Type": "application/fhir+json"} | (headers or {}), json.dumps(resource).encode()


def found(*resources: dict[str, Any]) -> Answer:
    """The answer to a search."""
    return fhir({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in resources]})


def patient(**more: object) -> dict[str, Any]:
    """The patient of the builders' images."""
    return {"resourceType": "Patient", "id": "p1", "identifier": [{"value": "PROBE-1"}], **more}


def stored(body: bytes) -> Answer:
    """The answer to a transaction that was taken."""
    entries = json.loads(body)["entry"]
    responses = [{"response": {"status": "201", "location": f"{e['resource']['resourceType']}/n1"}} for e in entries]
    return fhir({"resourceType": "Bundle", "type": "transaction-response", "entry": responses})


#: What a server says that takes transactions and lists no types of resources.
STATEMENT: dict[str, Any] = {
    "resourceType": "CapabilityStatement",
    "fhirVersion": "4.0.1",
    "rest": [{"mode": "server", "interaction": [{"code": "transaction"}]}],
}


def healthy(method: str, path: str, body: bytes) -> Answer:
    """A record with one patient and nothing else, that takes every transaction."""
    if path == "/fhir/metadata":
        return fhir(STATEMENT)
    if method == "POST":
        return stored(body)
    return found(patient()) if path.startswith("/fhir/Patient") else found()


@contextmanager
def server(script: Script = healthy, headers: Heard | None = None) -> Iterator[FhirServer]:
    """The destination of a server that answers by a script; None falls back to ``healthy``. Keeps what it heard."""

    def answer(request: Request) -> Reply:
        if headers is not None:
            headers.append((request.method, request.headers))
        asked = (request.method, request.path, request.body)
        status, said, content = script(*asked) or healthy(*asked)
        return Reply(status, content, said)

    with serving(answer) as url:
        yield FhirServer(destination_of(f"fhir+{url}/fhir"), "DENTGATE")


@functools.cache
def delivery(**attributes: object) -> Delivery:
    """The report of one tooth."""
    subject = subject_of(xray(**attributes), analysis_of(xray(), (36,)))  # type: ignore[arg-type]  # DICOM keywords
    return Delivery(subject.study_instance_uid, 1, diagnostic_report.write(subject), 1)


def posting(answer: Answer) -> Script:
    """A script that answers the transaction so, and everything else in good health."""
    return lambda method, _path, _body: answer if method == "POST" else None
