"""A report to a FHIR server: what is asked and sent, and whose patient it is."""

import email.utils
import json
import time
from datetime import timedelta
from typing import Any

import pytest

from service import clock
from service.domain.errors import ConfigurationError, DentgateError, Held, Permanent, Transient
from service.domain.result import Delivery, Result
from service.export.fhir import FhirServer
from tests.builders import destination_of
from tests.fhir_script import OUTCOME, Answer, Heard, Script, delivery, fhir, found, patient, posting, server
from tests.servers import free_port


def test_one_transaction_with_the_records_own_patient() -> None:
    """What is sent names the record's patient, goes to the base URL, and carries no PatientID, birth date or sex."""
    sent = []

    def keep(method: str, path: str, body: bytes) -> None:
        if method == "POST":
            sent.append((path, body))

    with server(keep) as destination:
        line = destination.deliver(delivery())
    assert line == "DiagnosticReport/n1 created with 1 Observations (transaction: the server offers transactions)"
    ((path, body),) = sent
    assert path == "/fhir"
    assert b"PROBE-1" not in body
    assert b"1980" not in body
    subjects = [e["resource"]["subject"] for e in json.loads(body)["entry"] if "subject" in e["resource"]]
    assert subjects == [{"reference": "Patient/p1"}] * 2


def test_a_search_asks_for_what_is_there_now() -> None:
    """No GET may be answered from a cache: HAPI repeats a search's answer for a minute, and we would send twice."""
    heard: Heard = []
    with server(headers=heard) as destination:
        destination.deliver(delivery())
    assert [headers["Cache-Control"] for method, headers in heard if method == "GET"] == ["no-cache"] * 7
    assert [headers["Cache-Control"] for method, headers in heard if method == "POST"] == [None]


@pytest.mark.parametrize(
    ("status", "error"),
    [(s, Permanent) for s in (400, 401, 403, 404, 405, 413, 422)]
    + [(s, Transient) for s in (408, 409, 412, 429, 500, 502, 503, 504)],
)
def test_refusal(status: int, error: type[DentgateError]) -> None:
    """A status is final or not by the table of the delivery rules, in the server's words, without patient data."""
    with server(posting(fhir(OUTCOME, status))) as destination, pytest.raises(error) as raised:
        destination.deliver(delivery())
    message = str(raised.value)
    assert f"HTTP {status} error value unknown code for ***, born *** (Observation.code)" in message
    assert "PROBE-1" not in message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("in 300 s", 300.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("9" * 5000, None),
        ("-3", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    """The server's wish, in seconds or as a date, goes with the error; nonsense is no wish."""
    if header == "in 300 s":  # made here: a date from collection time would be old by now
        header = email.utils.format_datetime(clock.now() + timedelta(seconds=300), usegmt=False)
    answer = fhir(OUTCOME, 503, {"Retry-After": header})
    with server(posting(answer)) as destination, pytest.raises(Transient) as raised:
        destination.deliver(delivery())
    assert raised.value.retry_after == pytest.approx(seconds, abs=60)


def test_no_patient_is_held() -> None:
    """Nobody with that PatientID: a person must decide; no patient is made, and the message holds no patient data."""
    posts = []

    def nobody(method: str, path: str, _body: bytes) -> Answer | None:
        posts.extend([path] if method == "POST" else [])
        return found() if "/Patient" in path else None

    with (
        server(nobody) as destination,
        pytest.raises(Held, match="no patient matches the PatientID of the study") as raised,
    ):
        destination.deliver(delivery())
    assert "PROBE-1" not in str(raised.value)
    assert posts == []


@pytest.mark.parametrize(
    ("people", "words"),
    [
        ([patient(), patient(id="p2")], "2 patients match"),
        ([patient(birthDate="1981-01-01")], "born on another day"),
        ([patient(birthDate="1981")], "born on another day"),
        ([patient(gender="male")], "another sex"),
        ([patient(active=False)], "no patient matches"),
        ([patient(identifier=[{"value": "OTHER"}])], "no patient matches"),
    ],
)
def test_wrong_patient_is_held(people: list[dict[str, Any]], words: str) -> None:
    """Several, contradicting, retired or unasked-for patients (of a server that ignores the search) are no match."""
    script: Script = lambda _m, path, _b: found(*people) if "/Patient" in path else None  # noqa: E731 - short enough
    with server(script) as destination, pytest.raises(Held, match=words):
        destination.deliver(delivery(PatientSex="F"))


@pytest.mark.parametrize("more", [{"birthDate": "1980"}, {"birthDate": "1980-01-01", "gender": "female"}, {}])
def test_agreeing_patient(more: dict[str, Any]) -> None:
    """A patient that says the same, or less, is the one."""
    script: Script = lambda _m, path, _b: found(patient(**more)) if "/Patient" in path else None  # noqa: E731
    with server(script) as destination:
        assert "created" in destination.deliver(delivery(PatientSex="F"))


def test_study_without_patient_id_is_held() -> None:
    """Without PatientID nobody is asked for."""
    asked: list[str] = []

    def note(_method: str, path: str, _body: bytes) -> Answer | None:
        asked.append(path)
        return None

    with server(note) as destination, pytest.raises(Held, match="no PatientID"):
        destination.deliver(delivery(PatientID=""))
    assert asked
    assert not [path for path in asked if "/Patient" in path]


def test_patient_is_searched_by_system_and_value() -> None:
    """An issuer of the study, or else the setting, makes the search precise; the bar between is escaped in the URL."""
    asked = []

    def note(_method: str, path: str, _body: bytes) -> Answer | None:
        asked.append(path)
        if "/Patient" not in path:
            return None
        return found(patient(identifier=[{"system": s, "value": "P,1"} for s in ("urn:oid:1.2.3", "urn:x")]))

    with server(note) as destination:
        url = destination._server.base  # noqa: SLF001 - the port that the server took
        configured = FhirServer(destination_of(f"fhir+{url}", patient_systems={"*": "urn:x"}), "DENTGATE")
        destination.deliver(delivery(PatientID="P,1", IssuerOfPatientID="1.2.3"))
        configured.deliver(delivery(PatientID="P,1"))
    assert [path.partition("?")[2] for path in asked if "/Patient" in path] == [
        "identifier=urn%3Aoid%3A1.2.3%7CP%5C%2C1",
        "identifier=urn%3Ax%7CP%5C%2C1",
    ]


def test_failure_inside_a_good_answer() -> None:
    """Every entry of the answer is looked at: 200 with a failed entry is no success."""

    def half(method: str, _path: str, body: bytes) -> Answer | None:
        if method != "POST":
            return None
        entries: list[Any] = [{"response": {"status": "201"}} for _ in json.loads(body)["entry"]]
        entries[1] = {"response": {"status": "422 Unprocessable", "outcome": OUTCOME}}
        return fhir({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    with server(half) as destination, pytest.raises(Permanent, match="POST Observation: HTTP 422 error value"):
        destination.deliver(delivery())


@pytest.mark.parametrize(
    "entry",
    [5, ["x"], [{"resource": None}], [{"resource": {"resourceType": "Patient", "identifier": "PROBE-1"}}], {"a": 1}],
)
def test_misshapen_search(entry: object) -> None:
    """JSON that nests otherwise than FHIR is a clear error, not a crash."""
    answer = fhir({"resourceType": "Bundle", "entry": entry})
    with server(lambda *_: answer) as destination, pytest.raises((Permanent, Held)):
        destination.deliver(delivery())


def test_deeply_nested_answer() -> None:
    """An answer nested beyond what a parser bears is a clear error, too."""
    deep = b'{"resourceType":' + b"[" * 200_000
    with server(posting((200, {}, deep))) as destination, pytest.raises(Permanent, match="without a FHIR resource"):
        destination.deliver(delivery())


@pytest.mark.parametrize(
    "answer",
    [
        fhir({"resourceType": "Bundle", "type": "transaction", "id": "kept-as-it-is"}),
        fhir({"resourceType": "Bundle", "type": "transaction-response", "entry": []}),
        fhir({"resourceType": "OperationOutcome", "issue": []}),
        fhir([]),
        (200, {"Content-Type": "text/html"}, b"<html>sign in</html>"),
        (200, {}, b""),
        (200, {}, b"\xff\xfe{"),
        (302, {"Location": "http://127.0.0.1/"}, b""),
    ],
)
def test_answer_that_is_none(answer: Answer) -> None:
    """A server that stores the bundle as a document, a sign-in page or garbage is not taken for a success."""
    with server(posting(answer)) as destination, pytest.raises(Permanent):
        destination.deliver(delivery())


def test_dead_and_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection and an answer that does not come are Transient."""
    with pytest.raises(Transient, match="no answer"):
        FhirServer(destination_of(f"fhir+http://127.0.0.1:{free_port()}/fhir"), "DENTGATE").deliver(delivery())
    monkeypatch.setattr("service.export.fhir_record._PATIENCE_SECONDS", 0.2)

    def sleep(_method: str, _path: str, _body: bytes) -> None:
        time.sleep(0.5)

    with server(sleep) as destination, pytest.raises(Transient, match=r"no answer.*Timeout"):
        destination.deliver(delivery())


def test_endless_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond all measure is cut off."""
    monkeypatch.setattr("service.export.transport._MAX_ANSWER", 1000)
    with server(posting((200, {}, b" " * 2000))) as destination, pytest.raises(Permanent, match="more than 1000 bytes"):
        destination.deliver(delivery())


def test_only_reports_are_taken() -> None:
    """An SR in the list of a FHIR server is a setting to mend, not a crash."""
    sr = Result("sr", "1.2.3", "application/dicom", b"")
    with server() as destination, pytest.raises(Permanent, match="takes no sr"):
        destination.deliver(Delivery("1.2.3", 1, [sr], 1))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ({"resourceType": "Patient"}, "not with a CapabilityStatement"),
        ({"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}, "speaks FHIR 5.0.0"),
        ({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": 7}, "without the shape"),
    ],
)
def test_check_finds_the_wrong_server(statement: dict[str, Any], words: str) -> None:
    """A server of another kind or version is named at the check."""
    with server(lambda *_: fhir(statement)) as destination, pytest.raises(Permanent, match=words):
        destination.check()


def test_check_without_transactions() -> None:
    """The check says when a server takes no transactions."""
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [{"mode": "server"}]}
    with server(lambda *_: fhir(statement)) as destination:
        assert destination.check() == "FHIR 4.0.1, form single: the server offers no transactions"


@pytest.mark.parametrize(
    "url", ["fhir+http://", "fhir+http:///fhir", "fhir+http://host:0/", "fhir+http://h:99999/", "fhir+https://h/?x=1"]
)
def test_wrong_url(url: str) -> None:
    """A URL without host, with a wrong port or a query is a wrong setting."""
    with pytest.raises(ConfigurationError, match="write the url as fhir"):
        FhirServer(destination_of(url), "DENTGATE")
