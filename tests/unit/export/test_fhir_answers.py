"""What a FHIR server answers, and what becomes of the report then."""

import json
from typing import Any

import pytest

from service.domain.errors import Permanent, Transient
from service.domain.result import Delivery, Result
from service.export.fhir import FhirServer
from tests.builders import destination_of
from tests.fhir_script import OUTCOME, Answer, Script, delivery, fhir, posting, server


@pytest.mark.parametrize("status", [409, 412])
def test_conflict_is_read_again_once(status: int) -> None:
    """409 and 412: everything is asked and compared once more in the same attempt, then it is for a later one."""
    asked: list[tuple[str, str]] = []

    def script(method: str, path: str, _body: bytes) -> Answer | None:
        asked.append((method, path.partition("?")[0]))
        return fhir(OUTCOME, status, {"Retry-After": "5"}) if method == "POST" else None

    with server(script) as destination, pytest.raises(Transient, match=f"HTTP {status}") as raised:
        destination.deliver(delivery())
    assert raised.value.retry_after == 5
    assert asked.count(("POST", "/fhir")) == asked.count(("GET", "/fhir/DiagnosticReport")) == 2


@pytest.mark.parametrize(
    ("status", "issue", "split"),
    [
        (413, {}, True),
        (400, {"code": "too-costly"}, True),
        (400, {"details": {"text": "Transaction contains more update operations than allowed"}}, True),
        (422, {"diagnostics": "Bundle exceeds the maximum number of entries (25)"}, True),
        (400, {"details": {"text": "maximum cardinality of Observation.status exceeded"}}, False),
        (400, {"details": {"text": "unknown code"}}, False),
    ],
)
def test_limits_are_told_from_other_refusals(status: int, issue: dict[str, Any], split: bool) -> None:  # noqa: FBT001 - a parameter
    """413, or words that name a limit of the whole, make single requests; any other refusal stays what it is."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"} | issue]}
    posted = []

    def script(method: str, path: str, _body: bytes) -> Answer | None:
        if method != "POST":
            return None
        posted.append(path)
        if path == "/fhir":
            return fhir(outcome, status)
        return 201, {"Location": f"http://elsewhere{path}/7/_history/1"}, b""

    with server(script) as destination:
        if split:
            assert "DiagnosticReport/7 created" in destination.deliver(delivery())
            kinds = ["Device", "Observation", "DiagnosticReport", "Provenance"]
            assert posted == ["/fhir", *(f"/fhir/{kind}" for kind in kinds)]
        else:
            with pytest.raises(Permanent):
                destination.deliver(delivery())
            assert posted == ["/fhir"]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ((201, {"Location": "Device/7"}, b""), "Device/7"),
        ((201, {"Location": "http://x/fhir/Device/7/_history/2"}, b""), "Device/7"),
        (fhir({"resourceType": "Device", "id": "7"}, 201), "Device/7"),
        ((201, {}, b""), ""),
        (fhir({"resourceType": "OperationOutcome", "id": "7"}, 201), ""),
    ],
)
def test_where_it_was_put(answer: Answer, reference: str) -> None:
    """The place of what was created comes from Location or the body; a server that says neither is no success."""
    sent = []

    def script(method: str, path: str, body: bytes) -> Answer | None:
        if method != "POST":
            return None
        sent.append(json.loads(body))
        return answer if path.endswith("/Device") else (201, {"Location": f"{path[1:]}/8"}, b"")

    with server(script) as destination:
        single = FhirServer(destination_of(f"fhir+{destination._server.base}", form="single"), "DENTGATE")  # noqa: SLF001
        if reference:
            single.deliver(delivery())
            assert sent[1]["device"]["reference"] == reference
        else:
            with pytest.raises(Permanent, match="does not say where"):
                single.deliver(delivery())


def test_search_in_pages_is_not_believed() -> None:
    """A search that answers only its first page does not say that nothing else is there."""
    page = {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": "next", "url": "http://x/?page=2"}],
        "entry": [],
    }
    script: Script = lambda _m, path, _b: fhir(page) if "/DiagnosticReport" in path else None  # noqa: E731
    with server(script) as destination, pytest.raises(Permanent, match="more than one page"):
        destination.deliver(delivery())


@pytest.mark.parametrize("form", ["auto", "transaction"])
def test_server_without_capability_statement(form: str) -> None:
    """Without a statement the form must come from the settings."""
    script: Script = lambda _m, path, _b: fhir(OUTCOME, 404) if path.endswith("/metadata") else None  # noqa: E731
    with server(script) as destination:
        configured = FhirServer(destination_of(f"fhir+{destination._server.base}", form=form), "DENTGATE")  # noqa: SLF001
        if form == "auto":
            with pytest.raises(Permanent, match="GET /metadata: HTTP 404"):
                configured.deliver(delivery())
        else:
            assert "(transaction: the settings say so)" in configured.deliver(delivery())


def test_names_stay_out_of_messages() -> None:
    """What a server repeats of the patient's name is masked as well."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "diagnostics": "no Muster, Anna"}]}
    with server(posting(fhir(outcome, 400))) as destination, pytest.raises(Permanent) as raised:
        destination.deliver(delivery(PatientName="Muster^Anna"))
    assert "no ***, ***" in str(raised.value)


def test_wrong_shape_does_not_leave() -> None:
    """A report with an element of R5 is refused here, before anything of it is sent."""
    posts = []

    def keep(method: str, path: str, _body: bytes) -> None:
        posts.extend([path] if method == "POST" else [])

    good = delivery()
    content = good.results[0].content.replace(b'"conclusion":', b'"note":[{"text":"R5"}],"conclusion":', 1)
    wrong = Result("report", good.results[0].name, good.results[0].media_type, content)
    with server(keep) as destination, pytest.raises(Permanent, match="has not the shape of FHIR R4: note"):
        destination.deliver(Delivery(good.study_instance_uid, 1, [wrong], 1))
    assert posts == []
