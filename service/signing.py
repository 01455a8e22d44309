"""Keys with which we sign who we are (SMART Backend Services), and their public halves as a JSON Web Key Set."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from service.domain.errors import ConfigurationError
from service.settings import DestinationSettings

_LEAST_RSA_BITS = 2048
_THUMBED = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}  # RFC 7638 3.2: what identifies a key


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the one algorithm that SMART allows for its kind.

    Attributes:
        algorithm: RS384 or ES384.
        jwk: the public half (RFC 7517), with ``kid``, the thumbprint of RFC 7638.
        private: never shown.
    """

    algorithm: str
    jwk: Mapping[str, Any]
    private: RSAPrivateKey | EllipticCurvePrivateKey = field(repr=False)

    @property
    def kid(self) -> str:
        """By this name the record finds the key in our set."""
        return str(self.jwk["kid"])


def read_key(path: str, setting: str) -> SigningKey:
    """The key in a PEM file.

    Raises:
        ConfigurationError: no such file, no private key without passphrase, or not of the two kinds SMART allows.
    """
    try:
        private = load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        message = f"{setting} {path}: {error.strerror}; name an existing file that the service may read"
        raise ConfigurationError(message) from None
    except (TypeError, ValueError):  # with a passphrase, no PEM, a damaged key; nothing of its text goes on
        message = f"{setting} {path} holds no private key in PEM form without a passphrase"
        raise ConfigurationError(message) from None
    if isinstance(private, RSAPrivateKey) and private.key_size >= _LEAST_RSA_BITS:
        return SigningKey(
            "RS384", _published(RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), "RS384"), private
        )
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP384R1):
        return SigningKey("ES384", _published(ECAlgorithm.to_jwk(private.public_key(), as_dict=True), "ES384"), private)
    message = f"{setting} {path}: SMART asks for an EC key on curve P-384, or an RSA key of at least 2048 bits"
    raise ConfigurationError(message)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638: the base64url SHA-256 of the members that identify a key, in their canonical form."""
    members = {name: jwk[name] for name in _THUMBED[jwk["kty"]]}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()


class KeyFile:
    """A key that is read again when its file changes, only then: checking an RSA key takes tenths of a second."""

    def __init__(self, path: str, setting: str) -> None:
        """Nothing is read yet."""
        self._path, self._setting = path, setting
        self._lock = threading.Lock()
        self._state: tuple[int, int, int] | None = None
        self._key: SigningKey | None = None

    def key(self) -> SigningKey:
        """The key that is in the file now. Raises ConfigurationError as ``read_key``."""
        with self._lock:
            try:
                status = Path(self._path).stat()
                state = (status.st_ino, status.st_mtime_ns, status.st_size)
            except OSError:
                state = None
            if self._key is None or state is None or state != self._state:
                self._key = read_key(self._path, self._setting)
                self._state = state
            return self._key


class KeySet:
    """The public keys of all destinations that we log in to by signature: those in use, and those to come."""

    def __init__(self, entries: Iterable[DestinationSettings]) -> None:
        """Nothing is read yet."""
        named = [
            (path, setting)
            for entry in entries
            for setting, path in (("key_file", entry.key_file), ("next_key_file", entry.next_key_file))
            if path
        ]
        self._files = [KeyFile(path, setting) for path, setting in dict(named).items()]

    def public(self) -> dict[str, list[Mapping[str, Any]]]:
        """As a JSON Web Key Set (RFC 7517 5), each key once. Raises ConfigurationError where a file is gone."""
        keys = [file.key() for file in self._files]
        return {"keys": list({key.kid: key.jwk for key in keys}.values())}


def _published(jwk: Mapping[str, Any], algorithm: str) -> dict[str, Any]:
    public = {name: jwk[name] for name in _THUMBED[jwk["kty"]]}
    return public | {"alg": algorithm, "key_ops": ["verify"], "kid": thumbprint(public)}
