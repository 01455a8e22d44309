"""MLLP against a server that nobody here wrote."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hl7
import hl7.mllp
import pytest

from service.domain.errors import ConfigurationError, Permanent, Transient
from service.domain.result import Delivery, Result
from service.export.mllp import Mllp
from service.export.tls import certificate_lives
from service.results.oru_message import MEDIA_TYPE
from tests.builders import destination_of
from tests.certificates import Authority
from tests.servers import free_port

# the test's server may not have closed its side when its loop ends; asyncio complains of that
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

ORU = b"MSH|^~\\&|DENTGATE||||20260102030405+0000||ORU^R01^ORU_R01|abc123|P|2.5.1\rPID|1||P1\r"

Answer = Callable[[hl7.Message], hl7.Message | str | None]


class Engine:
    """An interface engine that keeps what it was sent."""

    def __init__(self, answer: Answer) -> None:
        """``answer``: to each message; None closes the connection instead."""
        self.messages: list[hl7.Message] = []
        self.answer = answer

    async def serve(self, reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await reader.readmessage()
                self.messages.append(message)
                answer = self.answer(message)
                if answer is None:
                    break
                writer.writeblock(str(answer).encode())
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextmanager
def engine(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[tuple[Engine, int]]:
    """Run one in a thread."""
    made, port, ready = Engine(answer), free_port(), threading.Event()
    loop = asyncio.new_event_loop()

    async def run() -> Any:  # noqa: ANN401 - hl7 is not annotated
        server = await hl7.mllp.start_hl7_server(made.serve, host="127.0.0.1", port=port, limit=1 << 24, ssl=tls)
        ready.set()
        return server

    server = loop.create_task(run())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert ready.wait(5)
    yield made, port

    async def close() -> None:
        (await server).close()
        await asyncio.sleep(0.1)  # a connection that was opened and closed at once is only now handed to its task
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 5)

    asyncio.run_coroutine_threadsafe(close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def delivery(content: bytes = ORU, kind: str = "oru") -> Delivery:
    """One message."""
    return Delivery("1.2.3", 1, [Result(kind, "1.2.3/teeth/1", MEDIA_TYPE, content)], 1)


def accepted(message: hl7.Message) -> hl7.Message:
    """AA."""
    return message.create_ack("AA")


def test_an_accepted_message_is_delivered() -> None:
    """The engine has it whole, with sender and receiver of the settings, and its control ID untouched."""
    with engine(accepted) as (made, port):
        destination = Mllp(destination_of(f"mllp://127.0.0.1:{port}?application=EHR&facility=HOSP"), "CLINIC")
        assert destination.deliver(delivery()) == f"1 message accepted by 127.0.0.1:{port}"
        assert destination.check() == f"127.0.0.1:{port} accepts connections"
    (message,) = made.messages
    head = str(message.segment("MSH")).split("|")
    assert head[2:6] == ["DENTGATE", "CLINIC", "EHR", "HOSP"]
    assert head[9] == "abc123"
    assert str(message.segment("PID")) == "PID|1||P1"


def test_mutual_tls(tmp_path: Path) -> None:
    """With authority and certificate of the settings a message passes; an engine that nobody trusts gets none."""
    authority = Authority(tmp_path)
    ours = authority.issue("ours")
    keys = {"ca_file": authority.certificate, "cert_file": ours.certificate, "cert_key_file": ours.key}
    with engine(accepted, authority.server_context(authority.issue("engine"), asks_client=True)) as (made, port):
        url = f"mllps://127.0.0.1:{port}"
        entry = destination_of(url, **{key: str(path) for key, path in keys.items()})
        assert Mllp(entry, "CLINIC").deliver(delivery()).startswith("1 message accepted")
        assert certificate_lives(entry) == ["its certificate expires in 89 days", "our certificate expires in 89 days"]
        with pytest.raises(Permanent, match=r"its certificate is not trusted: .*; set ca_file"):
            Mllp(destination_of(url), "CLINIC").deliver(delivery())
    assert len(made.messages) == 1
    with pytest.raises(ConfigurationError, match="ca_file"):
        Mllp(destination_of(url, ca_file=str(tmp_path / "gone")), "CLINIC")


def test_a_large_message_passes() -> None:
    """As large as one with a PDF."""
    with engine(accepted) as (made, port):
        Mllp(destination_of(f"mllp://127.0.0.1:{port}"), "CLINIC").deliver(
            delivery(ORU + b"OBX|1|ED|x||" + b"A" * 3_000_000 + b"\r")
        )
    assert len(str(made.messages[0])) > 3_000_000


@pytest.mark.parametrize(
    ("tail", "error"),
    [
        ("MSA|AR|abc123|no such patient", Permanent),
        ("MSA|AE|abc123\rERR|||207^Application internal error^HL70357|E||||database is away", Transient),
        ("MSA|AE|abc123\rERR|||204^Unknown key identifier^HL70357|E||||no such patient", Permanent),
        ("MSA|AA|another", Transient),
        ("PID|1", Transient),
    ],
)
def test_refusals_are_told_apart_in_the_engines_words(tail: str, error: type[Exception]) -> None:
    """Rejected or wrong content: a person must look; the engine's own trouble, or a strange answer: again later."""

    def answer(_: hl7.Message) -> str:
        return f"MSH|^~\\&|EHR|HOSP|||20260102||ACK^R01|1|P|2.5.1\r{tail}\r"

    with engine(answer) as (_, port), pytest.raises(error) as raised:
        Mllp(destination_of(f"mllp://127.0.0.1:{port}"), "CLINIC").deliver(delivery())
    assert "127.0.0.1" in str(raised.value)
    assert ("no such patient" in str(raised.value)) == (error is Permanent)


def test_a_cut_connection_is_passing_trouble() -> None:
    """An engine that closes without an answer, or that is not there at all."""
    with engine(lambda _: None) as (_, port), pytest.raises(Transient, match="no acknowledgement"):
        Mllp(destination_of(f"mllp://127.0.0.1:{port}"), "CLINIC").deliver(delivery())
    with pytest.raises(Transient, match="cannot be reached"):
        Mllp(destination_of(f"mllp://127.0.0.1:{free_port()}"), "CLINIC").check()


@pytest.mark.parametrize("url", ["mllp://", "mllp://host:99999", "mllp://host/path", "mllp://host?sender=x"])
def test_wrong_urls_say_how_to_write_them(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="write it as mllp://"):
        Mllp(destination_of(url), "CLINIC")


def test_other_results_are_refused() -> None:
    """An engine takes no DICOM."""
    with engine(accepted) as (_, port), pytest.raises(Permanent, match="takes no sr"):
        Mllp(destination_of(f"mllp://127.0.0.1:{port}"), "CLINIC").deliver(delivery(kind="sr"))
