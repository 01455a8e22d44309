"""HTTP requests whose answers are bounded and whose troubles are told in words that an administrator understands."""

import email.utils
import json
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from types import TracebackType
from typing import Self

import httpx

from service import clock
from service.domain.errors import Permanent, Unavailable
from service.export.tls import why_untrusted

_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 30.0
_MAX_ANSWER = 16 * 2**20
_MAX_WORDS = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        status: the HTTP status.
        media_type: of the body, lower case, without parameters; empty if the server named none.
        body: at most 16 MiB.
        retry_after: the seconds the server asked to wait, None if it did not.
        location: of what was created, as the server wrote it.
    """

    status: int
    media_type: str
    body: bytes
    retry_after: float | None
    location: str = ""

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the family of successes

    def json(self) -> object:
        """The body as JSON, None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Transport:
    """Requests to any address. The proxy variables of the environment are not read, redirects not followed."""

    def __init__(self, trust: ssl.SSLContext) -> None:
        """Connect at the first request."""
        self._http = httpx.Client(trust_env=False, verify=trust)

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._http.close()

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        content: Iterable[bytes] | bytes | None = None,
        private: Sequence[str] = (),
        patience: float = _ANSWER_SECONDS,
    ) -> Answer:
        """One request and its answer, whatever its status; ``patience``: seconds of silence until it is given up.

        Raises:
            Unavailable: no connection, no trust between us and the server, or no answer in time; without ``private``.
            Permanent: an answer longer than 16 MiB.
        """
        try:
            timeout = httpx.Timeout(patience, connect=_CONNECT_SECONDS)
            with self._http.stream(
                method, url, content=content, params=params, headers=dict(headers), timeout=timeout
            ) as response:
                return Answer(
                    response.status_code,
                    response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
                    _bounded(response),
                    seconds_to_wait(response.headers.get("Retry-After")),
                    response.headers.get("Location", ""),
                )
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise Unavailable(_reason(error, private)) from error


def masked(text: str, private: Sequence[str]) -> str:
    """One line of at most 500 characters without ``private`` words: a server likes to repeat what it was sent."""
    for word in private:
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "***", text)
    return " ".join(text.split())[:_MAX_WORDS]


def seconds_to_wait(retry_after: str | None) -> float | None:
    """Retry-After as seconds from now (RFC 9110 10.2.3: seconds or an HTTP date); None if absent or not understood."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max((moment - clock.now()).total_seconds(), 0.0)


def _bounded(response: httpx.Response) -> bytes:
    if "," in response.headers.get("Content-Encoding", ""):  # each layer makes a thousand bytes of one, in one piece
        message = "the server compressed its answer more than once"
        raise Permanent(message)
    raw = bytearray()
    for chunk in response.iter_bytes():
        raw += chunk
        if len(raw) > _MAX_ANSWER:
            message = f"the server answers more than {_MAX_ANSWER} bytes"
            raise Permanent(message)
    return bytes(raw)


def _reason(error: Exception, private: Sequence[str]) -> str:
    """Why there is no answer. Trouble with certificates is passing: an administrator mends it, nothing was sent yet."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {why_untrusted(cause)}"
    if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
        return (
            f"the server ends the TLS connection ({cause.reason}); where it asks for a certificate, cert_file must be "
            "one that it trusts and that has not expired"
        )
    return f"no answer from the server: {type(error).__name__} {masked(str(error), private)}"
