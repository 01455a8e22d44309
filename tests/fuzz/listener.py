"""Targets: what the DICOM port reads - whole connections, commands, data sets, files."""

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from service.db.engine import Database
from service.db.tables import Base
from service.domain.errors import Refused
from service.domain.study import ReceivedInstance, Recorded
from service.listener.association import Association
from service.listener.command import parse_command
from service.listener.commitment import Commitments
from service.listener.header import read_header
from service.listener.intake import Intake
from service.listener.normalized import Normalized
from service.listener.procedure_step import ProcedureSteps
from service.listener.wire import Malformed
from service.settings import ListenerSettings
from service.storage.folder import FolderStorage
from tests.fuzz import datasets, protocol
from tests.fuzz.dice import Dice
from tests.fuzz.memory import MemorySocket
from tests.fuzz.report import Target
from tests.unit.listener.raw_scu import DX

if TYPE_CHECKING:
    from socket import socket

_LIMIT = 64 << 20


def targets(folder: Path) -> tuple[Target, ...]:
    """What is fed without a network; files go to ``folder``."""
    edge = _Edge(folder)
    return (
        Target("connection", _connection, edge.connection, share=1400),
        Target("normalized", _normalized, edge.normalized, share=20),
        Target("command", protocol.command_set, _command, share=1000),
        Target("data set", datasets.encoded, _data_set, share=1000),
        Target("file", datasets.file, edge.file, share=400),
    )


def _connection(dice: Dice) -> tuple[bytes, Iterator[int]]:
    pieces = [dice.pick((1, 2, 5, 6, 7, 100, 1 << 20)) for _ in range(8)] if dice.chance(40) else [1 << 20]
    return protocol.connection(dice), itertools.cycle([*pieces, 1 << 20] if 1 in pieces else pieces)


def _normalized(dice: Dice) -> tuple[bytes, Iterator[int]]:
    return protocol.normalized(dice), itertools.repeat(1 << 20)


def _command(raw: bytes) -> str:
    try:
        return f"field {parse_command(raw).field:04X}"
    except Malformed:
        return "malformed"


def _data_set(case: tuple[str, bytes]) -> str:
    syntax, raw = case
    try:
        read_header(io.BytesIO(raw), syntax, DX, "1.2.3.1.1.1", _LIMIT)
    except Refused as error:
        return type(error).__name__
    return "read"


class _Edge:
    """An intake with a folder and no database; leftovers of a refused object are findings."""

    def __init__(self, folder: Path) -> None:
        self._incoming = folder / "incoming"
        self._intake = Intake(FolderStorage(folder, 0), _record, lambda _studies: None, _LIMIT)
        self._settings = ListenerSettings.model_validate({"port": 0})
        db = Database(f"sqlite:///{folder / 'record.db'}")
        Base.metadata.create_all(db.engine)
        self._services = Normalized(Commitments(db, self._intake.storage, {}), ProcedureSteps(db))

    def connection(self, case: tuple[bytes, Iterator[int]]) -> str:
        """A connection to C-ECHO and C-STORE."""
        return self._connected(case, None)

    def normalized(self, case: tuple[bytes, Iterator[int]]) -> str:
        """A connection to the other services, on a real record."""
        return self._connected(case, self._services)

    def _connected(self, case: tuple[bytes, Iterator[int]], services: Normalized | None) -> str:
        peer = MemorySocket(*case)
        association = Association(
            cast("socket", peer), "127.0.0.1", self._settings, (), self._intake, lambda _association: True, services
        )
        association.run()
        self._nothing_left()
        last = peer.sent[peer.sent.rfind(b"\x07\0\0\0\0\4") :][:1]
        return "aborted" if last == b"\x07" else "silence" if not peer.sent else "answered"

    def file(self, raw: bytes) -> str:
        try:
            self._intake.accept_file(io.BytesIO(raw), "WEB")
        except Refused as error:
            return type(error).__name__
        finally:
            self._nothing_left()
        return "taken"

    def _nothing_left(self) -> None:
        left = list(self._incoming.iterdir())
        for path in left:
            path.unlink()
        assert not left, "half a file is left behind"


def _record(instances: Sequence[ReceivedInstance]) -> list[Recorded]:
    return [Recorded.NEW for _ in instances]
