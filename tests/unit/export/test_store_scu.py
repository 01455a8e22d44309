"""C-STORE to a peer that answers as PACS do, over real associations."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from pynetdicom import AE, DEFAULT_TRANSFER_SYNTAXES, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RQ, A_RELEASE_RQ, P_DATA_TF

from service.domain.errors import ConfigurationError, DentgateError, Permanent, Transient, Unavailable
from service.domain.result import Delivery, Result
from service.export.store_scu import StoreScu
from tests.builders import DX, as_bytes, destination_of, xray
from tests.faults.lines import Spoil, line_to
from tests.servers import free_port

ECHO = "1.2.840.10008.1.1"


def image(seed: str = "xray", kind: str = "sr") -> Result:
    """Any DICOM object serves as a result."""
    ds = xray(seed=seed)
    return Result(kind, str(ds.SOPInstanceUID), "application/dicom", as_bytes(ds))


def delivery(*results: Result) -> Delivery:
    """A first attempt."""
    return Delivery("1.2.3", 1, results or (image(),), 1)


@contextmanager
def pacs(
    answer: Callable[[evt.Event], int | Dataset] = lambda _: 0x0000,
    *contexts: str,
    called: bool = False,
    most: int = 10,
    more: Sequence[evt.EventHandlerType] = (),
) -> Iterator[StoreScu]:
    """The destination of a PACS that answers C-STORE as told."""
    ae = AE("PACS")
    ae.require_called_aet, ae.maximum_associations = called, most
    for context in contexts or (DX, ECHO):
        ae.add_supported_context(context, [*DEFAULT_TRANSFER_SYNTAXES, RLELossless])
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer), *more])
    assert server is not None
    try:
        yield StoreScu(
            destination_of(f"dicom://{'OTHER' if called else 'PACS'}@127.0.0.1:{server.server_address[1]}"), "DENTGATE"
        )
    finally:
        server.shutdown()
        server.server_close()


def test_stored() -> None:
    """Every object arrives whole over one association."""
    arrived = []

    def keep(event: evt.Event) -> int:
        arrived.append((event.assoc.native_id, event.dataset))
        return 0x0000

    with pacs(keep) as destination:
        line = destination.deliver(delivery(image("a"), image("b", "seg")))
    assert line.startswith("2 stored by PACS")
    assert len({association for association, _ in arrived}) == 1
    assert [ds.SOPInstanceUID for _, ds in arrived] == [xray(seed=seed).SOPInstanceUID for seed in "ab"]
    assert arrived[0][1].PixelData == xray(seed="a").PixelData


def test_each_transfer_syntax_has_its_own_context() -> None:
    """Two objects of one SOP class in different transfer syntaxes both arrive, each as it was encoded."""
    ds = xray(seed="b")
    other = Result("seg", str(ds.SOPInstanceUID), "application/dicom", as_bytes(ds, RLELossless))
    arrived = []

    def keep(event: evt.Event) -> int:
        arrived.append(event.context.transfer_syntax)
        return 0x0000

    with pacs(keep, DX) as destination:
        destination.deliver(delivery(image("a"), other))
    assert arrived == [ExplicitVRLittleEndian, RLELossless]


def answer_of(status: int, comment: str = "") -> Callable[[evt.Event], Dataset]:
    """A handler with one status for all."""
    ds = Dataset()
    ds.Status = status
    if comment:
        ds.ErrorComment = comment
    return lambda _: ds


@pytest.mark.parametrize(
    ("status", "words"),
    [(0x0111, "1 there already"), (0xB000, "warning sr: B000H"), (0xB006, "B006H elements discarded")],
)
def test_accepted_with_a_remark(status: int, words: str) -> None:
    """A duplicate is no failure, and a warning is kept for the reader."""
    with pacs(answer_of(status, "elements discarded" if status == 0xB006 else "")) as destination:
        assert words in destination.deliver(delivery())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, Transient),
        (0xA7FF, Transient),
        (0x0110, Transient),
        (0xA900, Permanent),
        (0xC001, Permanent),
        (0x0122, Permanent),
        (0x0124, Permanent),
    ],
)
def test_refused(status: int, error: type[DentgateError]) -> None:
    """Out of resources is tried again, a refusal for good is not; both in the PACS's own words."""
    with pacs(answer_of(status, "own words")) as destination, pytest.raises(error, match=f"{status:04X}H own words"):
        destination.deliver(delivery())


def test_one_refusal_does_not_keep_the_others_back() -> None:
    """All objects are tried before the refusal of one is raised."""
    seen = []

    def refuse_first(event: evt.Event) -> int:
        seen.append(event.dataset.SOPInstanceUID)
        return 0xC000 if len(seen) == 1 else 0x0000

    with pacs(refuse_first) as destination, pytest.raises(Permanent, match="C000H"):
        destination.deliver(delivery(image("a"), image("b")))
    assert len(seen) == 2


def test_sop_class_not_accepted() -> None:
    """A PACS that knows none of the SOP classes is named with what it refused, and not tried again."""
    with pacs(lambda _: 0, ECHO) as destination, pytest.raises(Permanent, match="Digital X-Ray Image Storage"):
        destination.deliver(delivery())


def test_one_sop_class_of_two_accepted() -> None:
    """What the PACS takes is stored although it takes not all; the other is a permanent refusal."""
    ds = xray(seed="b", sop_class="1.2.840.10008.5.1.4.1.1.7")
    other = Result("seg", str(ds.SOPInstanceUID), "application/dicom", as_bytes(ds))
    stored = []

    def keep(event: evt.Event) -> int:
        stored.append(event.dataset.SOPClassUID)
        return 0x0000

    with (
        pacs(keep) as destination,
        pytest.raises(Permanent, match="seg: 0122H does not accept Secondary Capture"),
    ):
        destination.deliver(delivery(other, image()))
    assert stored == [DX]


def test_rejected_association_is_transient() -> None:
    """A PACS that does not know us yet is tried again, and the message says what to look at."""
    with pacs(called=True) as destination, pytest.raises(Transient, match=r"rejects the association.*'DENTGATE'"):
        destination.deliver(delivery())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom forgets that socket
def test_dead_peer_is_transient() -> None:
    """A refused connection is Transient, for delivery and check."""
    destination = StoreScu(destination_of(f"dicom://PACS@127.0.0.1:{free_port()}"), "DENTGATE")
    with pytest.raises(Transient, match="cannot be reached"):
        destination.deliver(delivery())
    with pytest.raises(Transient, match="cannot be reached"):
        destination.check()


def test_unknown_host_is_transient() -> None:
    """A name that does not resolve (the name server may be down) is tried again."""
    with pytest.raises(Transient, match="cannot be reached"):
        StoreScu(destination_of("dicom://PACS@no-such-host.invalid:104"), "DENTGATE").deliver(delivery())


@pytest.mark.parametrize("content", [b"", b"x" * 200, b"\0" * 128 + b"DICM"])
def test_spoilt_result_is_permanent(content: bytes) -> None:
    """A stored result that is no DICOM object any more ends in a clear error before anything is sent."""
    with pytest.raises(Permanent, match="no DICOM object any more"):
        StoreScu(destination_of("dicom://PACS@127.0.0.1:1"), "DENTGATE").deliver(
            delivery(Result("sr", "1", "application/dicom", content))
        )


def test_cut_connection_is_transient() -> None:
    """A PACS that aborts in the middle of a C-STORE is tried again; it may be this object that it cannot take."""

    def abort(event: evt.Event) -> int:
        event.assoc.abort()
        return 0x0000

    with pacs(abort) as destination, pytest.raises(Transient, match="cut the connection") as caught:
        destination.deliver(delivery())
    assert not isinstance(caught.value, Unavailable)


def test_an_invalid_answer_is_transient() -> None:
    """An answer without a status is not taken for silence."""
    with pacs(more=[(evt.EVT_DIMSE_SENT, _without_status)]) as destination:
        with pytest.raises(Transient, match="its answer is not valid") as caught:
            destination.deliver(delivery())
        assert not isinstance(caught.value, Unavailable)


def _without_status(event: evt.Event) -> None:
    if isinstance(event.message, C_STORE_RSP):
        del event.message.command_set.Status


@pytest.mark.parametrize("after", [0, 1])
def test_silent_peer_is_transient(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """A PACS that does not answer in time is tried again; one that answered to another object before is not silent."""
    monkeypatch.setattr("service.export.dicom_peer._ANSWER_SECONDS", 0.5)
    answered: list[str] = []

    def sleep(event: evt.Event) -> int:
        if len(answered) == after:
            time.sleep(1.5)
        answered.append(event.dataset.SOPInstanceUID)
        return 0x0000

    with pacs(sleep) as destination, pytest.raises(Transient, match=r"did not answer .* within 0\.5 s") as caught:
        destination.deliver(delivery(image("a"), image("b")))
    assert isinstance(caught.value, Unavailable) == (after == 0)


@pytest.mark.parametrize(("after", "what"), [(3, "association"), (60, "association"), (230, "C-STORE")])
def test_half_an_answer_is_transient(monkeypatch: pytest.MonkeyPatch, after: int, what: str) -> None:
    """A line that swallows the second half of an answer, and stays open, is given up as quickly as a silent one."""
    monkeypatch.setattr("service.export.dicom_peer._ANSWER_SECONDS", 0.5)
    with pacs() as destination, line_to(destination.peer.port) as line:
        line.will(Spoil.HOLE, after, upstream=False)
        behind = StoreScu(destination_of(f"dicom://PACS@127.0.0.1:{line.port}"), "DENTGATE")
        began = time.monotonic()
        with pytest.raises(Transient, match=f"did not answer .*{what}"):
            behind.deliver(delivery())
        assert time.monotonic() - began < 4


def test_a_peer_that_reads_no_more_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PACS that stops reading in the middle of an object is given up; nothing waits for it to go on."""
    monkeypatch.setattr("service.export.dicom_peer._ANSWER_SECONDS", 0.5)
    given_up = threading.Event()

    def stop(event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            given_up.wait(8)

    ds = xray(np.zeros((4000, 4000), np.uint16))
    with pacs(more=[(evt.EVT_PDU_RECV, stop)]) as destination:
        began = time.monotonic()
        with pytest.raises(Transient, match="did not answer C-STORE of sr"):
            destination.deliver(delivery(Result("sr", str(ds.SOPInstanceUID), "application/dicom", as_bytes(ds))))
        seconds = time.monotonic() - began
        given_up.set()
    assert seconds < 6


def frozen(event: evt.Event) -> None:
    """A PACS that stands still, its connections too, when an association is to end."""
    if isinstance(event.pdu, A_RELEASE_RQ | A_ABORT_RQ):
        time.sleep(4)


def test_a_release_without_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is stored: a PACS that does not answer the release is left after a short time."""
    monkeypatch.setattr("service.export.dicom_peer._RELEASE_SECONDS", 0.3)
    with pacs(more=[(evt.EVT_PDU_RECV, frozen)]) as destination:
        began = time.monotonic()
        assert destination.deliver(delivery()).startswith("1 stored")
        assert time.monotonic() - began < 2


def test_a_failure_on_its_way_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception (a time limit of the worker) aborts the association, and goes on even if the PACS stands still."""
    heard = []

    def listen(event: evt.Event) -> None:
        heard.append(type(event.pdu))
        frozen(event)

    def fail(*_: object) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(Association, "send_c_store", fail)
    with pacs(more=[(evt.EVT_PDU_RECV, listen)]) as destination:
        began = time.monotonic()
        with pytest.raises(SoftTimeLimitExceeded):
            destination.deliver(delivery())
        assert time.monotonic() - began < 2
    assert heard == [A_ASSOCIATE_RQ, A_ABORT_RQ]


def test_report_is_no_object_for_a_pacs() -> None:
    """A FHIR report in the list of a PACS is a setting to mend, not a crash."""
    report = Result("report", "r", "application/fhir+json", b"{}")
    with pytest.raises(Permanent, match="takes no report"):
        StoreScu(destination_of("dicom://PACS@127.0.0.1:104"), "DENTGATE").deliver(delivery(report))


def test_check_is_an_echo() -> None:
    """The check asks by C-ECHO and stores nothing; what the PACS answers to that counts."""
    asked: list[str] = []
    statuses = iter((0x0000, 0x0122))

    def echo(_event: evt.Event) -> int:
        asked.append("C-ECHO")
        return next(statuses)

    def store(_event: evt.Event) -> int:
        asked.append("C-STORE")
        return 0x0000

    with pacs(store, more=[(evt.EVT_C_ECHO, echo)]) as destination:
        assert "answers C-ECHO" in destination.check()
        with pytest.raises(Permanent, match="answers C-ECHO with 0122H"):
            destination.check()
    assert asked == ["C-ECHO"] * 2


@pytest.mark.parametrize(
    "url",
    [
        "dicom://127.0.0.1:104",
        "dicom://PACS@",
        "dicom://PACS@host:99999",
        "dicom://SEVENTEEN_LETTERS@host",
        "dicom://A%5CB@h:1",
    ],
)
def test_url_lacks_a_part(url: str) -> None:
    """A URL without AE title, host or proper port is a wrong setting."""
    with pytest.raises(ConfigurationError, match="dicom://AET@host:port"):
        StoreScu(destination_of(url), "DENTGATE")
