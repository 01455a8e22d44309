"""Back-pressure: what happens to senders while too much waits, or while there is no room, and after."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from service import clock
from service.db import backlog
from service.db.backlog import Backlog, waiting_studies
from service.db.engine import Database
from service.db.migrate import migrate
from service.db.studies import close_quiet_studies, record_instances, touch_studies
from service.db.tables import Outbox
from service.listener.intake import Intake
from service.listener.scp import Listener
from service.settings import ListenerSettings
from service.storage.folder import FolderStorage
from tests.unit.listener.raw_scu import DX, EXPLICIT, IMPLICIT, VERIFICATION, RawScu, image
from tests.unit.listener.test_association import rejection

MIXED = ((DX, (EXPLICIT,)), (VERIFICATION, (IMPLICIT,)))


class Busy:
    """A listener on a real record in which two studies may wait."""

    def __init__(self, folder: Path, reserve_bytes: int = 0, most: int = 2) -> None:
        """Start it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.db = Database(f"sqlite:///{folder / 'record.db'}")
        migrate(self.db)
        intake = Intake(
            FolderStorage(folder / "storage", reserve_bytes),
            partial(record_instances, self.db),
            partial(touch_studies, self.db),
            1 << 26,
            Backlog(self.db, most),
        )
        self.listener = Listener(ListenerSettings.model_validate({"port": 0}), (), intake)
        self.listener.start()

    def store(self, seed: int, study: int, calling: str = "PANO1") -> tuple[int, str]:
        """Status and comment of one image."""
        with RawScu(self.listener.port, MIXED, calling) as scu:
            answer = scu.send_image(image(seed, study))
            scu.release()
        return answer.status, answer.comment

    def waiting(self) -> int:
        """Studies that wait."""
        with self.db.session() as session:
            return waiting_studies(session)

    def work_off(self, **columns: object) -> None:
        """Every stage that is due ends."""
        with self.db.begin() as session:
            session.execute(update(Outbox).values(**columns))


@contextmanager
def listening(folder: Path, reserve_bytes: int = 0) -> Iterator[Busy]:
    """One of them, stopped at the end."""
    made = Busy(folder, reserve_bytes)
    try:
        yield made
    finally:
        made.listener.stop(0)
        made.db.close()


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
    """Two studies may wait; nothing is remembered, so that a test need not wait either."""
    monkeypatch.setattr(backlog, "_REMEMBERED_SECONDS", 0.0)
    with listening(tmp_path) as made:
        yield made


def test_a_new_study_is_refused_and_an_open_one_is_finished(busy: Busy) -> None:
    """A702H with the reason for the third study; the images of the two that are being received are still taken."""
    assert [busy.store(1, study)[0] for study in (1, 2)] == [0, 0]
    assert busy.waiting() == 2
    status, comment = busy.store(1, 3)
    assert (status, comment) == (0xA702, "2 studies wait (listener.max_waiting_studies); send again later"[:64])
    assert [busy.store(2, study)[0] for study in (1, 2)] == [0, 0]
    assert busy.waiting() == 2


def test_a_sender_in_the_middle_of_nothing_is_turned_away_at_the_door(busy: Busy) -> None:
    """Transient, local limit (2, 3, 2), before it sends in vain; a sender with an open study gets in, an echo too."""
    for study in (1, 2):
        busy.store(1, study)
    with pytest.raises(ConnectionRefusedError) as caught, RawScu(busy.listener.port, calling="CEPH"):
        pass
    assert tuple(caught.value.args[1][1:]) == (2, 3, 2)
    with RawScu(busy.listener.port, calling="PANO1") as scu:
        assert scu.send_image(image(7, 1)).status == 0
    with RawScu(busy.listener.port, MIXED, "CEPH") as scu:
        assert scu.echo(3) == 0
        assert scu.send_image(image(1, 3)).status == 0xA702


@pytest.mark.parametrize("end", ["finished_at", "dead_at", "held"])
def test_there_is_room_again_without_a_restart(busy: Busy, end: str) -> None:
    """Closed studies wait until they are reported, or until only a person can help them; then new ones are taken."""
    for study in (1, 2):
        busy.store(1, study)
    assert close_quiet_studies(busy.db, 0.0) == 2
    assert busy.waiting() == 2
    assert busy.store(1, 3)[0] == 0xA702
    busy.work_off(**{end: True if end == "held" else clock.now()})
    assert busy.waiting() == 0
    assert busy.store(1, 3)[0] == 0
    assert busy.waiting() == 1


def test_without_a_limit_the_record_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 is any number, and costs nothing."""
    monkeypatch.setattr(backlog, "waiting_studies", None)
    door = Backlog(Database(f"sqlite:///{tmp_path / 'none.db'}"), 0)
    door.admit("1.2.3")
    assert door.welcome("PANO1")


def test_the_answer_is_remembered_for_a_second(tmp_path: Path) -> None:
    """A limit need not be exact to the last study; a query for each image would cost."""
    with listening(tmp_path) as made:
        assert [made.store(1, study)[0] for study in (1, 2, 3)] == [0, 0, 0]
        door = made.listener._intake.backlog  # noqa: SLF001 - as if a second had passed
        assert door is not None
        door._known = (float("-inf"), False)  # noqa: SLF001
        assert made.store(1, 4)[0] == 0xA702


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("reserve_mb", [0, 4])
def test_a_disk_that_fills_up_refuses_and_recovers(tmp_path: Path, reserve_mb: int) -> None:
    """A700H before the end with a reserve, at the last byte without; space that is freed is used without a restart."""
    with small_disk(tmp_path / "disk", 16) as disk, listening(disk, reserve_mb << 20) as made:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes((16 - reserve_mb << 20) - (2 << 20)))
        statuses = [made.store(seed, 1)[0] for seed in range(1, 3)]
        large = image(50, 1, Rows=1024, Columns=1024, PixelData=bytes(2 << 20))
        with RawScu(made.listener.port, MIXED) as scu:
            answer = scu.send_image(large)
            if reserve_mb:
                answer = scu.send_image(image(51, 1, Rows=1024, Columns=1024, PixelData=bytes(2 << 20)))
            assert answer.status == 0xA700
            assert scu.echo(3) == 0
            ballast.unlink()
            assert scu.send_image(image(52, 1, Rows=1024, Columns=1024, PixelData=bytes(2 << 20))).status == 0
        assert statuses == [0, 0]
        assert not list((disk / "storage" / "incoming").iterdir())


def test_all_places_taken_is_a_transient_rejection(tmp_path: Path) -> None:
    """Local limit exceeded, as for a queue that is full."""
    made = Busy(tmp_path)
    made.listener.stop(0)
    settings = ListenerSettings.model_validate({"port": 0, "max_associations": 1})
    listener = Listener(settings, (), made.listener._intake)  # noqa: SLF001 - the same intake, another limit
    listener.start()
    with RawScu(listener.port, MIXED):
        assert rejection(listener.port) == (2, 3, 2)
    listener.stop(0)
    made.db.close()
