"""Other sites neither post to us nor read from us, and no failure shows its insides."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from starlette.types import Message, Receive, Scope, Send

from service.web.failures import LastResort
from tests.unit.web.rows import Site, serving, site


def test_headers(client: httpx.Client) -> None:
    """Every answer forbids foreign content, framing, sniffing and keeping."""
    for path in ("/", "/api/studies", "/nothing", "/static/dentgate.js"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == ("no-cache" if "static" in path else "no-store")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "192.168.0.9:8080"])
def test_own_hosts_are_served(client: httpx.Client, host: str) -> None:
    """Addresses and the names of this installation are served."""
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", "", "[", "localhost.evil.example"])
def test_foreign_host_names_are_refused(client: httpx.Client, host: str) -> None:
    """A name that somebody pointed at this address is refused (DNS rebinding)."""
    assert client.get("/api/studies", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_posts_of_other_sites_are_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    """A page of another site can neither upload nor retry."""
    for path in ("/api/jobs/1/retry", "/upload", "/api/studies", "/studies/1.2/jobs/1/retry"):
        assert client.post(path, headers=headers).status_code == 403


def test_own_posts_pass(client: httpx.Client) -> None:
    """Our own pages, and programs, which send no Origin, may post."""
    own = {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/jobs/1/retry", headers=own).status_code == 404
    assert client.post("/api/jobs/1/retry").status_code == 404


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a gateway behind a proxy that names its users."""
    web = {"public_hosts": ["Dentgate.example.org", "pages.example.org:8443"], "user_header": "X-Remote-User"}
    made = site(tmp_path, web=web)
    with serving(made.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield client
    made.db.close()


def test_names_of_the_proxy_are_served(proxied: httpx.Client) -> None:
    """Pages are served under the public names, and no others."""
    for host, status in {
        "dentgate.example.org": 200, "dentgate.example.org:443": 200, "pages.example.org": 200,
        "127.0.0.1:8080": 200, "evil.example": 400, "dentgate.example.org.evil.example": 400,
    }.items():  # fmt: skip
        assert proxied.get("/api/studies", headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("dentgate.example.org", "https://dentgate.example.org", 404),
        ("127.0.0.1:8080", "https://dentgate.example.org", 404),
        ("127.0.0.1:8080", "https://pages.example.org:8443", 404),
        ("127.0.0.1:8080", "https://pages.example.org", 403),
        ("127.0.0.1:8080", "https://dentgate.example.org:9999", 403),
        ("dentgate.example.org", "https://evil.example", 403),
    ],
)
def test_posts_through_the_proxy_pass(proxied: httpx.Client, host: str, origin: str, status: int) -> None:
    """Our own pages may post under every public name, whatever Host the proxy sends (404: no job); others may not."""
    headers = {"Host": host, "Origin": origin, "X-Remote-User": "anna"}
    assert proxied.post("/api/jobs/1/retry", headers=headers).status_code == status
    assert proxied.post("/api/jobs/1/retry", headers=headers | {"Sec-Fetch-Site": "same-site"}).status_code == 403


def test_only_users_whom_the_proxy_names_may_write(proxied: httpx.Client) -> None:
    """Nobody, an empty name, and two names (one may be the caller's own) change nothing; reading stays free."""
    both = [("X-Remote-User", "anna"), ("x-remote-user", "eve")]
    for headers in (list[tuple[str, str]](), [("X-Remote-User", "")], both):
        for path in ("/api/jobs/1/retry", "/upload", "/api/studies", "/api/studies/2.25.1/review"):
            answer = proxied.post(path, headers=headers)
            assert (answer.status_code, "X-Remote-User" in answer.text) == (403, True), path
        assert proxied.get("/api/studies", headers=headers).status_code == 200
    assert proxied.post("/api/jobs/1/retry", headers={"X-Remote-User": "anna"}).status_code == 404


def test_failure_shows_no_insides(gateway: Site, client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """A broken database is a plain sentence for people and programs; the log names the place but no values."""
    with gateway.db.begin() as session:
        session.execute(text("DROP TABLE artifact"))
    gateway.study(patient_name="Secret^Name")
    gateway.job(1)
    with caplog.at_level(logging.ERROR):
        page, answer = client.get("/studies/2.25.1"), client.get("/api/studies/2.25.1")
    assert (page.status_code, answer.status_code) == (500, 500)
    assert answer.json() == {"error": "something went wrong here; the log names the place"}
    assert "Traceback" not in page.text
    assert "OperationalError" in caplog.text
    assert "2.25.1" not in caplog.text


def test_unknown_pages_are_pages_and_unknown_calls_are_json(client: httpx.Client) -> None:
    """An address that does not exist is answered in the form its asker reads."""
    page = client.get("/nothing")
    assert page.status_code == 404
    assert "There is nothing at this address." in page.text
    assert client.get("/api/nothing").json() == {"error": "There is nothing at this address."}
    assert client.post("/api/studies/1.2.3").status_code == 405


def test_body_without_length_is_limited(client: httpx.Client) -> None:
    """A body that grows beyond the limit is refused while it arrives, whatever it declared."""

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield b"\0" * 65536

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/api/studies", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert "larger than 1 MB" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://[", "null", "http://127.0.0.1:99999", "//", "\xff"])
def test_an_origin_that_is_no_address_is_another_site(client: httpx.Client, origin: str) -> None:
    """Refused like any other site, whatever stands there."""
    answer = client.post("/api/jobs/1/retry", headers=[(b"Origin", origin.encode("latin-1"))])
    assert answer.status_code == 403


def test_an_answer_that_cannot_be_sent_is_no_failure_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """A peer that breaks HTTP while it is answered gets nothing, and no traceback into the log; our own faults do."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def faulty(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError

    async def broken(_message: Message) -> None:
        raise ConnectionError

    async def silent() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "websocket", "path": "/"}  # nothing is answered on it, so that only the log is looked at
    asyncio.run(LastResort(app)(scope, silent, broken))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    asyncio.run(LastResort(faulty)(scope, silent, broken))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR]
