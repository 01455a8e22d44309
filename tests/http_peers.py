"""Real HTTP servers for tests: one that answers by script, and a token endpoint that verifies what it is shown."""

import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jwt

from service import clock

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Request:
    """What the server heard."""

    method: str
    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What it answers."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def reply(content: object, status: int = 200, media_type: str = "application/json", **headers: str) -> Reply:
    """An answer in JSON; underscores in names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(content).encode(), {"Content-Type": media_type, **named})


@contextmanager
def serving(script: Callable[[Request], Reply | None], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that answers by a script, None cuts the connection; the value is ``http(s)://127.0.0.1:port``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: without it each answer waits 40 ms

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = script(Request(self.command, self.path, self.headers, body))
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with _Server(("127.0.0.1", 0), Handler) as server:
        server.tls = tls
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that the end waits for every answer under way
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        """Shake hands in the thread of the connection: one bad client holds up nobody."""
        try:
            if self.tls is not None:
                request.settimeout(10)
                request = self.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
        except (OSError, ssl.SSLError):  # the client goes away, or is refused: the test sees it on its own side
            pass
        finally:
            request.close()


class TokenEndpoint:
    """A SMART authorisation server: takes the keys of a key set, checks each assertion, and gives tokens."""

    def __init__(self, client_id: str, keys: Callable[[], Mapping[str, Any]], token_seconds: float = 300) -> None:
        """``keys``: the client's JSON Web Key Set, fetched anew for every request, as from its address."""
        self.client_id, self._keys, self._token_seconds = client_id, keys, token_seconds
        self.url = ""
        self.scopes: list[str] = []
        self._used: set[str] = set()
        self._tokens: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def given(self) -> int:
        """How many tokens it gave."""
        return len(self.scopes)

    def revoke(self) -> None:
        """All tokens are worthless from now on."""
        self._tokens.clear()

    def admits(self, authorization: str | None) -> bool:
        """Whether a header carries a token that is still good."""
        token = (authorization or "").removeprefix("Bearer ")
        return self._tokens.get(token, 0.0) > time.monotonic()

    def give(self, request: Request) -> Reply:
        """The answer to a token request (RFC 6749 4.4, RFC 7523)."""
        form = dict(urllib.parse.parse_qsl(request.body.decode()))
        media_type = request.headers.get_content_type()
        if form.get("grant_type") != "client_credentials" or media_type != "application/x-www-form-urlencoded":
            return reply({"error": "unsupported_grant_type"}, 400)
        try:
            self._verify(form)
        except (jwt.PyJWTError, KeyError, AssertionError) as error:
            return reply({"error": "invalid_client", "error_description": f"{type(error).__name__}: {error}"}, 400)
        with self._lock:
            token = clock.token()
            self.scopes.append(form.get("scope", ""))
            self._tokens[token] = time.monotonic() + self._token_seconds
        return reply({"access_token": token, "token_type": "Bearer", "expires_in": self._token_seconds})

    def _verify(self, form: Mapping[str, str]) -> None:
        assert form["client_assertion_type"] == _ASSERTION_TYPE
        assertion = form["client_assertion"]
        header = jwt.get_unverified_header(assertion)
        keys = [key for key in self._keys()["keys"] if key["kid"] == header["kid"]]
        assert len(keys) == 1, "unknown key"
        claims = jwt.decode(
            assertion,
            jwt.PyJWK(keys[0]),
            algorithms=["RS384", "ES384"],
            audience=self.url,
            options={"require": ["iss", "sub", "aud", "exp", "jti"], "strict_aud": True},
        )
        assert header["typ"] == "JWT"
        assert claims["iss"] == claims["sub"] == self.client_id, "unknown client"
        assert claims["exp"] - clock.now().timestamp() <= 300, "lives longer than five minutes"
        with self._lock:
            assert claims["jti"] not in self._used, "jti was used before"
            self._used.add(claims["jti"])


@contextmanager
def smart_record(endpoint: TokenEndpoint, algorithms: tuple[str, ...] = ("RS384", "ES384")) -> Iterator[str]:
    """A FHIR server below /fhir that describes itself, has a token endpoint, and answers metadata for a token only."""

    def script(request: Request) -> Reply:
        if request.path == "/fhir/.well-known/smart-configuration":
            supported = {"token_endpoint_auth_signing_alg_values_supported": list(algorithms)}
            return reply({"token_endpoint": endpoint.url, **supported})
        if request.path == "/token":
            return endpoint.give(request)
        if not endpoint.admits(request.headers["Authorization"]):
            return reply({"resourceType": "OperationOutcome", "issue": []}, 401)
        return reply({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": []})

    with serving(script) as url:
        endpoint.url = f"{url}/token"
        yield f"{url}/fhir"


def fetched(url: str) -> Mapping[str, Any]:
    """JSON from an address."""
    content: Mapping[str, Any] = httpx.get(url, trust_env=False, timeout=10).raise_for_status().json()
    return content
