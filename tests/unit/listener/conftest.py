"""A listener on a free loopback port with a folder and a record in memory."""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest

from service.domain.study import ReceivedInstance, Recorded
from service.listener.intake import Intake
from service.listener.scp import Listener
from service.settings import ListenerSettings, SourceSettings
from service.storage.folder import FolderStorage
from tests.unit.listener.raw_scu import data_set_bytes


class Ledger:
    """A record in memory: what was recorded in which groups, what was touched; fails when told to."""

    def __init__(self) -> None:
        """Begin empty."""
        self.rows: list[ReceivedInstance] = []
        self.groups: list[int] = []
        self.touched: list[frozenset[str]] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def record(self, instances: Sequence[ReceivedInstance]) -> list[Recorded]:
        """Rows in one go."""
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.groups.append(len(instances))
        answers = []
        for instance in instances:
            same = [row.sha256 for row in self.rows if row.sop_instance_uid == instance.sop_instance_uid]
            answer = Recorded.SAME if instance.sha256 in same else Recorded.CONFLICT if same else Recorded.NEW
            answers.append(answer)
            if answer is not Recorded.SAME:
                self.rows.append(instance)
        return answers

    def touch(self, studies: Collection[str]) -> None:
        """Note it."""
        self.touched.append(frozenset(studies))


class Gateway:
    """A running listener and what stands behind it."""

    def __init__(
        self, root: Path, sources: Sequence[SourceSettings] = (), max_object_bytes: int = 1 << 26, **settings: object
    ) -> None:
        """Start on a free port."""
        self.root = root
        self.ledger = Ledger()
        self.intake = Intake(FolderStorage(root, 0), self.ledger.record, self.ledger.touch, max_object_bytes)
        values = {"port": 0, "quiet_seconds": 60.0} | settings
        self.listener = Listener(ListenerSettings.model_validate(values), sources, self.intake)
        self.listener.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port

    def files(self) -> list[Path]:
        """Every file that is left behind, named or not."""
        return [path for path in self.root.rglob("*") if path.is_file()]

    def stored(self, instance: ReceivedInstance) -> bytes:
        """The data set of a stored file."""
        return data_set_bytes((self.root / instance.storage_key).read_bytes())

    def settle(self, condition: Callable[[], bool]) -> bool:
        """Wait until it holds, 5 s at most."""
        for _ in range(500):
            if condition():
                return True
            threading.Event().wait(0.01)
        return condition()


Start = Callable[..., Gateway]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a gateway with settings; it is stopped at the end."""
    running = []

    def begin(**settings: object) -> Gateway:
        root = settings.pop("root", tmp_path / "storage")
        gateway = Gateway(root, **settings)  # type: ignore[arg-type]
        running.append(gateway)
        return gateway

    yield begin
    for gateway in running:
        gateway.listener.stop(0)


@pytest.fixture
def gateway(start: Start) -> Gateway:
    """A gateway with default settings."""
    return start()
