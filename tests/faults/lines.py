"""Lines that fail on demand: a TCP proxy that spoils connections either way, an HTTP proxy that answers wrongly."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

_PIECE = 4096
_POLL_SECONDS = 0.1


class Spoil(StrEnum):
    """What happens to a connection."""

    NOTHING = "nothing"
    CUT = "cut"  #: closed, both ways
    RESET = "reset"  #: RST, both ways
    HOLE = "hole"  #: bytes vanish, the connection stays open
    SLOW = "slow"  #: a trickle from then on


@dataclass
class Line:
    """A TCP proxy on the loopback.

    Attributes:
        spoil: what happens to connections.
        after: ... once so many bytes have passed in that direction.
        upstream: count bytes of the client; else those of the server.
        times: how many connections are spoilt before the line is good again.
        slow_bytes: per second, for SLOW.
        spoilt: how many were.
    """

    target: int
    port: int = 0
    spoil: Spoil = Spoil.NOTHING
    after: int = 0
    upstream: bool = True
    times: int = 0
    slow_bytes: int = 20000
    spoilt: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def will(self, spoil: Spoil, after: int, *, upstream: bool = True, times: int = 1) -> None:
        """Spoil the next connections."""
        self.spoil, self.after, self.upstream, self.times, self.spoilt = spoil, after, upstream, times, 0

    def serve(self, server: socket.socket) -> None:
        """Accept until stopped."""
        while not self._stop.is_set():
            with suppress(TimeoutError, OSError):
                client, _ = server.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def stop(self) -> None:
        """End all connections."""
        self._stop.set()

    def _pass(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
        except OSError:
            _reset(client)
            return
        spoil = Spoil.NOTHING
        with self._lock:
            if self.times > 0 and self.spoil is not Spoil.NOTHING:
                spoil, self.times = self.spoil, self.times - 1
                self.spoilt += 1
        fate = (spoil, self.after, self.upstream)
        both = (client, server)
        pumps = [
            threading.Thread(target=self._pump, args=(client, server, both, fate, True), daemon=True),
            threading.Thread(target=self._pump, args=(server, client, both, fate, False), daemon=True),
        ]
        for pump in pumps:
            pump.start()

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        both: tuple[socket.socket, socket.socket],
        fate: tuple[Spoil, int, bool],
        upstream: bool,  # noqa: FBT001 - which of the two directions this is
    ) -> None:
        spoil, after, which = fate
        mine = spoil is not Spoil.NOTHING and which == upstream
        passed = 0
        while not self._stop.is_set():
            try:
                source.settimeout(_POLL_SECONDS)
                piece = source.recv(_PIECE)
            except TimeoutError:
                continue
            except OSError:
                break
            if not piece:
                break
            if mine and passed + len(piece) > after:
                good, rest = piece[: max(after - passed, 0)], piece[max(after - passed, 0) :]
                if not self._spoil(spoil, source, both, good, rest):
                    return
                passed += len(piece)
                continue
            passed += len(piece)
            try:
                sink.sendall(piece)
            except OSError:
                break
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _spoil(
        self, spoil: Spoil, source: socket.socket, both: tuple[socket.socket, socket.socket], good: bytes, rest: bytes
    ) -> bool:
        """Do it; False if this direction is over."""
        sink = both[1] if source is both[0] else both[0]
        with suppress(OSError):
            sink.sendall(good)
            if spoil is Spoil.SLOW:
                most = max(self.slow_bytes // 10, 1)
                for start in range(0, len(rest), most):
                    time.sleep(min(len(rest) - start, most) / self.slow_bytes)
                    sink.sendall(rest[start : start + most])
                return True
            if spoil is Spoil.HOLE:
                self._swallow(source)
        for end in both:
            _reset(end) if spoil is Spoil.RESET else end.close()
        return False

    def _swallow(self, source: socket.socket) -> None:
        """Read and drop until that end closes; the other direction goes on, so it hears when the other end has gone."""
        while not self._stop.is_set():
            try:
                if not source.recv(_PIECE):
                    return
            except TimeoutError:
                continue


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()


@contextmanager
def line_to(target: int) -> Iterator[Line]:
    """A running TCP proxy to a port of the loopback."""
    with socket.create_server(("127.0.0.1", 0), backlog=600) as server:
        server.settimeout(_POLL_SECONDS)
        line = Line(target, int(server.getsockname()[1]))
        thread = threading.Thread(target=line.serve, args=(server,), daemon=True)
        thread.start()
        try:
            yield line
        finally:
            line.stop()
            thread.join(5)


@dataclass
class Desk:
    """An HTTP proxy before a real record, which answers wrongly on demand.

    Attributes:
        status: answer with this instead; 0: pass everything on.
        lost: pass on what changes something, and answer 500 nevertheless: committed, and the answer is lost.
        silent: do not answer at all for so many seconds.
        writes_only: only requests that change something.
        times: for how many requests; then all is well again.
        count: how many were answered wrongly.
    """

    url: str
    target: str
    status: int = 0
    lost: bool = False
    silent: float = 0.0
    writes_only: bool = True
    retry_after: str = ""
    times: int = 0
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def will(self, status: int, times: int, *, lost: bool = False, silent: float = 0.0, retry_after: str = "") -> None:
        """Answer the next requests wrongly."""
        self.lost, self.silent, self.retry_after = lost, silent, retry_after
        self.status, self.times, self.count = status, times, 0

    def fate(self, *, write: bool) -> tuple[int, bool, float]:
        """What becomes of the next request."""
        with self.lock:
            if self.times <= 0 or (self.writes_only and not write):
                return 0, False, 0.0
            self.times -= 1
            self.count += 1
            return self.status, self.lost, self.silent


_REFUSAL = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid"}]}'
_HOP_BY_HOP = {"host", "content-length", "connection", "accept-encoding"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, desk: Desk, *arguments: Any) -> None:  # noqa: ANN401 - those of http.server
        """``desk``: says what becomes of a request."""
        self._desk = desk
        super().__init__(*arguments)

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        write = self.command in {"POST", "PUT", "PATCH", "DELETE"} and not self.path.endswith("_search")
        status, lost, silent = self._desk.fate(write=write)
        if silent:
            time.sleep(silent)
            self.close_connection = True
        elif status and not lost:
            self._answer(status, _REFUSAL)
        else:
            headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP_BY_HOP}
            url = self._desk.target + self.path
            answer = httpx.request(self.command, url, content=body, headers=headers, timeout=60)
            if lost:
                self._answer(status, b"{}")
            else:
                self._answer(answer.status_code, answer.content, dict(answer.headers))

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {"content-type": "application/fhir+json"}).items():
            if key in {"content-type", "etag", "location", "last-modified"}:
                self.send_header(key, value)
        if status == 503 and self._desk.retry_after:
            self.send_header("Retry-After", self._desk.retry_after)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - names of http.server

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def desk_before(record: str) -> Iterator[Desk]:
    """A running HTTP proxy before a record."""
    parts = httpx.URL(record)
    desk = Desk("", f"{parts.scheme}://{parts.host}:{parts.port}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, desk))
    server.daemon_threads = True
    desk.url = f"http://127.0.0.1:{server.server_address[1]}{parts.path.rstrip('/')}"
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
