"""HTTP to a destination, shared by FHIR and DICOMweb: address, trust, login, and errors sorted by what to do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from service.domain.errors import ConfigurationError, DentgateError, Permanent, Transient, Unavailable
from service.export.access import Access, open_access
from service.export.tls import client_context
from service.export.transport import Answer, Transport, masked
from service.settings import DestinationSettings

_COME_LATER = {429, 503}  # said of the server, not of the request
_TRANSIENT = {408, 409, 412, 425, 429}  # and all of 5xx: the next attempt asks anew before it sends
_UNAUTHORIZED = 401
#: Status -> what an administrator can do about it.
_MENDS = {
    301: "; it moved: write its new address into the url",
    308: "; it moved: write its new address into the url",
    401: "; it does not accept our login: mend auth and its secret, then deliver again",
    403: "; it knows us and refuses: its administrator must grant the right, then deliver again",
}


class HttpServer:
    """One HTTP server of the settings, for the life of the process: its base address, whom we trust, who we are."""

    def __init__(self, entry: DestinationSettings, prefix: str) -> None:
        """Take address, trust and login from the settings; nothing is opened yet.

        Args:
            entry: its url is ``<prefix>+http(s)://host[:port]/base``.
            prefix: what stands before http in the scheme.

        Raises:
            ConfigurationError: no host, a wrong port, a query, a login in the url, or an unusable file.
        """
        parts = urlsplit(entry.url)
        try:
            sound = bool(parts.hostname) and parts.port != 0 and not parts.query
        except ValueError:
            sound = False
        if not sound:
            message = f"write the url as {prefix}+http(s)://host[:port]/base"
            raise ConfigurationError(message)
        if "@" in parts.netloc:
            message = 'take the login out of the url and set auth = "basic", username and password_file'
            raise ConfigurationError(message)
        self.base = f"{parts.scheme.removeprefix(prefix + '+')}://{parts.netloc}{parts.path.rstrip('/')}"
        self._entry = entry
        client_context(entry)  # a wrong file is told at start
        self._access = open_access(entry, self.base)

    def connect(self, private: Sequence[str] = ()) -> "HttpConnection":
        """A connection, opened at the first request, in whose errors ``private`` words are masked."""
        return HttpConnection(self.base, Transport(client_context(self._entry)), self._access, private)


class HttpConnection:
    """Requests to one server; trouble is one of our errors, without patient data and without secrets."""

    def __init__(self, base: str, transport: Transport, access: Access, private: Sequence[str]) -> None:
        """Connect at the first request."""
        self.base = base
        self._transport, self._access, self._private = transport, access, list(private)

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._transport.__exit__(kind, error, trace)

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        content: Callable[[], Iterable[bytes]] | bytes | None = None,
        patience: float = 30.0,
    ) -> Answer:
        """The server's answer, whatever its status. After a 401 the login is renewed, once.

        Args:
            method: the HTTP method.
            path: what comes after the base.
            headers: of the request; the login is added.
            params: the query.
            content: the body, or what makes it, for it may have to be sent again after a renewed login.
            patience: seconds of silence until an answer is given up.

        Raises:
            Transient: no connection, no trust between us and the server, or no answer in time; no token now.
            Permanent: an answer longer than 16 MiB; the token endpoint refuses us.
        """

        def sent(login: str | None) -> Answer:
            body = content() if callable(content) else content
            return self._transport.exchange(
                method,
                self.base + path,
                headers={**headers, **self._login(login)},
                params=params,
                content=body,
                private=self._private,
                patience=patience,
            )

        login = self._access.authorization()
        answer = sent(login)
        if answer.status == _UNAUTHORIZED and (renewed := self._access.renewed(login)) is not None:
            return sent(renewed)
        return answer

    def failure(self, what: str, status: int, words: str, retry_after: float | None = None) -> DentgateError:
        """The error for a status that is no success.

        Args:
            what: the request, without patient data.
            status: the HTTP status.
            words: the server's own; masked here.
            retry_after: seconds the server asked to wait.
        """
        message = f"{what}: HTTP {status} {self.masked(words)}".rstrip() + _MENDS.get(status, "")
        if status in _COME_LATER:
            return Unavailable(message, retry_after)
        if status in _TRANSIENT or status >= 500:  # noqa: PLR2004 - the family of server errors
            return Transient(message, retry_after)
        return Permanent(message)

    def masked(self, text: str) -> str:
        """One line of at most 500 characters without patient data and without our secret."""
        return masked(text, self._private)

    def _login(self, authorization: str | None) -> dict[str, str]:
        if authorization is None:
            return {}
        secret = authorization.partition(" ")[2]
        if secret not in self._private:
            self._private.append(secret)
        return {"Authorization": authorization}
