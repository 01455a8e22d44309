"""Peers that answer without end, byte by byte, or with what no database keeps."""

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from service.domain.errors import DentgateError, Permanent, Transient
from service.domain.result import Delivery, Result
from service.export import mllp
from service.export.http import HttpServer
from service.export.mllp import Mllp
from tests.builders import destination_of
from tests.fuzz.report import peak_mb
from tests.http_peers import Reply, serving

ORU = b"MSH|^~\\&|DENTGATE||||20260102030405+0000||ORU^R01^ORU_R01|abc123|P|2.5.1\rPID|1||P1\r"
MESSAGE = Delivery("1.2.3", 1, [Result("oru", "1.2.3/teeth/1", "application/hl7-v2", ORU)], 1)


@contextmanager
def engine(speak: Callable[[socket.socket], None]) -> Iterator[Mllp]:
    """The destination of an interface engine that reads the message and then says what the test wants."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                try:
                    speak(connection)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield Mllp(destination_of(f"mllp://127.0.0.1:{listening.getsockname()[1]}"), "CLINIC")
        thread.join()


def told(speak: Callable[[socket.socket], None]) -> DentgateError:
    """What a delivery to it ends with."""
    with engine(speak) as destination, pytest.raises((Transient, Permanent)) as raised:
        destination.deliver(MESSAGE)
    return raised.value


def test_an_acknowledgement_byte_by_byte_has_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not hold the delivery for ever."""
    monkeypatch.setattr(mllp, "_ANSWER_SECONDS", 0.4)

    def drip(connection: socket.socket) -> None:
        for _ in range(200):
            connection.sendall(b"x")
            threading.Event().wait(0.05)

    began = time.perf_counter()
    assert "did not answer in time" in str(told(drip))
    assert time.perf_counter() - began < 5


def test_what_follows_an_acknowledgement_is_not_looked_at() -> None:
    """Two in one piece: the first one counts."""
    acks = b"".join(b"\x0bMSH|^~\\&|EHR\rMSA|%s|abc123\r\x1c\r" % code for code in (b"AA", b"AR"))
    with engine(lambda connection: connection.sendall(acks + b"\x0bMSH")) as destination:
        assert "accepted" in destination.deliver(MESSAGE)


def test_the_engines_words_are_made_fit_for_the_record() -> None:
    """Control characters become spaces, and a code of a thousand letters is cut."""
    ack = b"\x0bMSH|^~\\&|EHR\rMSA|" + b"A\x00\x1b" * 900 + b"|abc123|no\x00patient\x07\r\x1c\r"
    error = told(lambda connection: connection.sendall(ack))
    assert str(error).isprintable()
    assert "no patient" in str(error)
    assert len(str(error)) < 300


def test_an_answer_that_was_compressed_twice_is_refused_unread() -> None:
    """Three kilobytes that become a gigabyte in two steps never do."""
    deflate = zlib.compressobj(9, wbits=31)
    bomb = gzip.compress(b"".join([deflate.compress(bytes(1 << 20)) for _ in range(128)]) + deflate.flush())
    before = peak_mb()
    with serving(lambda _: Reply(200, bomb, {"Content-Encoding": "gzip, gzip"})) as url:
        server = HttpServer(destination_of(url.replace("http://", "fhir+http://")), "fhir")
        with server.connect() as connection, pytest.raises(Permanent, match="more than once"):
            connection.send("GET", "/metadata", headers={})
    assert peak_mb() - before < 64
