"""SMART Backend Services: access tokens for a signed assertion (SMART App Launch 2.2, RFC 7523, RFC 6749 4.4)."""

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt

from service import clock
from service.domain.errors import ConfigurationError, DentgateError, Permanent, Transient
from service.export.tls import client_context
from service.export.transport import Answer, Transport, masked
from service.settings import DestinationSettings
from service.signing import KeyFile, SigningKey, read_key

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 240  # the limit is five minutes; the rest is for clocks that differ
_TOKEN_SECONDS = 300.0  # where the server does not say: what it SHOULD give at most
_EARLY_SECONDS = 30.0  # a token is renewed this long before it ends, or after four fifths of a short life
_TRANSIENT = {408, 425, 429}  # and all of 5xx


class Smart:
    """Tokens of one record, kept until shortly before they end; one renewal at a time in a process."""

    def __init__(self, entry: DestinationSettings, base: str) -> None:
        """Read the key once, to tell at start if it cannot be used.

        Raises:
            ConfigurationError: the key is none that SMART allows, or the token endpoint would be asked without TLS.
        """
        self._key_file = KeyFile(entry.key_file, "key_file")
        self._key_file.key()
        if entry.next_key_file:
            read_key(entry.next_key_file, "next_key_file")
        self._entry, self._base = entry, base
        if entry.token_url:
            self._require_sound(entry.token_url)
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0  # on the monotonic clock: the machine's may jump

    def authorization(self) -> str:
        """See Access."""
        with self._lock:
            if not self._token or time.monotonic() >= self._renew_at:
                self._renew()
            return f"Bearer {self._token}"

    def renewed(self, refused: str | None) -> str:
        """See Access: a token that is not the refused one any more was renewed by another thread."""
        with self._lock:
            if f"Bearer {self._token}" == refused:
                self._renew()
            return f"Bearer {self._token}"

    def _renew(self) -> None:
        self._token = ""
        key = self._key_file.key()
        begun = time.monotonic()
        with Transport(client_context(self._entry)) as http:
            token_url = self._entry.token_url or self._discover(http, key)
            assertion = self._assertion(key, token_url)
            form = {
                "grant_type": "client_credentials",
                "scope": self._entry.scope or _fhir_scope(self._entry),
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": assertion,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
            answer = http.exchange("POST", token_url, headers=headers, content=urlencode(form).encode())
        if answer.status != 200:  # noqa: PLR2004 - RFC 6749 5.1
            raise _refusal(answer, assertion)
        self._token, life = _token_of(answer)
        self._renew_at = begun + life - min(_EARLY_SECONDS, life / 5)

    def _assertion(self, key: SigningKey, token_url: str) -> str:
        claims = {
            "iss": self._entry.client_id,
            "sub": self._entry.client_id,
            "aud": token_url,
            "exp": int(clock.now().timestamp()) + _ASSERTION_SECONDS,
            "jti": clock.token(),
        }
        return jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.kid, "typ": "JWT"})

    def _discover(self, http: Transport, key: SigningKey) -> str:
        """The token endpoint that the record names (SMART App Launch, conformance)."""
        url = f"{self._base}/.well-known/smart-configuration"
        answer = http.exchange("GET", url, headers={"Accept": "application/json"})
        if answer.status in _TRANSIENT or answer.status >= 500:  # noqa: PLR2004 - the family of server errors
            message = f".well-known/smart-configuration: HTTP {answer.status}"
            raise Transient(message, answer.retry_after)
        description = answer.json()
        if not answer.is_success or not isinstance(description, dict) or not description.get("token_endpoint"):
            message = (
                f"the server names no token endpoint (.well-known/smart-configuration: HTTP {answer.status}); "
                "set token_url, or another auth"
            )
            raise Permanent(message)
        algorithms = description.get("token_endpoint_auth_signing_alg_values_supported")
        if isinstance(algorithms, list) and algorithms and key.algorithm not in algorithms:
            message = (
                f"key_file signs with {key.algorithm}, the server takes {', '.join(map(str, algorithms))[:100]}; "
                "make a key of that kind and register it"
            )
            raise Permanent(message)
        token_url = str(description["token_endpoint"])
        try:
            self._require_sound(token_url)
        except ConfigurationError as error:
            raise Permanent(str(error)) from None
        return token_url

    def _require_sound(self, token_url: str) -> None:
        """Tokens are secrets: a record with TLS never gets its token over a line without."""
        parts = urlsplit(token_url)
        schemes = {"https"} if self._base.startswith("https:") else {"http", "https"}
        if parts.scheme not in schemes or not parts.hostname or parts.username or parts.fragment:
            message = f"the token endpoint {parts.scheme}://{parts.hostname} is no address of {' or '.join(schemes)}"
            raise ConfigurationError(message)


def _fhir_scope(entry: DestinationSettings) -> str:
    """What delivery of reports creates (c), reads (r), updates (u) and searches (s), and nothing more."""
    rights = {
        "Patient": "crs" if entry.create_patient else "rs",
        "ServiceRequest": "rs",
        "ImagingStudy": "rs",
        "DiagnosticReport": "crus",
        "Observation": "crus",
        "Device": "crs",
        "Provenance": "crs",
        "DocumentReference": "crus",
        "Binary": "crus",
    }
    return " ".join(f"system/{kind}.{letters}" for kind, letters in rights.items())


def _fields(answer: Answer) -> Mapping[str, Any]:
    content = answer.json()
    return content if isinstance(content, dict) else {}


def _token_of(answer: Answer) -> tuple[str, float]:
    """Token and seconds of life (RFC 6749 5.1)."""
    fields = _fields(answer)
    token = fields.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        message = "the token endpoint answers without an access_token; is token_url right?"
        raise Permanent(message)
    if str(fields.get("token_type", "")).lower() != "bearer":
        message = "the token endpoint gives a token of another type than bearer, which SMART does not know"
        raise Permanent(message)
    try:
        life = float(fields.get("expires_in", _TOKEN_SECONDS))
    except (TypeError, ValueError):
        life = _TOKEN_SECONDS
    return token, life if life > 0 else _TOKEN_SECONDS


def _refusal(answer: Answer, assertion: str) -> DentgateError:
    """Why there is no token, in the words of the endpoint (RFC 6749 5.2)."""
    fields = _fields(answer)
    error, description = str(fields.get("error") or ""), str(fields.get("error_description") or "")
    message = f"token endpoint: HTTP {answer.status} {masked(f'{error} {description}', [assertion])}".rstrip()
    if answer.status in _TRANSIENT or answer.status >= 500:  # noqa: PLR2004 - the family of server errors
        return Transient(message, answer.retry_after)
    if error == "invalid_scope":
        return Permanent(f"{message}; set scope to what the record granted us")
    return Permanent(
        f"{message}; does it know client_id and our public key (/.well-known/jwks.json), and is this machine's clock "
        "right?"
    )
