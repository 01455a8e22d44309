"""Trust and identity on TLS connections to a destination, from the keys of its settings."""

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from service import clock
from service.domain.errors import ConfigurationError, Permanent, Transient
from service.settings import DestinationSettings

_CONNECT_SECONDS = 10.0
_PORTS = {"stow+https": 443, "fhir+https": 443, "mllps": 2575}
_SOON_DAYS = 30
_SECONDS_PER_DAY = 86400.0
#: OpenSSL's verification results -> what mends them.
_UNTRUSTED = {
    9: "is its clock or ours wrong?",
    10: "its administrator must renew it",
    18: "set ca_file to its authority's certificate",
    19: "set ca_file to its authority's certificate",
    20: "set ca_file to its authority's certificate",
    21: "set ca_file to its authority's certificate, or have it send its whole chain",
    62: "write the host into the url as its certificate names it",
    64: "write the host into the url as its certificate names it",
}


def client_context(entry: DestinationSettings) -> ssl.SSLContext:
    """Whom we trust, and who we are where the peer asks.

    Without ``ca_file`` certificates are checked against the machine's own trust store, where hospitals put theirs. The
    files are read anew for each connection, so a renewed certificate needs no restart.

    Raises:
        ConfigurationError: a file cannot be read, or key and certificate do not belong together.
    """
    if entry.ca_file:
        _readable(entry.ca_file, "ca_file")
    try:
        context = ssl.create_default_context(cafile=entry.ca_file or None)
    except (ssl.SSLError, OSError) as error:
        message = f"ca_file {entry.ca_file} holds no certificate in PEM form; give it the authority's certificate"
        raise ConfigurationError(message) from error
    if entry.cert_file:
        _readable(entry.cert_file, "cert_file")
        _readable(entry.cert_key_file, "cert_key_file")
        try:
            context.load_cert_chain(entry.cert_file, entry.cert_key_file, password=_no_passphrase)
        except (ssl.SSLError, OSError, ValueError) as error:
            message = (
                f"cert_file {entry.cert_file} and cert_key_file {entry.cert_key_file} are not a certificate and its "
                "private key in PEM form without a passphrase"
            )
            raise ConfigurationError(message) from error
    return context


def why_untrusted(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the peer's certificate, and what mends it."""
    return f"{error.verify_message.rstrip('.')}; {_UNTRUSTED.get(error.verify_code, 'ask its administrator')}"


def certificate_lives(entry: DestinationSettings) -> list[str]:
    """How many days the peer's certificate and ours are still good for, a phrase each; asks the peer.

    Returns:
        Nothing for a destination without TLS.

    Raises:
        Transient: the peer cannot be reached, or its certificate is not trusted.
        Permanent: our own certificate has expired.
        ConfigurationError: a file is gone.
    """
    parts = urlsplit(entry.url)
    if not parts.scheme.endswith("s"):
        return []
    phrases = [_life("its", _peer_certificate_ends(entry, parts.hostname or "", parts.port or _PORTS[parts.scheme]))]
    if entry.cert_file:
        certificate = x509.load_pem_x509_certificate(Path(entry.cert_file).read_bytes())
        phrases.append(_life("our", certificate.not_valid_after_utc))
        if certificate.not_valid_after_utc <= clock.now():
            message = f"{phrases[-1]}; put the new one into cert_file"
            raise Permanent(message)
    return phrases


def _life(whose: str, ends: datetime) -> str:
    seconds = (ends - clock.now()).total_seconds()
    if seconds <= 0:
        return f"{whose} certificate expired on {ends:%Y-%m-%d}"
    days = int(seconds // _SECONDS_PER_DAY)
    return f"{whose} certificate expires in {days} days" + (", renew it" if days < _SOON_DAYS else "")


def _peer_certificate_ends(entry: DestinationSettings, host: str, port: int) -> datetime:
    try:
        with (
            socket.create_connection((host, port), _CONNECT_SECONDS) as plain,
            client_context(entry).wrap_socket(plain, server_hostname=host) as secure,
        ):
            certificate = secure.getpeercert() or {}
    except OSError as error:
        why = why_untrusted(error) if isinstance(error, ssl.SSLCertVerificationError) else error.strerror or error
        message = f"no TLS connection to {host}:{port}: {why}"
        raise Transient(message) from None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)


def _readable(path: str, key: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        message = f"{key} {path}: {error.strerror}; name an existing file that the service may read"
        raise ConfigurationError(message) from None


def _no_passphrase() -> str:
    """Asked for a passphrase, OpenSSL would otherwise ask on the terminal and hang."""
    return ""
