"""What every request passes first: size, origin and host checks, and the headers every answer carries.

There are no accounts yet, so the browser is the door to guard: another site must neither post to us (Origin) nor read
from us through a name that it points at this address (Host, "DNS rebinding").
"""

import ipaddress
import platform
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.failures import answer_failure

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
    """Adds the headers that keep pages ours; everything but our own static files is never cached."""

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
                headers["Cache-Control"] = "no-cache" if static else "no-store"
            await send(message)

        await self.app(scope, receive, send_with_headers)


class HostCheck:
    """Refuses a Host header that is neither an address nor a name of this installation."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        """Wrap an application that listens on ``host``."""
        self.app = app
        self._names = {"localhost", host.lower(), platform.node().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "http" and not self._known(Headers(scope=scope).get("host", "")):
            message = "this host name is not served here; use the address of the machine or the name in web.host"
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

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS and not _same_origin(Headers(scope=scope)):
            await answer_failure(scope, receive, send, 403, "this request comes from another site")
            return
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses a body that is larger than ``limit`` bytes, by its declared length or while it arrives."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        """Wrap an application."""
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        message = f"the upload is larger than {self.limit >> 20} MB; send fewer or smaller files at a time"
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self.limit:
            await answer_failure(scope, receive, send, 413, message)
            return
        seen = 0
        started = False

        async def counted() -> Message:
            nonlocal seen
            part = await receive()
            seen += len(part.get("body", b""))
            if seen > self.limit:
                raise _TooLargeError
            return part

        async def noted(part: Message) -> None:
            nonlocal started
            started = True
            await send(part)

        try:
            await self.app(scope, counted, noted)
        except _TooLargeError:
            if not started:
                await answer_failure(scope, receive, send, 413, message)


class _TooLargeError(BaseException):
    """Passes through the form parser, which would otherwise turn it into an answer of its own."""


def _same_origin(headers: Headers) -> bool:
    """Programs send neither header; a browser always says where a cross-site request comes from."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
