"""Where instances and results are kept: written once, durable, then named. A new storage is one line in STORAGES.

A key exists only after its bytes are durable: a key that exists is whole. Keys come from us (digests), never from
what a sender wrote into a UID. Leftovers of a crash are unnamed and are swept.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from service.domain.errors import ConfigurationError
from service.storage.folder import FolderStorage
from service.storage.spool import Listed, Stored


class Incoming(Protocol):
    """A file being written; it MUST end with ``commit`` or ``discard``. Not for use from two threads."""

    def write(self, data: bytes | bytearray | memoryview, *, hashed: bool = True) -> None:
        """Append bytes; ``hashed=False`` leaves them out of the digest (a file's own header).

        Raises:
            OutOfResources: no room.
        """

    def reader(self) -> BinaryIO:
        """A reader over what was written so far; the caller closes it."""

    def digest(self) -> str:
        """SHA-256 (hex) of the hashed bytes so far."""

    def commit(self, key: str) -> Stored:
        """Make the bytes durable under ``key``; the same key with the same bytes may be written again.

        Raises:
            OutOfResources: no room.
        """

    def discard(self) -> None:
        """Forget the bytes; harmless after ``commit``."""


class Storage(Protocol):
    """A place for files. Keys are relative, made of digests and fixed words, separated by ``/``."""

    def create(self, *, reserve: bool = True) -> Incoming:
        """Begin a new file.

        Args:
            reserve: refuse while less than the reserve is free; False for results, which the reserve is there for.

        Raises:
            OutOfResources: less than the reserve is free.
        """

    def open(self, key: str) -> BinaryIO:
        """Open for reading. Raises FileNotFoundError."""

    def exists(self, key: str) -> bool:
        """Whether a file is there; cheaper than to open it. Raises OSError if that cannot be known now."""

    def files(self, folder: str) -> Iterator[Listed]:
        """What lies below a folder ("instances"), in no order; what comes or goes meanwhile may be missed.

        Raises:
            OSError: it cannot be listed.
        """

    def remove(self, key: str, before: datetime) -> None:
        """Remove a file for good, unless it was written again since ``before``; one that is not there is none."""

    def free_bytes(self) -> int:
        """Room left, in bytes."""

    def check(self) -> None:
        """Write, read and remove a small file. Raises ConfigurationError or OutOfResources with cause and mend."""

    def sweep(self) -> int:
        """Remove what crashed writers left behind (older than an hour); the number of files removed."""


def put(storage: Storage, key: str, content: bytes) -> Stored:
    """Store small content (a result) under a key; writing the same key again replaces it by the same bytes."""
    incoming = storage.create(reserve=False)
    try:
        incoming.write(content)
        return incoming.commit(key)
    finally:
        incoming.discard()


def get(storage: Storage, key: str) -> bytes:
    """The whole content of a key. Raises FileNotFoundError."""
    with storage.open(key) as file:
        return file.read()


def open_storage(url: str, reserve_mb: int) -> Storage:
    """The storage of a URL. Raises ConfigurationError for a scheme that is not known."""
    scheme = urlsplit(url).scheme
    if scheme not in STORAGES:
        message = f"storage.url {url!r}: unknown scheme, use one of {', '.join(STORAGES)}"
        raise ConfigurationError(message)
    return STORAGES[scheme](url, reserve_mb)


def _open_s3(url: str, reserve_mb: int) -> Storage:
    try:
        from service.storage.s3 import S3Storage  # noqa: PLC0415 - boto3 is an extra
    except ModuleNotFoundError:
        message = "storage.url is s3://, but boto3 is not installed; run: pip install 'dentgate[s3]'"
        raise ConfigurationError(message) from None
    return S3Storage.from_url(url, reserve_mb)


#: URL scheme -> storage. Adding one is one line.
STORAGES: dict[str, Callable[[str, int], Storage]] = {
    "file": FolderStorage.from_url,
    "s3": _open_s3,
}
