"""What every request passes first: size, origin and host checks, and the headers every answer carries.

There are no accounts, so the browser is the door to guard: another site must neither post to us (Origin) nor read
from us through a name that it points at this address (Host, "DNS rebinding"). Who is at work may be told by a reverse
proxy (``web.user_header``).
"""

import asyncio
import ipaddress
import platform
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.failures import answer_failure

_PUBLIC = {"/.well-known/jwks.json"}  # anybody may read and keep it, under any name that a proxy gives us
_STALLED = "the upload stalled; send it again"
_SLOWEST = 4096  # bytes a second of a body that is still worth waiting for
_BULKY = {"multipart/form-data", "multipart/related", "application/dicom"}
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser would hide the Origin of our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds the headers that keep pages ours; everything but our own static files and keys is never cached."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        static = str(scope["path"]).startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if scope["path"] not in _PUBLIC:
                    headers["Cache-Control"] = "no-cache" if static else "no-store"
            await send(message)

        await self.app(scope, receive, send_with_headers)


class HostCheck:
    """Refuses a Host header that is neither an address nor a name of this installation."""

    def __init__(self, app: ASGIApp, host: str, public: Collection[str] = ()) -> None:
        """Wrap an application that listens on ``host``; a proxy hands on what comes for the ``public`` ones."""
        self.app = app
        self._names = {"localhost", host.lower(), platform.node().lower()} | {each.partition(":")[0] for each in public}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        guarded = scope["type"] == "http" and scope["path"] not in _PUBLIC
        if guarded and not self._known(Headers(scope=scope).get("host", "")):
            message = (
                "this host name is not served here; use the address of the machine, or name it in web.public_hosts"
            )
            await answer_failure(scope, receive, send, 400, message)
            return
        await self.app(scope, receive, send)

    def _known(self, header: str) -> bool:
        try:
            name = (urlsplit(f"//{header}").hostname or "").lower()
        except ValueError:
            return False
        return name in self._names or _is_address(name)  # a rebinding attack needs a name, never an address


class OriginCheck:
    """Refuses a request that changes something and comes from a page of another site."""

    def __init__(self, app: ASGIApp, public: Collection[str] = ()) -> None:
        """Wrap an application whose pages browsers also reach as ``public``, whatever Host their proxy sends."""
        self.app = app
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if _writes(scope) and not _same_origin(Headers(scope=scope), self._public):
            await answer_failure(scope, receive, send, 403, "this request comes from another site")
            return
        await self.app(scope, receive, send)


class UserCheck:
    """Refuses a request that changes something and in which the proxy named no user."""

    def __init__(self, app: ASGIApp, header: str) -> None:
        """``header``: that the proxy sets; empty: everybody may."""
        self.app = app
        self.header = header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if self.header and _writes(scope) and not user_of(Headers(scope=scope), self.header):
            message = f"nobody is logged in: the proxy before this server must name the user in {self.header}"
            await answer_failure(scope, receive, send, 403, message)
            return
        await self.app(scope, receive, send)


def user_of(headers: Headers, header: str) -> str:
    """The user whom the proxy names; empty if it names none, or if two are named: one may be the caller's own."""
    named = headers.getlist(header)
    if len(named) != 1:
        return ""
    try:
        return named[0].encode("latin-1").decode("utf-8").strip()  # bytes of a header are read as Latin-1
    except UnicodeDecodeError:
        return named[0].strip()


class BodyLimit:
    """Refuses a body that is larger than ``limit`` bytes, as declared or as it arrives, and one that stalls.

    A body may pause for ``patience`` seconds in all, and must be as fast as an old modem.
    """

    def __init__(self, app: ASGIApp, limit: int, patience: float = 60.0) -> None:
        """Wrap an application."""
        self.app = app
        self.limit = limit
        self.patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > self.limit:
            await answer_failure(scope, receive, send, 413, self._too_large)
            return
        started = False

        async def noted(part: Message) -> None:
            nonlocal started
            started = True
            await send(part)

        try:
            await self.app(scope, _Body(receive, self.limit, self.patience).receive, noted)
        except _BodyError as error:
            if not started:
                message = self._too_large if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else _STALLED
                await answer_failure(scope, receive, send, error.status, message)

    @property
    def _too_large(self) -> str:
        return f"the upload is larger than {self.limit >> 20} MB; send fewer or smaller files at a time"


class _BodyError(BaseException):
    """Passes through the form parser, which would otherwise turn it into an answer of its own."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


class _Body:
    """The body of one request as it arrives."""

    def __init__(self, receive: Receive, limit: int, patience: float) -> None:
        self._receive, self._limit = receive, limit
        self._seen, self._whole = 0, False
        self._deadline = asyncio.get_running_loop().time() + patience

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()  # waits for the end of the connection, for as long as the answer takes
        try:
            async with asyncio.timeout_at(self._deadline + self._seen / _SLOWEST):
                part = await self._receive()
        except TimeoutError:
            raise _BodyError(HTTPStatus.REQUEST_TIMEOUT) from None
        self._whole = not part.get("more_body", False)
        self._seen += len(part.get("body", b""))
        if self._seen > self._limit:
            raise _BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return part


class CrowdLimit:
    """Refuses uploads while ``most`` others are being taken: each may fill the folder for temporary files."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        """Wrap an application."""
        self.app = app
        self.most = most
        self._taken = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http" or Headers(scope=scope).get("content-type", "").split(";")[0] not in _BULKY:
            await self.app(scope, receive, send)
            return
        if self._taken >= self.most:
            message = f"{self.most} uploads are being taken already; send again in a moment"
            await answer_failure(scope, receive, send, 429, message)
            return
        self._taken += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._taken -= 1


def _writes(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] not in _SAFE_METHODS


def _same_origin(headers: Headers, public: Collection[str]) -> bool:
    """Programs send neither header; a browser always says where a cross-site request comes from."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc.lower() in {headers.get("host", "").lower(), *public}
    except ValueError:  # "http://["
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
