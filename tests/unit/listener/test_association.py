"""Associations: who may come, how they are negotiated, what happens when a peer breaks the rules."""

import logging
import socket
import struct
import threading

import pytest
from pydicom.uid import UID
from pynetdicom import AE, evt

from service.domain.errors import ConfigurationError
from service.settings import SourceSettings, load_settings
from tests.gateway import ROOT
from tests.unit.listener.conftest import Gateway, Start
from tests.unit.listener.raw_scu import (
    COMMAND,
    DX,
    EXPLICIT,
    IMPLICIT,
    LAST,
    RELEASE,
    VERIFICATION,
    RawScu,
    command,
    connect,
    encode,
    image,
    pdu,
    pdv,
    request,
)

ECHO = ((VERIFICATION, (IMPLICIT,)),)


def ending(connection: socket.socket) -> tuple[int, bytes]:
    """Type and body of what the listener sends before it closes, (0, b"") if it closes silently."""
    received = b""
    try:
        while part := connection.recv(4096):
            received += part
    except ConnectionResetError:
        pass
    connection.close()
    return (received[0], received[6:]) if received else (0, b"")


def rejection(port: int, **names: str) -> tuple[int, ...]:
    """Result, source and reason of the rejection of an association."""
    with pytest.raises(ConnectionRefusedError) as caught, RawScu(port, ECHO, **names):
        pass
    kind, body = caught.value.args
    assert kind == 3
    return tuple(body[1:])


def alive(gateway: Gateway) -> bool:
    """True if a neighbour is served."""
    with RawScu(gateway.port, ECHO) as scu:
        return scu.echo() == 0 and scu.release() == 6


def test_an_echo_from_pynetdicom_is_answered(gateway: Gateway) -> None:
    """C-ECHO, twice on one association, then a release; pynetdicom finds nothing to complain about."""
    ae = AE("ECHO")
    ae.add_requested_context(VERIFICATION)
    aborted: list[object] = []
    association = ae.associate("127.0.0.1", gateway.port, evt_handlers=[(evt.EVT_ABORTED, aborted.append)])
    assert association.is_established
    assert [association.send_c_echo().Status for _ in range(2)] == [0, 0]
    association.release()
    assert association.is_released
    assert not aborted
    assert association.acceptor.implementation_version_name == "DENTGATE"


def test_each_context_gets_its_own_result(gateway: Gateway) -> None:
    """Unknown class 3, unknown transfer syntax 4, otherwise the first syntax of the sender that is known."""
    contexts = [
        ("1.2.3.4.5", [EXPLICIT]),
        (DX, ["1.2.3.4.6"]),
        (DX, ["1.2.3.4.6", "1.2.840.10008.1.2.4.70", EXPLICIT]),
        ("1.2.840.10008.5.1.4.1.2.2.1", [EXPLICIT]),  # Query/Retrieve is not ours
        (DX, [EXPLICIT, "1.2.840.10008.1.2.4.70"]),
    ]
    with RawScu(gateway.port, contexts) as scu:
        assert [scu.results[number][0] for number in (1, 3, 5, 7, 9)] == [3, 4, 0, 3, 0]
        assert (scu.results[5][1], scu.results[9][1]) == ("1.2.840.10008.1.2.4.70", EXPLICIT)
        assert scu.max_pdu == 131072


def test_an_object_in_a_context_that_was_not_accepted_ends_the_association(gateway: Gateway) -> None:
    """An abort, not a crash; nothing is stored."""
    with RawScu(gateway.port, [("1.2.3.4.5", [EXPLICIT])]) as scu:
        scu.send(pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3"))))
        assert scu.receive()[0] == 7
    assert not gateway.files()


def test_identity_and_extended_negotiation_are_ignored_politely(gateway: Gateway) -> None:
    """A peer that offers user identity, roles and asynchronous operations is served all the same."""
    from pynetdicom.pdu_primitives import (  # noqa: PLC0415 - only here
        AsynchronousOperationsWindowNegotiation,
        SCP_SCU_RoleSelectionNegotiation,
        SOPClassExtendedNegotiation,
        UserIdentityNegotiation,
    )

    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.positive_response_requested = 1, b"ida", True
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = UID(VERIFICATION), True, True
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = UID(VERIFICATION), b"\2"
    ae = AE("ECHO")
    ae.add_requested_context(VERIFICATION)
    association = ae.associate("127.0.0.1", gateway.port, ext_neg=[identity, role, window, extended])
    assert association.send_c_echo().Status == 0
    association.release()


def test_another_operation_is_answered_with_unrecognized(gateway: Gateway) -> None:
    """C-FIND and N-ACTION get 0211H, with or without a data set; a cancel gets no answer; the association lives."""
    with RawScu(gateway.port) as scu:
        scu.send(pdu(pdv(1, COMMAND | LAST, command(0x20, message_id=3))), pdu(pdv(1, LAST, encode(image()))))
        answer = scu.answer()
        assert (answer.status, answer.values[0x100]) == (0x0211, b"\x20\x80")
        scu.send(pdu(pdv(1, COMMAND | LAST, command(0x0130, data=False))))
        assert scu.answer().status == 0x0211
        scu.send(pdu(pdv(1, COMMAND | LAST, command(0x0FFF, data=False))))
        assert scu.send_image(image()).status == 0
        assert scu.release() == 6


def test_a_store_that_contradicts_itself_is_refused(gateway: Gateway) -> None:
    """Another SOP class than the context's is 0122H, no data set is C000H."""
    with RawScu(gateway.port) as scu:
        assert scu.store(encode(image()), "1.2.3", sop_class=VERIFICATION).status == 0x0122
        scu.send(pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3", data=False))))
        assert scu.answer().status == 0xC000
    assert not gateway.files()


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80),  # TLS ClientHello
        b"\x00" * 200,
        b"\xff" * 200,
        RELEASE,
        b"\x01\x00\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\x00\x10" + bytes(16),
        b"\x01\x00\x00\x00\x01\x00" + bytes(256),
        request(ECHO)[:-30] + b"\xff" * 30,
        b"\x04\x00\x00\x00\x00\x06" + bytes(6),
    ],
)
def test_bytes_that_are_no_request_are_aborted(gateway: Gateway, junk: bytes) -> None:
    """HTTP, TLS, zeros, a request with a damaged inside or a length of 4 GB: an abort, and the next is served."""
    with connect(gateway.port) as connection:
        connection.sendall(junk)
        assert ending(connection)[0] == 7
    assert alive(gateway)


@pytest.mark.parametrize(
    "junk",
    [
        b"\x04\x00\xff\xff\xff\xff",  # 4 GB, never allocated
        pdu(b"\x00\x00\x00\x00\x01\x03"),  # PDV of no length
        pdu(b"\x00\x00\x10\x00\x01\x03"),  # PDV longer than its PDU
        pdu(b"\x00\x00\x00"),
        pdu(pdv(99, 3, command(0x30, sop_class=VERIFICATION, data=False))),  # no such context
        pdu(pdv(1, 2, b"data")),  # data without a command
        pdu(pdv(1, 3, b"\x00\x00\x02\x00\xff\xff\xff\x7f1.2")),  # command element longer than the command
        pdu(pdv(1, 3, b"")),
        pdu(pdv(1, 3, b"\x00\x00")),
        pdu(pdv(1, 3, command(1, data=True)), pdv(1, 3, command(1, data=True))),  # a command within a data set
        pdu(*(pdv(1, 1, bytes(30000)) for _ in range(4))),  # a command that does not end
        b"\x02\x00\x00\x00\x00\x02\x00\x00",
        b"\x99\x00\x00\x00\x00\x02\x00\x00",
        request(ECHO),
    ],
)
def test_a_broken_pdu_is_aborted(gateway: Gateway, junk: bytes) -> None:
    """Whatever is wrong within an association ends this one with an abort and no other."""
    with RawScu(gateway.port, ECHO) as neighbour, RawScu(gateway.port, ECHO) as scu:
        scu.send(junk)
        kind, body = ending(scu.connection)
        assert (kind, body[2]) == (7, 2)
        assert neighbour.echo() == 0
    assert not gateway.files()


def test_a_sender_that_falls_silent_is_aborted(start: Start) -> None:
    """After network_timeout, in the middle of an object too; nothing of it is kept."""
    gateway = start(network_timeout=0.3)
    with RawScu(gateway.port, ECHO) as idle, RawScu(gateway.port) as scu:
        scu.send(pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3"))), pdu(pdv(1, 0, b"\x08\x00")))
        assert (scu.receive()[0], idle.receive()[0]) == (7, 7)
    assert gateway.settle(lambda: not gateway.files())


def test_a_request_that_never_ends_is_aborted(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte now and then does not hold a place: the whole request has one deadline."""
    monkeypatch.setattr("service.listener.association.ARTIM_SECONDS", 0.4)
    gateway = start()
    with connect(gateway.port) as connection:
        answered = threading.Thread(target=lambda: results.append(ending(connection)[0]))
        results: list[int] = []
        answered.start()
        for byte in request(ECHO)[:12]:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            threading.Event().wait(0.05)
        answered.join()
        assert results == [7]


def test_half_a_pdu_and_a_hang_up_leave_nothing(gateway: Gateway) -> None:
    """At every place where a connection can break."""
    stream = pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3.1.1.1"))) + pdu(pdv(1, LAST, encode(image())))
    for cut in (0, 3, 6, 9, 12, 60, len(stream) - 700, len(stream) - 1):
        with RawScu(gateway.port) as scu:
            scu.send(stream[:cut])
    assert gateway.settle(lambda: not gateway.listener._open())  # noqa: SLF001 - all threads have ended
    assert not gateway.files()
    assert not gateway.ledger.rows
    assert alive(gateway)


def test_one_too_many_is_rejected_as_transient_and_let_in_later(start: Start) -> None:
    """Local limit exceeded (2, 3, 2); when a place is free the next one gets it."""
    gateway = start(max_associations=2)
    with RawScu(gateway.port, ECHO) as first, RawScu(gateway.port, ECHO) as second:
        assert rejection(gateway.port) == (2, 3, 2)
        assert (first.echo(), second.echo()) == (0, 0)
        first.release()
        gateway.settle(lambda: len(gateway.listener._open()) < 2)  # noqa: SLF001 - the place is free
        assert alive(gateway)


def test_connections_without_end_do_not_stop_the_listener(start: Start) -> None:
    """Silent connections beyond the limit are closed; associations that stand go on."""
    gateway = start(max_associations=1)
    with RawScu(gateway.port, ECHO) as scu:
        idle = [connect(gateway.port) for _ in range(40)]
        assert scu.echo() == 0
        for connection in idle:
            connection.close()


@pytest.mark.parametrize(
    ("calling", "hosts", "welcome"),
    [
        ("PANO1", (), True),
        ("PANO1", ("127.0.0.1",), True),
        ("PANO1", ("10.0.0.7", "127.0.0.0/8"), True),
        ("PANO1", ("localhost",), True),
        ("PANO1", ("10.0.0.7",), False),
        ("pano1", (), False),
        ("OTHER", (), False),
    ],
)
def test_only_sources_are_let_in(start: Start, calling: str, hosts: tuple[str, ...], welcome: bool) -> None:  # noqa: FBT001
    """Title and address must both be those of a source; else calling AE title not recognized (1, 1, 3)."""
    gateway = start(sources=[SourceSettings(ae_title="PANO1", hosts=hosts)], accept_any_calling_ae=False)
    if welcome:
        with RawScu(gateway.port, ECHO, calling=calling) as scu:
            assert scu.echo() == 0
    else:
        assert rejection(gateway.port, calling=calling) == (1, 1, 3)


def test_hosts_of_a_source_hold_although_any_title_is_accepted(start: Start) -> None:
    """Who names the hosts of a device wants its title from nowhere else; titles without hosts come from anywhere."""
    sources = [
        SourceSettings(ae_title="PANO1", hosts=("10.0.0.7",)),
        SourceSettings(ae_title="PANO2", hosts=("127.0.0.1",)),
        SourceSettings(ae_title="PANO3"),
    ]
    gateway = start(sources=sources, accept_any_calling_ae=True)
    assert rejection(gateway.port, calling="PANO1") == (1, 1, 3)
    for calling in ("PANO2", "PANO3", "OTHER"):
        with RawScu(gateway.port, ECHO, calling=calling) as scu:
            assert scu.echo() == 0


def test_the_test_of_the_readme_passes_with_the_example(start: Start) -> None:
    """Who copies the example may call from this machine with dcmtk's own titles; its device is bound to its address."""
    example = load_settings(ROOT / "deploy/dentgate.example.toml", environment={})
    gateway = start(sources=example.source, accept_any_calling_ae=example.listener.accept_any_calling_ae)
    for calling in ("ECHOSCU", "STORESCU"):
        with RawScu(gateway.port, ECHO, calling=calling) as scu:
            assert scu.echo() == 0
    for calling in ("PANO1", "OTHER"):
        assert rejection(gateway.port, calling=calling) == (1, 1, 3)


def test_a_wrong_called_title_is_rejected_when_that_is_checked(start: Start) -> None:
    """Called AE title not recognized (1, 1, 7); unchecked by default, because devices are often set up wrongly."""
    assert alive(start())
    gateway = start(check_called_ae=True, ae_title="GATE")
    assert rejection(gateway.port, called="OTHER") == (1, 1, 7)
    with RawScu(gateway.port, ECHO, called="GATE") as scu:
        assert scu.echo() == 0


def test_another_application_context_is_rejected(gateway: Gateway) -> None:
    """Application context name not supported (1, 1, 2)."""
    with connect(gateway.port) as connection:
        connection.sendall(request(ECHO, application="1.2.3"))
        assert ending(connection) == (3, b"\0\1\1\2")


def test_a_port_in_use_is_one_line_with_the_mend(gateway: Gateway, start: Start) -> None:
    """The error names host, port and what to do."""
    with pytest.raises(ConfigurationError, match=rf"127.0.0.1 port {gateway.port}: .*; .*listener.port"):
        start(port=gateway.port)


def test_an_address_of_another_machine_is_one_line_with_the_mend(start: Start) -> None:
    """An address that is not ours, and a name nobody knows."""
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(ConfigurationError, match=r"cannot listen on .*listener.host"):
            start(host=host)


def test_stop_lets_a_busy_sender_finish_and_aborts_idle_ones(gateway: Gateway) -> None:
    """The object under way is answered, an idle association is aborted, the port is closed."""
    stream = pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3.1.1.1"))) + pdu(pdv(1, LAST, encode(image())))
    with RawScu(gateway.port, ECHO) as idle, RawScu(gateway.port) as busy:
        busy.send(stream[:400])
        assert gateway.settle(lambda: bool(gateway.files()))
        stopping = threading.Thread(target=gateway.listener.stop, args=(5,))
        stopping.start()
        assert idle.receive()[0] == 7
        busy.send(stream[400:])
        assert busy.answer().status == 0
        stopping.join()
        assert busy.receive()[0] == 7
    assert len(gateway.ledger.rows) == 1
    with pytest.raises(ConnectionRefusedError):
        connect(gateway.port)


def test_stop_does_not_wait_longer_than_the_grace(gateway: Gateway) -> None:
    """A sender that stalls in the middle of an object is cut off, and nothing of the object stays."""
    with RawScu(gateway.port) as busy:
        busy.send(pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3.1.1.1"))) + pdu(pdv(1, 0, b"\x08\x00")))
        assert gateway.settle(lambda: bool(gateway.files()))
        gateway.listener.stop(0.2)
    assert not gateway.files()


def test_the_log_tells_of_associations_and_refusals_without_patient_data(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Sender, address, counts and reasons; no name, no identifier of a patient."""
    with caplog.at_level(logging.DEBUG), RawScu(gateway.port, calling="PANO1") as scu:
        scu.send_image(image())
        scu.send_image(image(2, PixelData=b""))
        scu.release()
    text = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("service"))
    assert "association from PANO1 at 127.0.0.1: 1 stored, 1 refused" in text
    assert "refused with C000: pixel data empty" in text
    assert not any(word in text for word in ("Müller", "Ida", "P1\n", "19800101"))


def test_a_pdu_may_be_as_long_as_announced_and_no_longer(start: Start) -> None:
    """PS3.8 D.1: the maximum counts what follows the PDU header."""
    gateway = start(max_pdu=4096)
    data = encode(image(PixelData=bytes(8192), Rows=64, Columns=64))
    with RawScu(gateway.port) as scu:
        assert scu.max_pdu == 4096
        assert scu.store(data, "1.2.3.1.1.1").status == 0
        scu.send(struct.pack(">BxL", 4, 4097))
        assert scu.receive()[0] == 7
