"""Keys that say who we are."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from service.domain.errors import ConfigurationError
from service.signing import KeyFile, KeySet, SigningKey, read_key, thumbprint
from tests.builders import destination_of
from tests.certificates import PrivateKey, write_key


def test_thumbprint_of_the_standard() -> None:
    """The example of RFC 7638 section 3.1; members that do not identify a key play no part."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst"
        "n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr"
        "n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (rsa.generate_private_key(65537, 2048), "RS384"),
        (ec.derive_private_key(1, ec.SECP384R1()), "ES384"),
    ],
)
def test_published_key_verifies_what_the_private_one_signs(tmp_path: Path, key: PrivateKey, algorithm: str) -> None:
    """The set holds the public half only, under its thumbprint, and a verifier that knows just the set accepts us."""
    path = str(write_key(tmp_path / "key.pem", key))
    own = read_key(path, "key_file")
    entry = destination_of("fhir+https://h/", auth="smart", client_id="c", key_file=path)
    (published,) = KeySet([entry, entry]).public()["keys"]
    assert published["kid"] == own.kid == thumbprint(published)
    assert own.algorithm == published["alg"] == algorithm
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(published)
    signed = jwt.encode({"a": 1}, own.private, algorithm=own.algorithm)
    assert jwt.decode(signed, jwt.PyJWK(json.loads(json.dumps(published))), algorithms=[algorithm]) == {"a": 1}


def test_coordinates_keep_their_leading_zeros(tmp_path: Path) -> None:
    """RFC 7518 6.2.1.2: a coordinate of P-384 is 48 bytes, also where it begins with zeros."""
    scalar = next(
        n
        for n in range(1, 5000)
        if ec.derive_private_key(n, ec.SECP384R1()).public_key().public_numbers().x >> 376 == 0
    )
    key = read_key(str(write_key(tmp_path / "k.pem", ec.derive_private_key(scalar, ec.SECP384R1()))), "key_file")
    assert len(base64.urlsafe_b64decode(key.jwk["x"] + "==")) == 48


def test_a_key_is_read_again_when_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked ten times, an RSA key is checked once; a new file is noticed at once, and one that is gone is told."""
    reads: list[str] = []

    def counted(path: str, setting: str) -> SigningKey:
        reads.append(path)
        return read_key(path, setting)

    monkeypatch.setattr("service.signing.read_key", counted)
    path = write_key(tmp_path / "k.pem", ec.generate_private_key(ec.SECP384R1()))
    file = KeyFile(str(path), "key_file")
    first = {file.key().kid for _ in range(10)}
    assert len(reads) == len(first) == 1
    write_key(path, ec.generate_private_key(ec.SECP384R1()))
    assert file.key().kid not in first
    path.unlink()
    with pytest.raises(ConfigurationError, match="No such file"):
        file.key()


def test_private_key_is_in_no_repr(tmp_path: Path) -> None:
    """What is logged by mistake shows the public half only."""
    key = read_key(str(write_key(tmp_path / "k.pem", ec.generate_private_key(ec.SECP384R1()))), "key_file")
    assert "private" not in repr(key)


OTHER_KEYS: dict[str, Callable[[Path], object]] = {
    "missing": lambda _: None,
    "text": lambda path: path.write_text("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"),
    "locked": lambda path: write_key(path, ec.generate_private_key(ec.SECP384R1()), b"passphrase"),
    "p256": lambda path: write_key(path, ec.generate_private_key(ec.SECP256R1())),
    "rsa1024": lambda path: write_key(path, rsa.generate_private_key(65537, 1024)),  # noqa: S505 - it must be refused
    "ed25519": lambda path: write_key(path, ed25519.Ed25519PrivateKey.generate()),
}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "No such file"),
        ("text", "holds no private key in PEM form without a passphrase"),
        ("locked", "holds no private key in PEM form without a passphrase"),
        ("p256", "curve P-384, or an RSA key of at least 2048 bits"),
        ("rsa1024", "curve P-384, or an RSA key of at least 2048 bits"),
        ("ed25519", "curve P-384, or an RSA key of at least 2048 bits"),
    ],
)
def test_other_keys_are_refused(tmp_path: Path, name: str, words: str) -> None:
    """What SMART does not allow, and what cannot be read, is told with the name of the setting and the file."""
    OTHER_KEYS[name](tmp_path / name)
    with pytest.raises(ConfigurationError, match=f"next_key_file .*{name}.*{words}"):
        read_key(str(tmp_path / name), "next_key_file")
