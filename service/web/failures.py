"""Answers when something goes wrong: a page for people, ``{"error": "..."}`` for programs, never a traceback."""

import errno
import logging
import traceback
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.domain.errors import Busy, OutOfResources, Refused
from service.web.templating import render

_LOG = logging.getLogger(__name__)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_RETRY_SECONDS = "30"  # a study or two may have been analyzed by then
_PROGRAM_PATHS = ("/api/", "/healthz", "/readyz", "/metrics")
_WORDS = {
    404: "There is nothing at this address.",
    405: "This address does not take that kind of request.",
}


def install(app: FastAPI) -> None:
    """Give every kind of failure its answer."""
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)


def status_of(error: Exception) -> tuple[int, str]:
    """HTTP status and sentence for an error that the caller can do something about; 500 for all others."""
    if isinstance(error, Busy):
        return HTTPStatus.TOO_MANY_REQUESTS, str(error)
    if isinstance(error, OutOfResources):
        return HTTPStatus.INSUFFICIENT_STORAGE, str(error)
    if isinstance(error, Refused):
        return HTTPStatus.BAD_REQUEST, str(error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return HTTPStatus.INSUFFICIENT_STORAGE, "the disk is full; free some space, then send again"
    return HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong here; the log names the place"


async def answer_failure(scope: Scope, receive: Receive, send: Send, status: int, message: str) -> None:
    """Answer a raw ASGI request with a failure."""
    await failure_response(Request(scope), status, message)(scope, receive, send)


def failure_response(request: Request, status: int, message: str) -> Response:
    """A failure as JSON or as a page, by the address that was asked for."""
    if request.url.path.startswith(_PROGRAM_PATHS):
        response: Response = JSONResponse({"error": message}, status)
    else:
        title = HTTPStatus(status).phrase
        response = render(request, "error.html", {"status": status, "title": title, "message": message}, status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        response.headers["Retry-After"] = _RETRY_SECONDS
    return response


class LastResort:
    """Turns an error that nobody foresaw into a plain answer; logs type and place, no values (they may be PHI)."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        started = unheard = False

        async def noted(message: Message) -> None:
            nonlocal started, unheard
            started = True
            unheard = True
            await send(message)
            unheard = False

        try:
            await self.app(scope, receive, noted)
        except Exception as error:  # noqa: BLE001 - the edge of the web process
            if unheard:  # the peer broke the protocol, or is gone, before the answer was out
                _LOG.info("answer not sent: %s", type(error).__name__)
                return
            status, message = status_of(error)
            if status == HTTPStatus.INTERNAL_SERVER_ERROR:
                place = "".join(traceback.format_tb(error.__traceback__)[-3:])
                _LOG.error("request failed with %s at\n%s", type(error).__name__, place)
            if scope["type"] == "http" and not started:
                await answer_failure(scope, receive, send, status, message)


async def _answer_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = str(error.detail) if isinstance(error, HTTPException) else ""
    plain = detail == HTTPStatus(status).phrase
    return failure_response(request, status, _WORDS.get(status, detail) if plain else detail)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    parts = [f"{'.'.join(str(part) for part in problem['loc'][1:])}: {problem['msg']}" for problem in problems]
    return failure_response(request, HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(parts) or "the request is not valid")
