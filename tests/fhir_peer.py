"""The real FHIR record as tests look at it, and a proxy before it that has bad days."""

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from service.domain.codes import REVISION_SYSTEM
from service.domain.finding import Finding
from service.domain.result import Delivery, Result
from service.domain.review import Entry, apply, signature_of
from service.export.fhir import FhirServer
from service.results import diagnostic_report
from tests.builders import ALGORITHM, analysis_of, destination_of, xray
from tests.http_peers import Reply, Request, serving
from tests.subjects import subject_of

Answer = tuple[int, dict[str, str], bytes]
#: Method, path with query, body, and what asks the real record -> the answer; None cuts the connection.
Script = Callable[[str, str, bytes, Callable[[], Answer]], Answer | None]
#: headers that the proxy hands on to the record, and back
_PASSED, _KEPT = {"content-type", "if-match", "if-none-exist", "prefer", "accept"}, {"content-type", "location", "etag"}


class Record:
    """A client of the record, for one patient and study of the test's own."""

    def __init__(self, client: httpx.Client, base: str, name: str) -> None:
        """Make the patient."""
        self._client, self.base = client, base
        self.name = f"P-{zlib.crc32(name.encode())}"  # what LO holds, and no word of an outcome
        self.destination = self.open()
        identifier = {"system": "urn:oid:1.2.3", "value": self.name}
        self.patient = self.post({"resourceType": "Patient", "identifier": [identifier], "birthDate": "1980-01-01"})

    def open(self, base: str = "", **keys: Any) -> FhirServer:  # noqa: ANN401 - any key of the settings
        """The destination, at another address or with keys of the settings."""
        return FhirServer(destination_of(f"fhir+{base or self.base}", **keys), "DENTGATE")

    def post(self, resource: Mapping[str, Any]) -> dict[str, Any]:
        """Create."""
        answer: dict[str, Any] = (
            self._client.post(f"/{resource['resourceType']}", json=resource).raise_for_status().json()
        )
        return answer

    def put(self, resource: Mapping[str, Any]) -> None:
        """Replace."""
        self._client.put(f"/{resource['resourceType']}/{resource['id']}", json=resource).raise_for_status()

    def delete(self, reference: str) -> None:
        """Delete."""
        self._client.delete(f"/{reference}").raise_for_status()

    def get(self, reference: str) -> dict[str, Any]:
        """Read."""
        answer: dict[str, Any] = self._client.get(f"/{reference}").raise_for_status().json()
        return answer

    def all(self, kind: str) -> list[dict[str, Any]]:
        """All of one type that belong to the patient."""
        answer = self._client.get(f"/{kind}", params={"_count": "1000"}).json()
        mine = f"Patient/{self.patient['id']}"
        found = [entry["resource"] for entry in answer.get("entry", [])]
        return [each for each in found if each.get("subject", {}).get("reference") == mine]

    def provenances(self) -> list[dict[str, Any]]:
        """Those that say how the patient's reports came about."""
        reports = {f"DiagnosticReport/{each['id']}" for each in self.all("DiagnosticReport")}
        answer = self._client.get("/Provenance", params={"_count": "1000"}).json()
        found = [entry["resource"] for entry in answer.get("entry", [])]
        return [each for each in found if reports & {target["reference"] for target in each["target"]}]

    def validate(self, resource: Mapping[str, Any]) -> list[str]:
        """What the validator finds wrong."""
        issues = self._client.post(f"/{resource['resourceType']}/$validate", json=resource).json()["issue"]
        return [str(issue) for issue in issues if issue["severity"] in {"error", "fatal"}]

    def delivery(
        self,
        *teeth: int,
        findings: tuple[Finding, ...] = (),
        revision: int = 1,
        version: str = "1.0.0",
        refused: str = "",
        review: Sequence[Entry] = (),
        **attributes: object,
    ) -> Delivery:
        """The report of one panoramic, as it stands after a review; ``attributes`` are DICOM keywords."""
        ds = xray(seed=self.name, **{"PatientID": self.name, "IssuerOfPatientID": "1.2.3"} | attributes)  # type: ignore[arg-type]  # DICOM keywords
        algorithm = dataclasses.replace(ALGORITHM, version=version)
        analysis = dataclasses.replace(analysis_of(ds, teeth, algorithm=algorithm), refused=refused)
        if findings or refused:
            looks_for = tuple(dict.fromkeys(finding.kind for finding in findings)) or ("filling",)
            analysis = dataclasses.replace(analysis, findings=(*analysis.findings, *findings), looks_for=looks_for)
        subject = subject_of(ds, *apply(str(ds.StudyInstanceUID), [analysis], review), revision=revision)
        sources = [dataclasses.replace(source, signature=signature_of(review)) for source in subject.sources]
        subject = dataclasses.replace(subject, sources=sources)
        return Delivery(subject.study_instance_uid, revision, diagnostic_report.write(subject), 1)

    def deliver(self, *teeth: int, **parts: Any) -> str:  # noqa: ANN401 - as ``delivery``
        """Deliver it."""
        return self.destination.deliver(self.delivery(*teeth, **parts))


def edited(delivery: Delivery, status: str, signature: int = 1) -> Delivery:
    """The delivery as a person's review leaves it: status on report and observations, number of the signature."""
    results = []
    for result in delivery.results:
        bundle = json.loads(result.content)
        for resource in (entry["resource"] for entry in bundle["entry"]):
            if resource["resourceType"] in {"DiagnosticReport", "Observation"}:
                resource["status"] = status
                resource["issued"] = f"2025-01-1{5 + signature}T10:30:00Z"
            if resource["resourceType"] == "Provenance":
                resource["recorded"] = f"2025-01-1{5 + signature}T10:30:00Z"
            for identifier in resource.get("identifier", []):
                if identifier["system"] == REVISION_SYSTEM:
                    identifier["value"] += f"/review/{signature}"
        results.append(Result(result.kind, result.name, result.media_type, json.dumps(bundle).encode()))
    return dataclasses.replace(delivery, results=results)


@contextmanager
def front(base: str, script: Script) -> Iterator[str]:
    """A proxy before a record; the value is its base URL."""
    upstream, _, path = base.partition("/fhir")
    with httpx.Client(trust_env=False, base_url=upstream, timeout=30) as client:

        def answer(request: Request) -> Reply | None:
            headers = {name: value for name, value in request.headers.items() if name.lower() in _PASSED}

            def forward() -> Answer:
                answer = client.request(request.method, request.path, content=request.body or None, headers=headers)
                said = {name: value for name, value in answer.headers.items() if name.lower() in _KEPT}
                return answer.status_code, said, answer.content

            scripted = script(request.method, request.path.removeprefix(f"/fhir{path}"), request.body, forward)
            if scripted is None:
                return None
            status, said, content = scripted
            return Reply(status, content, said)

        with serving(answer) as url:
            yield f"{url}/fhir{path}"


def offering(*, transaction: bool = True, **creates: bool) -> Script:
    """A script: the record says that it takes transactions or not, and creates these types or not."""

    def script(method: str, path: str, _body: bytes, forward: Callable[[], Answer]) -> Answer:
        status, headers, content = forward()
        if (method, path) != ("GET", "/metadata"):
            return status, headers, content
        statement = json.loads(content)
        rest = statement["rest"][0]
        rest["interaction"] = [{"code": "transaction"}] if transaction else []
        rest["resource"] = [each for each in rest["resource"] if creates.get(each["type"], True)]
        return status, headers, json.dumps(statement).encode()

    return script
