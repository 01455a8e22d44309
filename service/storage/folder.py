"""``file://`` - a folder of this machine or a mounted share: written once, fsynced, then named."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import unquote, urlsplit

from service import clock
from service.domain.errors import ConfigurationError
from service.storage.spool import Listed, Spool, Stored, require_room, room, sweep_folder


class FolderStorage:
    """``file://`` - a folder of this machine or a mounted share."""

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        """Create the folder if needed. Raises ConfigurationError if that is not possible."""
        self.root = root
        self.reserve_bytes = reserve_bytes
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

    def create(self, *, reserve: bool = True) -> "FolderIncoming":
        """See Storage."""
        if reserve:
            require_room(self.free_bytes(), self.reserve_bytes)
        return FolderIncoming(self.root)

    def open(self, key: str) -> BinaryIO:
        """See Storage."""
        return (self.root / key).open("rb")

    def exists(self, key: str) -> bool:
        """See Storage."""
        return (self.root / key).is_file()

    def files(self, folder: str) -> Iterator[Listed]:
        """See Storage."""
        for entry in _below(self.root / folder):
            with suppress(FileNotFoundError):  # removed meanwhile
                found = entry.stat()
                written_at = datetime.fromtimestamp(found.st_mtime, UTC)
                yield Listed(Path(entry.path).relative_to(self.root).as_posix(), found.st_size, written_at)

    def remove(self, key: str, before: datetime) -> None:
        """See Storage."""
        path = self.root / key
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before.timestamp():
                path.unlink()

    def free_bytes(self) -> int:
        """See Storage."""
        return shutil.disk_usage(self.root).free

    def check(self) -> None:
        """See Storage."""
        try:
            key = f"check/{clock.token()}"  # several may ask at once
            incoming = self.create(reserve=False)
            incoming.write(b"dentgate")
            incoming.commit(key)
            (self.root / key).unlink()
        except OSError as error:
            message = f"storage folder {self.root}: {error.strerror}; make it writable for this user"
            raise ConfigurationError(message) from None

    def sweep(self) -> int:
        """See Storage."""
        return sweep_folder(self.root / "incoming")


class FolderIncoming(Spool):
    """A file in ``incoming/`` that gets its name on commit."""

    def __init__(self, root: Path) -> None:
        """Write into a file below ``root``. Raises OutOfResources."""
        super().__init__(root / "incoming" / f"{os.getpid()}-{clock.token()}")
        self._root = root

    def commit(self, key: str) -> Stored:
        """See Incoming."""
        target = self._root / key
        with room():
            self.sync()
            _make_folder(self._root, target.parent)
            self.path.replace(target)
            _sync_folder(target.parent)
        self.close()
        return Stored(key, self.digest(), self.size)


def _below(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))
            else:
                yield entry


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
