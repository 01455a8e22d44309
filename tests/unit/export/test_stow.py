"""STOW-RS to an archive that answers as archives do on a bad day: a real HTTP server with answers by script."""

import dataclasses
import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

from service.domain.errors import ConfigurationError, Permanent, Transient
from service.domain.result import DICOM_RESULTS, Delivery, Result
from service.domain.sent import ObjectAnswer
from service.export.stow import Stow
from tests.builders import as_bytes, destination_of, xray
from tests.http_peers import Reply, Request, reply, serving
from tests.servers import free_port

JSON = "application/dicom+json"


def result(number: int, kind: str = "sr", size: int = 0) -> Result:
    """A result; ``size``: bytes of its content at least."""
    ds = xray(seed=f"stow-{number}", PatientID="PROBE-1", PatientName="DOE^JANE")
    if size:
        ds.add_new(0x00420011, "OB", bytes(size))
    return Result(kind, str(ds.SOPInstanceUID), "application/dicom", as_bytes(ds))


def delivery_of(*results: Result, note: Callable[[ObjectAnswer], None] = lambda _: None) -> Delivery:
    """What goes to the archive."""
    return Delivery("1.2.3", 1, results, 1, note)


def sent_in(request: Request) -> list[bytes]:
    """The objects of a request (RFC 2387)."""
    assert request.headers.get_content_type() == "multipart/related"
    assert request.headers.get_param("type") == "application/dicom"
    boundary = f"--{request.headers.get_param('boundary')}".encode()
    first, *parts, last = (b"\r\n" + request.body).split(b"\r\n" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    heads_and_objects = [part.removeprefix(b"\r\n").split(b"\r\n\r\n", 1) for part in parts]
    assert {head for head, _ in heads_and_objects} == {b"Content-Type: application/dicom"}
    return [content for _, content in heads_and_objects]


def module(
    stored: Sequence[str] = (),
    failed: Sequence[tuple[str, int]] = (),
    warned: Sequence[tuple[str, int]] = (),
    others: Sequence[int] = (),
) -> dict[str, object]:
    """The Store Instances Response Module of PS3.18 Annex I in JSON."""

    def item(uid: str, tag: str = "", reason: int = 0) -> dict[str, object]:
        named: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}} if uid else {}
        return named | ({tag: {"vr": "US", "Value": [reason]}} if tag else {})

    there = [item(uid) for uid in stored] + [item(uid, "00081196", reason) for uid, reason in warned]
    refused = [item(uid, "00081197", reason) for uid, reason in failed]
    content: dict[str, object] = {"00081199": {"vr": "SQ", "Value": there}, "00081198": {"vr": "SQ", "Value": refused}}
    if others:
        content["0008119A"] = {"vr": "SQ", "Value": [item("", "00081197", reason) for reason in others]}
    return content


@contextmanager
def archive(*answers: Reply | Callable[[Request], Reply]) -> Iterator[tuple[Stow, list[Request]]]:
    """The destination of an archive that gives these answers in turn, the last one for ever; what it heard."""
    heard: list[Request] = []

    def script(request: Request) -> Reply:
        heard.append(request)
        answer = answers[min(len(heard), len(answers)) - 1]
        return answer(request) if callable(answer) else answer

    with serving(script) as url:
        yield Stow(destination_of(f"stow+{url}/dicom-web/"), "DENTGATE"), heard


def takes_all(request: Request) -> Reply:
    """An archive in good health."""
    uids = [str(pydicom.dcmread(pydicom.filebase.DicomBytesIO(each)).SOPInstanceUID) for each in sent_in(request)]
    return reply(module(uids), media_type=JSON)


ONE, TWO, THREE = result(1), result(2, "seg"), result(3, "pdf")


def test_one_request_for_a_delivery() -> None:
    """All objects go in one request, each as it is, with a length and without chunks."""
    with archive(takes_all) as (destination, heard):
        line = destination.deliver(delivery_of(ONE, TWO))
    assert line.startswith("2 stored by http://127.0.0.1:")
    (request,) = heard
    assert (request.method, request.path) == ("POST", "/dicom-web/studies")
    assert request.headers["Accept"] == JSON
    assert request.headers["Transfer-Encoding"] is None
    assert sent_in(request) == [ONE.content, TWO.content]


def test_what_was_said_to_each_object_is_kept() -> None:
    """202: the stored, the coerced and the refused object each keep their own status; the delivery fails for good."""
    said: list[ObjectAnswer] = []
    answer = reply(module([ONE.name], [(TWO.name, 0x0122)], [(THREE.name, 0xB007)]), 202, JSON)
    with archive(answer) as (destination, _), pytest.raises(Permanent, match=r"refuses seg: 0122H$"):
        destination.deliver(delivery_of(ONE, TWO, THREE, note=said.append))
    assert [(each.sop_instance_uid, each.status, each.stored) for each in said] == [
        (ONE.name, 0, True),
        (TWO.name, 0x0122, False),
        (THREE.name, 0xB007, True),
    ]
    assert said[0].sop_class_uid == str(xray().SOPClassUID)


def test_warnings_are_kept_in_the_line() -> None:
    """0xB000 and its family are told and no failure."""
    with archive(reply(module([ONE.name], warned=[(TWO.name, 0xB000)]), 202, JSON)) as (destination, _):
        assert destination.deliver(delivery_of(ONE, TWO)).endswith("; warning seg: B000H")


@pytest.mark.parametrize("reason", [0x0111, 0xB00E])
def test_an_object_that_is_there_already_is_success(reason: int) -> None:
    """Archives that keep the first version of an object refuse the second: for us that is success."""
    with archive(reply(module(failed=[(ONE.name, reason)]), 409, JSON)) as (destination, _):
        assert "1 there already" in destination.deliver(delivery_of(ONE))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (0xA700, Transient),
        (0xA7FF, Transient),
        (0x0110, Transient),
        (0xB00F, Transient),
        (0, Transient),
        (0xA900, Permanent),
        (0xC000, Permanent),
        (0xC122, Permanent),
        (0x0124, Permanent),
    ],
)
def test_reasons_of_refusal(reason: int, kind: type[Exception]) -> None:
    """Out of resources and processing failures pass, everything else does not."""
    with (
        archive(reply(module(failed=[(ONE.name, reason)]), 409, JSON)) as (destination, _),
        pytest.raises(kind, match="refuses sr: "),
    ):
        destination.deliver(delivery_of(ONE))


def test_a_reason_for_no_object_in_particular() -> None:
    """Other Failures Sequence: it holds for the objects of which nothing else is said."""
    with (
        archive(reply(module([ONE.name], others=[0xC000]), 202, JSON)) as (destination, _),
        pytest.raises(Permanent, match=r"refuses seg: C000H"),
    ):
        destination.deliver(delivery_of(ONE, TWO))


def test_objects_that_are_not_mentioned_are_not_believed() -> None:
    """200 without a word on an object is tried again, for sending it twice is harmless; what is known is kept."""
    said: list[ObjectAnswer] = []
    with (
        archive(reply(module([ONE.name]), media_type=JSON)) as (destination, _),
        pytest.raises(Transient, match=r"1 stored by .*; not a word on 1 other objects"),
    ):
        destination.deliver(delivery_of(ONE, TWO, note=said.append))
    assert [each.sop_instance_uid for each in said] == [ONE.name]


def test_not_mentioned_in_a_refusal_is_refused() -> None:
    """400 with an account that leaves an object out, as Orthanc 1.10 does for one that it cannot read."""
    with (
        archive(reply(module([ONE.name]), 400, JSON)) as (destination, _),
        pytest.raises(Permanent, match="refuses seg: C000H HTTP 400"),
    ):
        destination.deliver(delivery_of(ONE, TWO))


def test_too_large_is_split() -> None:
    """413: halves, until they fit; every object arrives once."""
    got: list[bytes] = []

    def at_most_two(request: Request) -> Reply:
        objects = sent_in(request)
        if len(objects) > 2:
            return Reply(413)
        got.extend(objects)
        return takes_all(request)

    results = [result(number) for number in range(5)]
    said: list[ObjectAnswer] = []
    with archive(at_most_two) as (destination, _):
        assert destination.deliver(delivery_of(*results, note=said.append)).startswith("5 stored")
    assert got == [each.content for each in results]
    assert [each.sop_instance_uid for each in said] == [each.name for each in results]


def test_one_object_that_is_too_large() -> None:
    """An object that alone is too large is told with its size; the others are stored all the same."""
    large = result(9, "seg", size=300_000)
    said: list[ObjectAnswer] = []

    def script(request: Request) -> Reply:
        return Reply(413) if len(request.body) > 300_000 else takes_all(request)

    with (
        archive(script) as (destination, _),
        pytest.raises(Permanent, match=r"refuses seg: 0213H HTTP 413: 0\.\d MB are more than the server takes; raise"),
    ):
        destination.deliver(delivery_of(ONE, large, note=said.append))
    assert [(each.kind, each.stored) for each in said] == [("sr", True), ("seg", False)]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            Reply(200, b"<NativeDicomModel/>", {"Content-Type": "application/dicom+xml"}),
            Permanent,
            "with application/dicom",
        ),
        (Reply(200), Permanent, "with no body instead of application/dicom"),
        (reply({"ok": True}), Permanent, "does not say what became of each object"),
        (Reply(409), Permanent, "HTTP 409 without a word"),
        (reply({"Message": "bad PROBE-1 JANE"}, 400), Permanent, r"HTTP 400 bad \*\*\* \*\*\*"),
        (Reply(400, b"<html>PROBE-1</html>", {"Content-Type": "text/html"}), Permanent, "HTTP 400$"),
        (Reply(400, b"no PROBE-1", {"Content-Type": "text/plain"}), Permanent, r"HTTP 400 no \*\*\*$"),
        (Reply(401), Permanent, "does not accept our login"),
        (Reply(403), Permanent, "its administrator must grant the right"),
        (Reply(404), Permanent, "HTTP 404"),
        (Reply(415), Permanent, "HTTP 415"),
        (Reply(429, headers={"Retry-After": "17"}), Transient, "HTTP 429"),
        (Reply(500), Transient, "HTTP 500"),
        (Reply(503, headers={"Retry-After": "17"}), Transient, "HTTP 503"),
        (Reply(507), Transient, "HTTP 507"),
    ],
)
def test_answers_on_a_bad_day(answer: Reply, kind: type[Permanent | Transient], words: str) -> None:
    """Each status is sorted by whether it passes, in the server's own words without patient data."""
    with archive(answer) as (destination, _), pytest.raises(kind, match=words) as raised:
        destination.deliver(delivery_of(ONE))
    if "Retry-After" in answer.headers:
        assert getattr(raised.value, "retry_after", None) == 17.0


@pytest.mark.parametrize(
    "body",
    [
        [],
        [1],
        {"00081199": 1},
        {"00081199": {"Value": 1}},
        {"00081199": {"Value": [1, {"00081155": 1}, {"00081155": {"Value": []}}]}},
        {"00081198": {"Value": [{"00081155": {"Value": [ONE.name]}, "00081197": {"Value": ["x"]}}]}},
        {"00081198": {"Value": [{"00081155": {"Value": [ONE.name]}, "00081197": {"Value": [1e400]}}]}},
    ],
)
def test_misshapen_accounts(body: object) -> None:
    """JSON that nests otherwise than DICOM does is never success and never a crash."""
    with archive(reply(body, media_type=JSON)) as (destination, _), pytest.raises((Permanent, Transient)):
        destination.deliver(delivery_of(ONE))


def test_account_in_a_list_is_understood() -> None:
    """Some archives wrap the one data set into a list, as in the answer to a search."""
    with archive(reply([module([ONE.name])], media_type=JSON)) as (destination, _):
        assert destination.deliver(delivery_of(ONE)).startswith("1 stored")


def test_a_large_object_is_not_copied() -> None:
    """Of 48 MB on their way at most 4 MB are in memory a second time."""
    large = result(7, "seg", size=48 << 20)
    received = []

    def script(request: Request) -> Reply:
        received.append(len(request.body))
        return reply(module([large.name]), media_type=JSON)

    # The server runs in this process: its own copy, made in one piece by http.server, is taken off.
    with archive(script) as (destination, _):
        tracemalloc.start()
        destination.deliver(delivery_of(large))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert received[0] > 48 << 20
    assert peak - received[0] < 4 << 20


def test_check_searches_for_nothing() -> None:
    """The check asks for a study that nobody has, and stores nothing."""
    with archive(reply([])) as (destination, heard):
        assert destination.check().endswith("answers searches")
    assert heard[0].path.startswith("/dicom-web/studies?StudyInstanceUID=2.25.")
    assert heard[0].method == "GET"
    with archive(Reply(204)) as (destination, _):
        assert destination.check().endswith("answers searches")
    with archive(Reply(405)) as (destination, _):
        assert "but no searches (HTTP 405)" in destination.check()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Reply(404), "is the base right"),
        (reply(["750051d4"]), "is it the base, without /studies"),
        (Reply(200, b"<html>"), "is it the base, without /studies"),
        (Reply(401), "does not accept our login"),
        (Reply(403), "its administrator must grant the right"),
    ],
)
def test_check_names_what_is_wrong(answer: Reply, words: str) -> None:
    """A wrong base, another kind of server and a refused login are told apart."""
    with archive(answer) as (destination, _), pytest.raises(Permanent, match=words):
        destination.check()


def test_only_dicom_is_taken() -> None:
    """A FHIR report in the list is a setting to mend; nothing to send is no request; damage is told."""
    destination = Stow(destination_of(f"stow+http://127.0.0.1:{free_port()}/"), "DENTGATE")
    report = Result("report", "x", "application/fhir+json", json.dumps({}).encode())
    with pytest.raises(Permanent, match="takes no report"):
        destination.deliver(delivery_of(report))
    with pytest.raises(Permanent, match="no DICOM object any more"):
        destination.deliver(delivery_of(dataclasses.replace(ONE, content=b"x" * 200)))
    assert destination.deliver(delivery_of()) == "nothing to store"
    with pytest.raises(Transient, match="no answer from the server"):
        destination.deliver(delivery_of(ONE))


def test_settings(tmp_path: Path) -> None:
    """Takes what a PACS takes by C-STORE, and sends the same by default."""
    assert Stow.takes == DICOM_RESULTS
    assert set(Stow.default_results) <= set(Stow.takes)
    login = {"auth": "basic", "username": "a", "password_file": str(tmp_path / "gone")}
    with pytest.raises(ConfigurationError, match="password_file"):
        Stow(destination_of("stow+https://h/dicom-web", **login), "DENTGATE")
