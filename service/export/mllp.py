"""HL7 v2 messages to an interface engine over MLLP: one in flight, the acknowledgement awaited (HL7 v2.5.1 2.9.2)."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from service.domain.errors import ConfigurationError, Permanent, Transient, Unavailable
from service.domain.result import Delivery, Result
from service.export.tls import client_context, why_untrusted
from service.settings import DestinationSettings

_START, _END = b"\x0b", b"\x1c\r"
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 60.0
_LONGEST_ANSWER = 1 << 20
_PORT = 2575  # registered for HL7
_ACCEPTED = {"AA", "CA"}
_BUSY = {"206", "207"}  # table 0357: record locked, internal error: the receiver's trouble, not the message's
_PARAMETERS = {"application": 4, "facility": 5}  # index of MSH-5 and MSH-6 between separators


class Mllp:
    """An engine that takes ORU^R01. A message that is sent again keeps its control ID (MSH-10), for it to notice."""

    takes: tuple[str, ...] = ("oru",)
    default_results: tuple[str, ...] = takes

    def __init__(self, entry: DestinationSettings, calling_ae: str) -> None:
        """Take the address from the URL; nothing is opened yet.

        Args:
            entry: its url is ``mllp://host:port?application=EHR&facility=HOSP`` or ``mllps://`` for TLS; port
                2575 if none is given.
            calling_ae: stands in MSH-4, the sending facility.

        Raises:
            ConfigurationError: a part is missing or wrong.
        """
        parts = urlsplit(entry.url)
        try:
            port = parts.port or _PORT
        except ValueError:
            port = 0
        receiver = dict(parse_qsl(parts.query))
        if not parts.hostname or not port or parts.path.strip("/") or set(receiver) - set(_PARAMETERS):
            message = (
                f"destination url {entry.url!r} is wrong; write it as mllp://host:port?application=EHR&facility=HOSP"
            )
            raise ConfigurationError(message)
        self._host, self._port, self._facility, self._receiver = parts.hostname, port, calling_ae, receiver
        self._tls = entry if parts.scheme == "mllps" else None
        if self._tls is not None:
            client_context(self._tls)  # a wrong file is told at start

    def deliver(self, delivery: Delivery) -> str:
        """See Destination. Messages go one after the other, each after the acknowledgement of the one before."""
        messages = [self._message(result) for result in delivery.results]
        if not messages:
            return "nothing to send"
        with self._connected() as connection:
            for message in messages:
                self._send(connection, message)
        return f"{len(messages)} {'message' if len(messages) == 1 else 'messages'} accepted by {self._peer}"

    def check(self) -> str:
        """See Destination: opens a connection; HL7 v2 has no question that leaves nothing behind."""
        with self._connected():
            return f"{self._peer} accepts connections"

    @property
    def _peer(self) -> str:
        return f"{self._host}:{self._port}"

    def _message(self, result: Result) -> bytes:
        """With sender and receiver filled in. Raises Permanent for another kind of result."""
        head, separator, rest = result.content.partition(b"\r")
        fields = head.split(b"|")
        if result.kind not in self.takes or fields[0] != b"MSH" or not separator:
            message = f"an HL7 v2 engine takes no {result.kind}; take it out of `results` of this destination"
            raise Permanent(message)
        fields[3] = self._facility.encode()
        for name, index in _PARAMETERS.items():
            fields[index] = self._receiver.get(name, "").encode()
        return b"|".join(fields) + separator + rest

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        try:
            with socket.create_connection((self._host, self._port), _CONNECT_SECONDS) as plain:
                plain.settimeout(_ANSWER_SECONDS)
                if self._tls is None:
                    yield plain
                    return
                with client_context(self._tls).wrap_socket(plain, server_hostname=self._host) as secure:
                    yield secure
        except ssl.SSLCertVerificationError as error:
            message = f"{self._peer}: its certificate is not trusted: {why_untrusted(error)}"
            raise Permanent(message) from None
        except TimeoutError:
            message = f"{self._peer} did not answer in time"
            raise Unavailable(message) from None
        except OSError as error:
            cause = error.strerror or type(error).__name__
            message = f"{self._peer} cannot be reached or cut the connection: {cause}; is it running, is the url right?"
            raise Unavailable(message) from None

    def _send(self, connection: socket.socket, message: bytes) -> None:
        connection.sendall(_START + message + _END)
        answer = _parsed(self._answer(connection), self._peer)
        control_id = message.split(b"\r", 1)[0].split(b"|")[9].decode()
        if answer.control_id != control_id:
            words = f"{self._peer} acknowledged another message ({answer.control_id[:40]!r})"
            raise Transient(words)
        if answer.code in _ACCEPTED:
            return
        words = f"{self._peer} answers {answer.code}: {answer.text or 'without a reason'}"
        raise Transient(words) if answer.error in _BUSY else Permanent(words)

    def _answer(self, connection: socket.socket) -> bytes:
        """The block that answers; what follows it is not looked at, for only one message is in flight."""
        received = bytearray()
        deadline = time.monotonic() + _ANSWER_SECONDS  # for all of it: a peer must not hold us byte by byte
        while (end := received.find(_END)) < 0:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = connection.recv(65536)
            received += piece
            if not piece or len(received) > _LONGEST_ANSWER:
                message = f"{self._peer} closed the connection or sent no acknowledgement; does it speak MLLP?"
                raise Unavailable(message)
        return bytes(received[:end].lstrip(_START))


@dataclass(frozen=True, slots=True)
class _Answer:
    """MSA and ERR of an acknowledgement."""

    code: str
    control_id: str
    text: str
    error: str


def _parsed(raw: bytes, peer: str) -> _Answer:
    segments = dict[str, list[str]]()
    for line in raw.decode("utf-8", "replace").split("\r"):
        fields = line.split("|")
        segments.setdefault(fields[0], fields)
    msa, err = segments.get("MSA", []) + [""] * 4, segments.get("ERR", []) + [""] * 9
    if not msa[1]:
        message = f"{peer} answered with something else than an acknowledgement; is it an HL7 v2 engine?"
        raise Transient(message)
    text = " ".join(part for part in (msa[3], err[8], err[7]) if part)
    return _Answer(_words(msa[1], 20), _words(msa[2], 200), _words(text, 500), err[3].split("^")[0])


def _words(text: str, most: int) -> str:
    """What may stand in the record and on a page: no control characters (a database refuses NUL), not too long."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:most]).strip()
