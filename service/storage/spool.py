"""What every storage shares: an unnamed local file that is hashed while it is written."""

import errno
import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from service import clock
from service.domain.errors import OutOfResources

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
STALE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is durably kept: its key, the SHA-256 over the hashed bytes (hex) and its size in bytes."""

    key: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that is kept: its key, its size in bytes and when it was written (UTC; whole seconds in object stores)."""

    key: str
    size: int
    written_at: datetime


class Spool:
    """An unnamed file on the local disk and the digest of what was written to it."""

    def __init__(self, path: Path) -> None:
        """Open the file for writing. Raises OutOfResources."""
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        with room():
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)

    def write(self, data: bytes | bytearray | memoryview, *, hashed: bool = True) -> None:
        """See Incoming."""
        view = memoryview(data)
        if hashed:
            self._digest.update(view)
        with room():
            while view:
                written = os.write(self._descriptor, view)
                self.size += written
                view = view[written:]

    def reader(self) -> BinaryIO:
        """See Incoming."""
        return self.path.open("rb")

    def digest(self) -> str:
        """See Incoming."""
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Bring the bytes to stable media."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; harmless when closed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """See Incoming."""
        self.close()
        self.path.unlink(missing_ok=True)


def require_room(free: int, reserve: int) -> None:
    """Raises OutOfResources when less than the reserve is free (both in bytes)."""
    if free < reserve:
        message = f"less than {reserve >> 20} MB free in storage; free some space, then send again"
        raise OutOfResources(message)


def sweep_folder(folder: Path) -> int:
    """Remove files older than an hour; the number removed."""
    removed = 0
    oldest = clock.now().timestamp() - STALE_SECONDS
    for path in folder.iterdir():
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # another process swept it
    return removed


class room:  # noqa: N801 - reads as a word in a with statement
    """Turns "no space left" into OutOfResources."""

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            message = "storage is full; free some space, then send again"
            raise OutOfResources(message) from error
