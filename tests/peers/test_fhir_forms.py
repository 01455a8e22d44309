"""The forms in which a record takes a report: transaction, single requests, document; chosen and fallen back to."""

import base64
import hashlib
import json
from collections.abc import Callable

import pytest

from service.domain.errors import Held, Permanent, Transient
from service.domain.tooth import PERMANENT, TEETH
from service.results import diagnostic_report
from tests.builders import uid_of
from tests.fhir_peer import Answer, Record, edited, front, offering

OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
KINDS = ("DiagnosticReport", "Observation", "DocumentReference")


def refusal(status: int) -> Answer:
    """An answer without success."""
    return status, {"Content-Type": "application/fhir+json"}, json.dumps(OUTCOME).encode()


def versions(record: Record) -> dict[str, str]:
    """Everything of the patient with its version."""
    kinds = [each for kind in KINDS for each in record.all(kind)] + record.provenances()
    return {f"{each['resourceType']}/{each['id']}": each["meta"]["versionId"] for each in kinds}


@pytest.mark.parametrize(
    ("lacking", "line", "kinds"),
    [
        ({}, "form transaction: the server offers transactions", {"DiagnosticReport": 1, "Observation": 2}),
        (
            {"transaction": False},
            "form single: the server offers no transactions",
            {"DiagnosticReport": 1, "Observation": 2},
        ),
        (
            {"DiagnosticReport": False},
            "form document: the server creates no DiagnosticReport",
            {"DocumentReference": 1},
        ),
        (
            {"transaction": False, "Observation": False, "Device": False},
            "it creates no Device, Observation, so reports go without",
            {"DiagnosticReport": 1},
        ),
        (
            {"Provenance": False, "Observation": False, "Device": False},
            "it creates no Device, Observation, Provenance, so reports go without",
            {"DiagnosticReport": 1},
        ),
    ],
)
def test_form_follows_the_capability_statement(
    record: Record, lacking: dict[str, bool], line: str, kinds: dict[str, int]
) -> None:
    """What the server says it can decides the form; check and answer say which and why; twice is once."""
    with front(record.base, offering(**lacking)) as base:
        destination = record.open(base)
        assert line in destination.check()
        answer = destination.deliver(record.delivery(36, 37))
        assert f"({line.partition('form ')[2] or ''}"[:10] in answer
        before = versions(record)
        assert "is there already" in destination.deliver(record.delivery(36, 37))
    assert versions(record) == before
    assert {kind: len(record.all(kind)) for kind in KINDS if record.all(kind)} == kinds
    for kind in KINDS:
        for resource in record.all(kind):
            assert record.validate(resource) == []
            assert "urn:uuid" not in json.dumps(resource)


def test_form_of_the_settings_wins(record: Record) -> None:
    """A form that the settings name is taken whatever the server says."""
    with front(record.base, offering(DiagnosticReport=False)) as base:
        assert "(single: the settings say so)" in record.open(base, form="single").deliver(record.delivery(36))
    assert len(record.all("DiagnosticReport")) == 1


def test_server_that_takes_nothing_is_named(record: Record) -> None:
    """A server that creates neither reports nor documents is told at the check, with what can be done."""
    with (
        front(record.base, offering(DiagnosticReport=False, DocumentReference=False)) as base,
        pytest.raises(Permanent, match=r"creates neither .*mllp"),
    ):
        record.open(base).check()


def test_single_requests_make_what_a_transaction_makes(record: Record) -> None:
    """Report, observations, device and Provenance refer to each other as after a transaction."""
    record.open(form="single").deliver(record.delivery(36, 46))
    (report,) = record.all("DiagnosticReport")
    observations = {f"Observation/{each['id']}": each for each in record.all("Observation")}
    assert {each["reference"] for each in report["result"]} == set(observations)
    (device,) = {each["device"]["reference"] for each in observations.values()}
    assert record.get(device)["resourceType"] == "Device"
    (provenance,) = record.provenances()
    assert len(provenance["target"]) == 3
    assert provenance["agent"][0]["who"]["reference"] == device


def test_single_requests_update(record: Record) -> None:
    """A later revision one by one: what stands is replaced, what went is entered in error, nothing is doubled."""
    destination = record.open(form="single")
    destination.deliver(record.delivery(36, 37))
    assert "updated with 2 Observations" in destination.deliver(record.delivery(36, 46, revision=2))
    standing = {each["bodySite"]["text"]: each["status"] for each in record.all("Observation")}
    assert standing == {"FDI 36": "preliminary", "FDI 37": "entered-in-error", "FDI 46": "preliminary"}
    destination.deliver(record.delivery(36, 37, 46, revision=3))
    standing = {each["bodySite"]["text"]: each["status"] for each in record.all("Observation")}
    assert standing == dict.fromkeys(("FDI 36", "FDI 37", "FDI 46"), "preliminary")
    assert len(record.all("DiagnosticReport")) == 1


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_single_requests_cut_anywhere_double_nothing(record: Record, lost: str) -> None:
    """Whichever write is lost, before it was done or only its answer, the next attempts end with everything once."""
    for cut in range(1, 6):
        writes = 0

        def script(
            method: str, _path: str, _body: bytes, forward: Callable[[], Answer], cut: int = cut
        ) -> Answer | None:
            nonlocal writes
            writes += method in {"POST", "PUT"}
            if method in {"POST", "PUT"} and writes == cut:
                if lost == "answer":
                    forward()
                return None
            return forward()

        delivery = record.delivery(36, 37, StudyInstanceUID=uid_of(lost, cut), version=f"{lost}.{cut}")
        with front(record.base, script) as base:
            destination = record.open(base, form="single")
            try:
                destination.deliver(delivery)
            except Transient:
                destination.deliver(delivery)
        key = delivery.results[0].name
        reports = [each for each in record.all("DiagnosticReport") if each["identifier"][0]["value"] == key]
        found = [each["identifier"][0]["value"] for each in record.all("Observation")]
        assert len(reports) == 1
        assert sorted(value for value in found if value.startswith(key)) == [f"{key}/FDI36", f"{key}/FDI37"]
        name = f"DiagnosticReport/{reports[0]['id']}"
        told = [each for each in record.provenances() if name in {target["reference"] for target in each["target"]}]
        assert len(told) == 1


@pytest.mark.parametrize("fault", [500, 503, None])
def test_transaction_done_but_its_answer_lost(record: Record, fault: int | None) -> None:
    """500 or a cut connection after the commit is unknown, not failed: the next attempt finds it and sends nothing."""

    def script(method: str, _path: str, _body: bytes, forward: Callable[[], Answer]) -> Answer | None:
        answer = forward()
        if method == "POST":
            return None if fault is None else refusal(fault)
        return answer

    with front(record.base, script) as base, pytest.raises(Transient):
        record.open(base).deliver(record.delivery(36))
    before = versions(record)
    assert "is there already" in record.deliver(36)
    assert versions(record) == before
    assert len(before) == 3


def test_transaction_not_done_is_done_later(record: Record) -> None:
    """500 before anything was done leaves the record empty; the next attempt fills it once."""
    with (
        front(record.base, lambda method, _p, _b, forward: refusal(500) if method == "POST" else forward()) as base,
        pytest.raises(Transient, match="HTTP 500 error exception"),
    ):
        record.open(base).deliver(record.delivery(36))
    assert versions(record) == {}
    assert "created" in record.deliver(36)


@pytest.mark.parametrize("largest", [160_000, 30_000])
def test_too_large_a_transaction_is_split(record: Record, largest: int) -> None:
    """413: one by one, its PDF as a Binary where the report with it is still too large."""

    def script(method: str, _path: str, body: bytes, forward: Callable[[], Answer]) -> Answer:
        binary = b'"resourceType": "Binary"' in body
        return refusal(413) if method in {"POST", "PUT"} and len(body) > largest and not binary else forward()

    with front(record.base, script) as base:
        answer = record.open(base).deliver(record.delivery(*PERMANENT))
    assert "one by one, for the server said: POST /: HTTP 413" in answer
    (report,) = record.all("DiagnosticReport")
    assert len(report["result"]) == len(record.all("Observation")) == 32
    form = report["presentedForm"][0]
    page = form if "data" in form else record.get(form["url"].removeprefix(f"{base}/"))
    assert ("url" in form) == (largest == 30_000)
    content = base64.b64decode(page["data"])
    assert len(content) == form["size"]
    assert base64.b64encode(hashlib.sha1(content).digest()).decode() == form["hash"]  # noqa: S324 - as FHIR has it


@pytest.mark.parametrize("form", ["transaction", "single"])
def test_large_pdf_is_a_binary_to_which_the_report_leads(
    record: Record, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PDF beyond what a report holds inline is a resource of its own, found from the report, also after an update."""
    monkeypatch.setattr(diagnostic_report, "_MOST_INLINE", 10_000)
    destination = record.open(form=form)
    for revision, teeth in enumerate([(36,), (36, 37)], start=1):
        delivery = record.delivery(*teeth, revision=revision)
        destination.deliver(delivery)
        (report,) = record.all("DiagnosticReport")
        (attachment,) = report["presentedForm"]
        page = record.get(attachment["url"].removeprefix(f"{record.base}/"))
        content = base64.b64decode(page["data"])
        assert content.startswith(b"%PDF")
        assert len(content) == attachment["size"]


def test_pdf_that_no_form_lets_in_is_left_out_and_named(record: Record) -> None:
    """Where even the Binary is too large the report goes without its PDF, and the answer says so."""

    def script(method: str, _path: str, body: bytes, forward: Callable[[], Answer]) -> Answer:
        return refusal(413) if method == "POST" and len(body) > 30_000 else forward()

    with front(record.base, script) as base:
        assert "without its PDF, which the server refused" in record.open(base).deliver(record.delivery(36))
    (report,) = record.all("DiagnosticReport")
    assert "presentedForm" not in report


def test_servers_own_limit_of_entries_is_split(record: Record) -> None:
    """Medplum takes 50 updates in a transaction: a later revision with more goes one by one."""
    record.deliver(*TEETH)
    answer = record.deliver(*TEETH, revision=2, version="2.0.0")
    assert "one by one" in answer
    assert "more update operations than allowed" in answer
    (report,) = record.all("DiagnosticReport")
    assert report["meta"]["versionId"] != "1"
    assert len(record.all("Observation")) == len(TEETH) == 52


def test_document_is_updated_and_keeps_its_place(record: Record) -> None:
    """A later revision replaces the document; docStatus follows the report, and a signed one is not written over."""
    destination = record.open(form="document")
    destination.deliver(record.delivery(36))
    (before,) = record.all("DocumentReference")
    assert before["docStatus"] == "preliminary"
    attachment = before["content"][0]["attachment"]
    assert base64.b64decode(attachment["data"]).startswith(b"%PDF")
    assert before["context"]["related"][0]["identifier"]["system"] == "urn:dicom:uid"
    assert "updated" in destination.deliver(record.delivery(36, 37, revision=2))
    assert "updated" in destination.deliver(edited(record.delivery(36, 37, revision=2), "final"))
    (after,) = record.all("DocumentReference")
    assert (after["id"], after["docStatus"]) == (before["id"], "final")
    with pytest.raises(Held, match="final"):
        destination.deliver(record.delivery(36, 37, 46, revision=3))
    destination.deliver(edited(record.delivery(36, revision=2), "entered-in-error", 2))
    (gone,) = record.all("DocumentReference")
    assert (gone["status"], gone["docStatus"]) == ("entered-in-error", "entered-in-error")


def test_too_large_a_document_goes_apart(record: Record) -> None:
    """A document whose PDF is too large inline names a Binary; the record's own ids are used where it allows that."""

    def script(method: str, _path: str, body: bytes, forward: Callable[[], Answer]) -> Answer:
        binary = b'"resourceType": "Binary"' in body
        return refusal(413) if method == "POST" and len(body) > 30_000 and not binary else forward()

    with front(record.base, script) as base:
        assert "its PDF as Binary/" in record.open(base, form="document").deliver(record.delivery(36))
        (document,) = record.all("DocumentReference")
        attachment = document["content"][0]["attachment"]
        page = record.get(attachment["url"].removeprefix(f"{base}/"))
    assert len(base64.b64decode(page["data"])) == attachment["size"]
