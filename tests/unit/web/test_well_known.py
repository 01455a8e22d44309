"""The public keys that records look up here."""

from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service.export.http import HttpServer
from service.signing import read_key
from tests.builders import destination_of
from tests.certificates import write_key
from tests.http_peers import TokenEndpoint, fetched, smart_record
from tests.unit.web.rows import serving, site

KEY_SET = "/.well-known/jwks.json"


def smart(name: str, key_file: Path, **more: str) -> dict[str, str]:
    """A destination that we log in to by signature."""
    keys = {"auth": "smart", "client_id": "dentgate", "key_file": str(key_file)}
    return {"name": name, "url": "fhir+https://ehr.example/fhir", **keys, **more}


def test_keys_in_use_and_to_come(tmp_path: Path) -> None:
    """Every key once, under its thumbprint, public half only, to be kept for a while; no login, any host name."""
    first = write_key(tmp_path / "a.pem", ec.generate_private_key(ec.SECP384R1()))
    coming = write_key(tmp_path / "b.pem", rsa.generate_private_key(65537, 2048))
    destinations = [smart("a", first, next_key_file=str(coming)), smart("b", first)]
    gateway = site(tmp_path, destination=[*destinations, {"name": "pacs", "url": "dicom://PACS@127.0.0.1:104"}])
    with serving(gateway.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        answer = client.get(KEY_SET, headers={"Host": "gateway.clinic.example"})
    gateway.db.close()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert [key["kid"] for key in answer.json()["keys"]] == [read_key(str(path), "").kid for path in (first, coming)]
    assert all(set(key) <= {"kty", "crv", "x", "y", "n", "e", "alg", "kid", "key_ops"} for key in answer.json()["keys"])


def test_a_record_that_fetches_the_set_accepts_us(tmp_path: Path) -> None:
    """The whole way: the record fetches our keys here, checks our assertion with them, and gives a token that works."""
    key = write_key(tmp_path / "a.pem", ec.generate_private_key(ec.SECP384R1()))
    gateway = site(tmp_path, destination=[smart("a", key)])
    with serving(gateway.app()) as url:
        endpoint = TokenEndpoint("dentgate", lambda: fetched(f"{url}{KEY_SET}"))
        with smart_record(endpoint) as base:
            entry = destination_of(f"fhir+{base}", auth="smart", client_id="dentgate", key_file=str(key))
            with HttpServer(entry, "fhir").connect() as http:
                assert http.send("GET", "/metadata", headers={}).status == 200
    gateway.db.close()


def test_without_signatures_the_set_is_empty(client: httpx.Client) -> None:
    """A gateway that logs in to nobody so has an empty set, which is no error."""
    assert client.get(KEY_SET).json() == {"keys": []}


def test_a_key_that_is_gone_is_told_without_its_place(tmp_path: Path) -> None:
    """The file vanished: 503 that nobody keeps, and no path in it."""
    gateway = site(tmp_path, destination=[smart("a", tmp_path / "gone.pem")])
    with serving(gateway.app()) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        answer = client.get(KEY_SET)
    gateway.db.close()
    assert answer.status_code == 503
    assert answer.headers["cache-control"] == "no-store"
    assert "gone.pem" not in answer.text
