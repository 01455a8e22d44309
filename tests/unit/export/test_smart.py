"""SMART Backend Services against a token endpoint that verifies every assertion."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service.domain.errors import ConfigurationError, Permanent, Transient
from service.export.http import HttpServer
from service.settings import DestinationSettings
from service.signing import KeySet
from tests.builders import destination_of
from tests.certificates import Authority, PrivateKey, write_key
from tests.http_peers import Reply, Request, TokenEndpoint, reply, serving, smart_record

KEYS: dict[str, Callable[[], PrivateKey]] = {
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RS384": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    """An EC key."""
    return str(write_key(tmp_path / "key.pem", KEYS["ES384"]()))


def entry_of(base: str, key_file: str, **keys: str) -> DestinationSettings:
    """A record that we log in to by signature."""
    return destination_of(f"fhir+{base}", auth="smart", client_id="dentgate", key_file=key_file, **keys)


def endpoint_for(key_file: str, **options: Any) -> TokenEndpoint:  # noqa: ANN401 - keywords of the endpoint
    """An endpoint that knows the public half of the key."""
    registered = entry_of("http://127.0.0.1/", key_file)
    return TokenEndpoint("dentgate", lambda: KeySet([registered]).public(), **options)


def ask(server: HttpServer) -> int:
    """The status of one request."""
    with server.connect() as http:
        return http.send("GET", "/metadata", headers={}).status


@pytest.mark.parametrize("algorithm", KEYS)
def test_token_for_a_signed_assertion(tmp_path: Path, algorithm: str) -> None:
    """A key of either kind gets a token: signature, audience, life and jti are what the record asks for."""
    path = str(write_key(tmp_path / "key.pem", KEYS[algorithm]()))
    endpoint = endpoint_for(path)
    with smart_record(endpoint) as base:
        assert ask(HttpServer(entry_of(base, path), "fhir")) == 200
    assert "system/DiagnosticReport.crus" in endpoint.scopes[0].split()


@pytest.mark.parametrize(("life", "early"), [(300, 30.0), (100, 20.0), (10, 2.0)])
def test_token_is_kept_and_renewed_before_it_ends(
    key_file: str, monkeypatch: pytest.MonkeyPatch, life: int, early: float
) -> None:
    """One token serves many connections; a new one comes 30 s or a fifth of its life before it ends."""
    endpoint, now = endpoint_for(key_file, token_seconds=life), [1000.0]
    monkeypatch.setattr("service.export.smart.time", SimpleNamespace(monotonic=lambda: now[0]))
    with smart_record(endpoint) as base:
        server = HttpServer(entry_of(base, key_file), "fhir")
        for moment, given in ((0.0, 1), (1.0, 1), (life - early - 0.1, 1), (life - early + 0.1, 2)):
            now[0] = 1000.0 + moment
            assert ask(server) == 200
            assert endpoint.given == given


def test_one_renewal_in_flight(key_file: str) -> None:
    """Eight threads that need a token at once fetch one, also after it was revoked under all of them."""
    endpoint = endpoint_for(key_file)
    with smart_record(endpoint) as base:
        server = HttpServer(entry_of(base, key_file), "fhir")
        for expected in (1, 2):
            statuses: list[int] = []
            threads = [threading.Thread(target=lambda: statuses.append(ask(server))) for _ in range(8)]  # noqa: B023
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert statuses == [200] * 8
            assert endpoint.given == expected
            endpoint.revoke()


def test_401_renews_once(key_file: str) -> None:
    """A server that refuses the new token as well is asked no third time; the words say what to mend."""
    endpoint, asked = endpoint_for(key_file), []

    def script(request: Request) -> Reply:
        if request.path == "/token":
            return endpoint.give(request)
        asked.append(request.headers["Authorization"])
        return Reply(401)

    with serving(script) as url:
        endpoint.url = f"{url}/token"
        server = HttpServer(entry_of(f"{url}/fhir", key_file, token_url=endpoint.url), "fhir")
        assert ask(server) == 401
    assert len(asked) == len(set(asked)) == 2
    assert endpoint.given == 2


def test_scope_and_token_url_of_the_settings(key_file: str) -> None:
    """What the settings name is used, and nothing is asked of the record about itself."""
    endpoint, paths = endpoint_for(key_file), []

    def script(request: Request) -> Reply:
        paths.append(request.path)
        return endpoint.give(request) if request.path == "/oauth/token" else Reply()

    with serving(script) as url:
        endpoint.url = f"{url}/oauth/token"
        keys = {"token_url": endpoint.url, "scope": "system/*.write"}
        assert ask(HttpServer(entry_of(f"{url}/fhir", key_file, **keys), "fhir")) == 200
    assert paths == ["/oauth/token", "/fhir/metadata"]
    assert endpoint.scopes == ["system/*.write"]


def test_rotation_by_publishing_first(tmp_path: Path) -> None:
    """The key to come is in the set before it signs; after the change the record accepts it without anything else."""
    old, new = (str(write_key(tmp_path / name, KEYS["ES384"]())) for name in ("old.pem", "new.pem"))
    before = entry_of("http://127.0.0.1/", old, next_key_file=new)
    endpoint = TokenEndpoint("dentgate", lambda: KeySet([before]).public())
    with smart_record(endpoint) as base:
        assert ask(HttpServer(entry_of(base, old, next_key_file=new), "fhir")) == 200
        assert ask(HttpServer(entry_of(base, new), "fhir")) == 200


def test_unknown_client_and_unknown_key(tmp_path: Path, key_file: str) -> None:
    """A refusal is for a person: it holds the endpoint's words and where our key is, and not the assertion."""
    endpoint = endpoint_for(key_file)
    other = str(write_key(tmp_path / "other.pem", KEYS["ES384"]()))
    with smart_record(endpoint) as base:
        unknown = destination_of(f"fhir+{base}", auth="smart", client_id="stranger", key_file=key_file)
        with pytest.raises(Permanent, match=r"HTTP 400 invalid_client .*unknown client.*/.well-known/jwks.json"):
            ask(HttpServer(unknown, "fhir"))
        with pytest.raises(Permanent, match="invalid_client") as raised:
            ask(HttpServer(entry_of(base, other), "fhir"))
    assert "unknown key" in str(raised.value)
    assert "eyJ" not in str(raised.value)


def test_an_endpoint_that_repeats_the_assertion(key_file: str) -> None:
    """What proves who we are stands in no message, though the endpoint repeats it."""
    seen: list[str] = []

    def script(request: Request) -> Reply:
        seen.append(dict(parse_qsl(request.body.decode()))["client_assertion"])
        return reply({"error": "invalid_client", "error_description": f"bad {seen[-1]} there"}, 400)

    with serving(script) as url, pytest.raises(Permanent, match=r"invalid_client bad \*\*\* there") as raised:
        ask(HttpServer(entry_of(url, key_file, token_url=f"{url}/token"), "fhir"))
    assert seen[0] not in str(raised.value)


def test_a_record_that_takes_another_algorithm(key_file: str) -> None:
    """An algorithm that the record does not take is told before anything is signed."""
    with (
        smart_record(endpoint_for(key_file), ("RS384",)) as base,
        pytest.raises(Permanent, match="key_file signs with ES384, the server takes RS384; make a key of that kind"),
    ):
        ask(HttpServer(entry_of(base, key_file), "fhir"))


@contextmanager
def record_with(description: Reply, token: Reply) -> Iterator[str]:
    """A record that describes itself so, and gives that token."""
    here: list[str] = []

    def script(request: Request) -> Reply:
        if request.path == "/token":
            return token
        body = description.body.replace(b"HERE", here[0].encode())
        return Reply(description.status, body, description.headers)

    with serving(script) as url:
        here.append(url)
        yield url


FOUND = reply({"token_endpoint": "HERE/token"})


@pytest.mark.parametrize(
    ("description", "token", "kind", "words"),
    [
        (Reply(404), Reply(), Permanent, "names no token endpoint .*HTTP 404.*set token_url"),
        (reply([1]), Reply(), Permanent, "names no token endpoint"),
        (Reply(503, headers={"Retry-After": "9"}), Reply(), Transient, "smart-configuration: HTTP 503"),
        (reply({"token_endpoint": "ftp://h/"}), Reply(), Permanent, "is no address of"),
        (FOUND, Reply(503, headers={"Retry-After": "9"}), Transient, "token endpoint: HTTP 503"),
        (FOUND, reply({"error": "invalid_scope"}, 400), Permanent, "set scope to what the record granted us"),
        (FOUND, reply({"error": "invalid_client"}, 401), Permanent, "HTTP 401 invalid_client"),
        (FOUND, Reply(200, b"<html>"), Permanent, "without an access_token"),
        (FOUND, reply({"access_token": "a\nb", "token_type": "bearer"}), Permanent, "without an access_token"),
        (FOUND, reply({"access_token": "a", "token_type": "mac"}), Permanent, "another type than bearer"),
    ],
)
def test_answers_of_records_on_a_bad_day(
    key_file: str, description: Reply, token: Reply, kind: type[Permanent | Transient], words: str
) -> None:
    """Each way in which a record gives no token is told in words, and sorted by whether it passes."""
    with record_with(description, token) as base, pytest.raises(kind, match=words) as raised:
        ask(HttpServer(entry_of(base, key_file), "fhir"))
    if isinstance(raised.value, Transient):
        assert raised.value.retry_after == 9.0


@pytest.mark.parametrize("life", [{}, {"expires_in": "3600"}, {"expires_in": None}, {"expires_in": -1}])
def test_tokens_whose_life_is_told_badly_are_kept_a_while(key_file: str, life: Mapping[str, Any]) -> None:
    """A token without a life, or with one that is no number, serves for five minutes."""
    given = []

    def script(request: Request) -> Reply:
        if request.path == "/token":
            given.append(1)
            return reply({"access_token": "t", "token_type": "bearer", **life})
        return reply({"token_endpoint": f"http://{request.headers['Host']}/token"})

    with serving(script) as url:
        server = HttpServer(entry_of(url, key_file), "fhir")
        assert [ask(server), ask(server)] == [200, 200]
    assert len(given) == 1


def test_no_token_over_a_line_without_tls(tmp_path: Path, key_file: str) -> None:
    """A record with TLS that names a token endpoint without is refused: the token would travel in the clear."""
    authority = Authority(tmp_path)
    context = authority.server_context(authority.issue("server"))
    named = reply({"token_endpoint": "http://127.0.0.1:9/token"})
    with (
        serving(lambda _: named, context) as url,
        pytest.raises(Permanent, match=r"http://127\.0\.0\.1 is no address of https"),
    ):
        ask(HttpServer(entry_of(url, key_file, ca_file=str(authority.certificate)), "fhir"))
    with pytest.raises(ConfigurationError, match="is no address of https"):
        HttpServer(entry_of("https://127.0.0.1/", key_file, token_url="http://h/token"), "fhir")  # noqa: S106 - no secret


def test_key_that_cannot_be_used_is_told_at_start(tmp_path: Path) -> None:
    """A wrong key ends the start, not the first delivery."""
    small = str(write_key(tmp_path / "small.pem", ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(ConfigurationError, match="SMART asks for an EC key on curve P-384"):
        HttpServer(entry_of("http://127.0.0.1/", small), "fhir")
