"""Where instances and results are kept: written once, fsynced, then named.

A file gets its name only after its bytes and its folder entry are on disk, so a name that exists is whole. Names come
from us (digests), never from what a sender wrote into a UID. Leftovers of a crash lie in ``incoming/`` and are swept.
"""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, Self
from urllib.parse import unquote, urlsplit

from service import clock
from service.domain.errors import ConfigurationError, OutOfResources

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
STALE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is durably kept: its key, the SHA-256 over the hashed bytes (hex) and its size in bytes."""

    key: str
    sha256: str
    size: int


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

    def create(self) -> Incoming:
        """Begin a new file. Raises OutOfResources when less than the reserve is free."""

    def open(self, key: str) -> BinaryIO:
        """Open for reading. Raises FileNotFoundError."""

    def free_bytes(self) -> int:
        """Room left, in bytes."""

    def check(self) -> None:
        """Write, read and remove a small file. Raises ConfigurationError or OutOfResources with cause and mend."""


def put(storage: Storage, key: str, content: bytes) -> Stored:
    """Store small content (a result) under a key; writing the same key again replaces it by the same bytes."""
    incoming = storage.create()
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


class FolderStorage:
    """``file://`` - a folder of this machine or a mounted share."""

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        """Create the folder if needed. Raises ConfigurationError if that is not possible."""
        self.root = root
        self.reserve_bytes = reserve_bytes
        self._sequence = 0
        self._lock = threading.Lock()
        self._session = clock.token()[:12]
        try:
            (root / "incoming").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = (
                f"storage folder {root}: {error.strerror}; create it or set storage.url (or --data) to a writable one"
            )
            raise ConfigurationError(message) from None

    @classmethod
    def from_url(cls, url: str, reserve_mb: int) -> Self:
        """``file:///folder``."""
        return cls(Path(unquote(urlsplit(url).path)), reserve_mb * 1024 * 1024)

    def create(self) -> "FolderIncoming":
        """See Storage."""
        if self.free_bytes() < self.reserve_bytes:
            message = f"less than {self.reserve_bytes >> 20} MB free in storage; free some space, then send again"
            raise OutOfResources(message)
        with self._lock:
            self._sequence += 1
            name = f"{os.getpid()}-{self._session}-{self._sequence}"
        return FolderIncoming(self.root, self.root / "incoming" / name)

    def open(self, key: str) -> BinaryIO:
        """See Storage."""
        return (self.root / key).open("rb")

    def free_bytes(self) -> int:
        """See Storage."""
        return shutil.disk_usage(self.root).free

    def check(self) -> None:
        """See Storage."""
        try:
            put(self, "check/probe", b"dentgate")
            (self.root / "check" / "probe").unlink()
        except OSError as error:
            message = f"storage folder {self.root}: {error.strerror}; make it writable for this user"
            raise ConfigurationError(message) from None

    def sweep(self) -> int:
        """Remove what crashed writers left behind (older than an hour); the number of files removed."""
        removed = 0
        oldest = clock.now().timestamp() - STALE_SECONDS
        for path in (self.root / "incoming").iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # another process swept it
        return removed


class FolderIncoming:
    """A file in ``incoming/`` that gets its name on commit."""

    def __init__(self, root: Path, path: Path) -> None:
        """Open the file for writing."""
        self._root = root
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        with _room():
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)

    def write(self, data: bytes | bytearray | memoryview, *, hashed: bool = True) -> None:
        """See Incoming."""
        view = memoryview(data)
        if hashed:
            self._digest.update(view)
        with _room():
            while view:
                written = os.write(self._descriptor, view)
                self._size += written
                view = view[written:]

    def reader(self) -> BinaryIO:
        """See Incoming."""
        return self._path.open("rb")

    def digest(self) -> str:
        """See Incoming."""
        return self._digest.hexdigest()

    def commit(self, key: str) -> Stored:
        """See Incoming."""
        target = self._root / key
        with _room():
            os.fsync(self._descriptor)
            _make_folder(self._root, target.parent)
            self._path.replace(target)
            _sync_folder(target.parent)
        self._close()
        return Stored(key, self.digest(), self._size)

    def discard(self) -> None:
        """See Incoming."""
        self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _room:  # noqa: N801 - reads as a word in a with statement
    """Turns "no space left" into OutOfResources."""

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            message = "storage is full; free some space, then send again"
            raise OutOfResources(message) from error


def _make_folder(root: Path, folder: Path) -> None:
    """Create a folder below root so that its entries survive a power cut."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


#: URL scheme -> storage. Adding one is one line.
STORAGES: dict[str, Callable[[str, int], Storage]] = {
    "file": FolderStorage.from_url,
}
