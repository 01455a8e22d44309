"""How we log in to an HTTP destination: what stands in the Authorization header."""

import base64
from pathlib import Path
from typing import Protocol

from service.domain.errors import ConfigurationError
from service.export.smart import Smart
from service.settings import DestinationSettings


class Access(Protocol):
    """One object serves a process and all its threads."""

    def authorization(self) -> str | None:
        """The value of the header, None for none.

        Raises:
            Transient, Permanent: the token endpoint does not give a token.
            ConfigurationError: the file of the secret is gone.
        """

    def renewed(self, refused: str | None) -> str | None:
        """Another value after a 401, None if there is no other.

        Args:
            refused: the value that the server refused; someone else may have replaced it already.
        """


class Anonymous:
    """No login."""

    def authorization(self) -> str | None:
        """See Access."""
        return None

    def renewed(self, refused: str | None) -> str | None:
        """See Access."""
        del refused
        return None


class Secret:
    """A password or a token of long life from a file, which is read anew each time: a new one needs no restart."""

    def __init__(self, entry: DestinationSettings) -> None:
        """Take the file from the settings. Raises ConfigurationError if it cannot be used."""
        self._entry = entry
        self.authorization()

    def authorization(self) -> str:
        """See Access. RFC 7617, RFC 6750."""
        if self._entry.auth == "bearer":
            return f"Bearer {_secret(self._entry.token_file, 'token_file')}"
        login = f"{self._entry.username}:{_secret(self._entry.password_file, 'password_file')}"
        return f"Basic {base64.b64encode(login.encode()).decode()}"

    def renewed(self, refused: str | None) -> str | None:
        """See Access: the file may hold a new secret by now."""
        now = self.authorization()
        return now if now != refused else None


def open_access(entry: DestinationSettings, base: str) -> Access:
    """The login that the settings ask for.

    Args:
        entry: its ``auth`` chooses.
        base: address of the server, below which a SMART server describes itself.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    if entry.auth == "smart":
        return Smart(entry, base)
    return Anonymous() if entry.auth == "none" else Secret(entry)


def secrets_in_the_clear(entry: DestinationSettings) -> list[str]:
    """A phrase for the site check where our secret travels without TLS."""
    if entry.auth == "none" or entry.url.partition(":")[0].endswith("s"):
        return []
    return ["its secret travels without TLS: use https"]


def _secret(path: str, setting: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip("\r\n")
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        message = f"{setting} {path}: {error.strerror}; name an existing file that the service may read"
        raise ConfigurationError(message) from None
    if not text.isprintable() or not text or (setting == "token_file" and not text.isascii()):
        message = f"{setting} {path} must hold one line, the secret alone"
        raise ConfigurationError(message)
    return text
