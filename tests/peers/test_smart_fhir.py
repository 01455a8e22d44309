"""Reports to a real FHIR record behind a door that asks for a token of SMART Backend Services, by mutual TLS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from service.domain.errors import Permanent
from service.signing import KeySet
from tests.builders import destination_of
from tests.certificates import Authority, write_key
from tests.fhir_peer import Record
from tests.http_peers import Reply, Request, TokenEndpoint, reply, serving

_PASSED = ("Content-Type", "Accept", "Prefer", "If-Match", "Cache-Control")
_KEPT = ("Content-Type", "Location", "ETag")


@contextmanager
def door(base: str, endpoint: TokenEndpoint, authority: Authority) -> Iterator[str]:
    """A proxy before a record that lets requests with a good token pass; the value is its base URL."""
    upstream, _, path = base.partition("/fhir")

    def script(request: Request) -> Reply:
        if request.path == "/token":
            return endpoint.give(request)
        if request.path.endswith("/.well-known/smart-configuration"):
            return reply({"token_endpoint": endpoint.url})
        if not endpoint.admits(request.headers["Authorization"]):
            return reply({"resourceType": "OperationOutcome", "issue": []}, 401)
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        answer = httpx.request(
            request.method,
            upstream + request.path,
            content=request.body or None,
            headers=headers,
            trust_env=False,
            timeout=30,
        )
        kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
        return Reply(answer.status_code, answer.content, kept)

    with serving(script, authority.server_context(authority.issue("door"), asks_client=True)) as url:
        endpoint.url = f"{url}/token"
        yield f"{url}/fhir{path}"


def test_report_through_the_door(fhir_server: str, tmp_path: Path) -> None:
    """The whole delivery of a report, search to transaction, uses one token; a stranger's report stays outside."""
    authority = Authority(tmp_path / "authority")
    ours = authority.issue("ours")
    key = str(write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP384R1())))
    smart = {"auth": "smart", "client_id": "dentgate", "key_file": key}
    shown = {"cert_file": str(ours.certificate), "cert_key_file": str(ours.key), "ca_file": str(authority.certificate)}
    registered = destination_of("fhir+https://127.0.0.1/", **smart)
    endpoint = TokenEndpoint("dentgate", lambda: KeySet([registered]).public())
    with (
        httpx.Client(trust_env=False, base_url=fhir_server, timeout=30) as client,
        door(fhir_server, endpoint, authority) as base,
    ):
        record = Record(client, fhir_server, "smart")
        delivery = record.delivery(36, 37)
        with pytest.raises(Permanent, match="does not accept our login"):
            record.open(base, **shown).deliver(delivery)
        assert record.all("DiagnosticReport") == []
        destination = record.open(base, **smart, **shown)
        assert "FHIR 4" in destination.check()
        destination.deliver(delivery)
        destination.deliver(delivery)
        assert len(record.all("DiagnosticReport")) == 1
        assert len(record.all("Observation")) == 2
    assert endpoint.given == 1
