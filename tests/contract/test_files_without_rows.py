"""Recovery on each database: a stored image without a row is taken up once, whatever else lies there."""

import io
import os
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest
from sqlalchemy import select, text, update

from service import clock
from service.db.engine import Database
from service.db.studies import close_quiet_studies, record_instances
from service.db.tables import Instance, Job, Study
from service.domain.errors import OutOfResources
from service.domain.study import ReceivedInstance, Recorded
from service.listener.intake import FOLDER, Intake, key_of
from service.listener.part10 import meta_bytes, read_meta
from service.listener.recovery import EVER, SENDER, Found, Recovery, Tally, said
from service.storage.folder import FolderStorage
from service.storage.spool import Listed
from tests.unit.listener.raw_scu import EXPLICIT, data_set_bytes, image, part10

NOW = timedelta(0)


class NoRecordError(Exception):
    """The database is away."""


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    """An empty folder."""
    return FolderStorage(tmp_path / "kept", 0)


def recovery(db: Database, storage: FolderStorage, after: timedelta = NOW) -> Recovery:
    """With a second of quiet."""
    return Recovery(db, storage, 1 << 26, after, timedelta(seconds=1))


def received(db: Database, storage: FolderStorage, seed: int) -> str:
    """An image that was received as usual; its key."""
    intake = Intake(storage, lambda group: record_instances(db, group), lambda _: None, 1 << 26)
    return intake.accept_file(io.BytesIO(part10(image(seed))), "PANO1")[0].storage_key


def orphan(storage: FolderStorage, seed: int, written_at: datetime | None = None) -> str:
    """An image whose file got its name while its row failed; its key."""
    keys = []

    def fail(group: Sequence[ReceivedInstance]) -> Sequence[Recorded]:
        keys.append(group[0].storage_key)
        raise NoRecordError

    with pytest.raises(OutOfResources):
        Intake(storage, fail, lambda _: None, 1 << 26).accept_file(io.BytesIO(part10(image(seed))), "PANO1")
    if written_at is not None:
        age(storage, keys[0], written_at)
    return keys[0]


def age(storage: FolderStorage, key: str, written_at: datetime) -> None:
    """A file as if it had been written then."""
    os.utime(storage.root / key, (written_at.timestamp(), written_at.timestamp()))


def take_up(what: Recovery, since: datetime = EVER) -> Tally:
    """All of it."""
    return list(what.take_up(since))[-1]


def rows(db: Database) -> list[tuple[str, str]]:
    """Key and sender of every instance."""
    with db.session() as session:
        query = select(Instance.storage_key, Instance.calling_ae).order_by(Instance.storage_key)
        return [(key, sender) for key, sender in session.execute(query)]


def revisions(db: Database) -> list[int]:
    """Of all jobs, in order."""
    with db.session() as session:
        return list(session.scalars(select(Job.revision).order_by(Job.id)))


def test_a_file_without_a_row_becomes_part_of_its_study(db: Database, storage: FolderStorage) -> None:
    """It is recorded beside the image that has a row, opens the study, and is analyzed with it; once only."""
    kept, lost = received(db, storage, 1), orphan(storage, 2)
    assert take_up(recovery(db, storage)) == {Found.TAKEN_UP: 1}
    assert sorted(rows(db)) == sorted([(kept, "PANO1"), (lost, "PANO1")]), "the file says who sent it"
    assert close_quiet_studies(db, 0.0) == 1
    with db.session() as session:
        instances = session.scalars(select(Instance)).all()
    assert {each.revision for each in instances} == {1}
    assert {each.size for each in instances} == {(storage.root / key).stat().st_size for key in (kept, lost)}
    assert not take_up(recovery(db, storage))
    assert received(db, storage, 2) == lost, "the sender comes back all the same: nothing new"
    assert len(rows(db)) == 2
    assert not close_quiet_studies(db, 0.0)


def test_a_file_that_names_no_sender(db: Database, storage: FolderStorage) -> None:
    """One that was written before files named their sender is taken up under a fixed word."""
    key = orphan(storage, 1)
    with (storage.root / key).open("rb") as file:
        meta = read_meta(file)
        file.seek(meta.data_set_at)
        raw = file.read()
    (storage.root / key).write_bytes(meta_bytes(meta.sop_class_uid, meta.sop_instance_uid, EXPLICIT) + raw)
    assert take_up(recovery(db, storage)) == {Found.TAKEN_UP: 1}
    assert rows(db) == [(key, SENDER)]


def test_what_may_be_on_its_way_in_is_left_alone(db: Database, storage: FolderStorage) -> None:
    """A young file, and one from before the time that is looked at, are not touched."""
    orphan(storage, 1)
    old = orphan(storage, 2, clock.now() - timedelta(hours=3))
    minutes = recovery(db, storage, timedelta(minutes=2))
    assert not take_up(minutes, clock.now() - timedelta(hours=2))
    assert not list(minutes.unrecorded(clock.now() - timedelta(hours=2), clock.now()))
    assert take_up(minutes) == {Found.TAKEN_UP: 1}
    assert [key for key, _ in rows(db)] == [old]


def test_two_at_the_same_time_double_nothing(db: Database, storage: FolderStorage) -> None:
    """Two listeners that start together take up every file, each once."""
    keys = {orphan(storage, seed) for seed in range(1, 13)}
    barrier, tallies = threading.Barrier(2), list[Tally]()

    def run() -> None:
        barrier.wait()
        tallies.append(take_up(recovery(db, storage)))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(tally[Found.TAKEN_UP] for tally in tallies) == len(keys)
    assert [key for key, _ in rows(db)] == sorted(keys)
    assert close_quiet_studies(db, 0.0) == 1
    assert revisions(db) == [1]


def test_a_damaged_file_is_named_and_left(
    db: Database, storage: FolderStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """Content that does not fit its name, half a file and no DICOM at all are named; their neighbour is taken up."""
    altered, half, good = orphan(storage, 1), orphan(storage, 2), orphan(storage, 3)
    content = bytearray((storage.root / altered).read_bytes())
    content[-1] ^= 1
    (storage.root / altered).write_bytes(content)
    os.truncate(storage.root / half, 200)
    (storage.root / FOLDER / "foreign.txt").write_text("what is this")
    assert take_up(recovery(db, storage)) == {Found.TAKEN_UP: 1, Found.DAMAGED: 3}
    assert [key for key, _ in rows(db)] == [good]
    assert all(key in caplog.text for key in (altered, half, "foreign.txt"))
    assert (storage.root / half).stat().st_size == 200
    lines = list(recovery(db, storage).named(EVER, clock.now()))
    assert len(lines) == 3
    assert all(line.startswith("UNRECORDED") and Found.DAMAGED in line for line in lines)


def test_what_is_there_although_it_was_removed_is_recorded_again(db: Database, storage: FolderStorage) -> None:
    """It came again before the database went back to a backup, or retention died halfway: no file is ever deleted here.

    It is written anew before, because retention may be about to remove it; its study is not opened.
    """
    key = received(db, storage, 1)
    close_quiet_studies(db, 0.0)
    old = clock.now() - timedelta(hours=40)
    age(storage, key, old)
    with db.begin() as session:
        session.execute(update(Instance).values(storage_key=""))
        session.execute(update(Study).values(active_at=old))
    content = (storage.root / key).read_bytes()
    assert len(list(recovery(db, storage).named(EVER, clock.now()))) == 1
    assert take_up(recovery(db, storage)) == {Found.BACK: 1}
    assert rows(db) == [(key, "PANO1")]
    storage.remove(key, old + timedelta(hours=1))
    assert (storage.root / key).read_bytes() == content
    with db.session() as session:
        assert session.scalars(select(Study.active_at)).one() > old, "it is kept as long as a new one"
    assert not close_quiet_studies(db, 0.0)
    assert not take_up(recovery(db, storage))


class Unsteady(FolderStorage):
    """A storage that cannot read one file for some times."""

    key, times = "", 0

    def open(self, key: str) -> BinaryIO:
        """As its parent, or not now."""
        if key == self.key and self.times:
            self.times -= 1
            raise OSError("EIO")
        return super().open(key)


@pytest.mark.parametrize("times", [2, 9])
def test_a_file_that_cannot_be_read_now_is_tried_again(
    db: Database, storage: FolderStorage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """It is no damage: the others are taken up at once, and it a few times later; what is left then is told."""
    caplog.set_level("INFO")
    monkeypatch.setattr("service.listener.recovery._ROUNDS", (0.01, 0.02, 0.0))
    keys = [orphan(storage, seed) for seed in (1, 2, 3)]
    unsteady = Unsteady(storage.root, 0)
    unsteady.key, unsteady.times = keys[1], times
    recovery(db, unsteady)._recover(threading.Event())  # noqa: SLF001 - the thread of start() does nothing else
    assert "3 files without a row: 1 not readable now, to be tried again, 2 taken up" in caplog.text
    assert (len(rows(db)), "1 files cannot be read" in caplog.text) == ((3, False) if times == 2 else (2, True))
    assert "damaged" not in caplog.text


def test_one_that_cannot_be_kept_takes_nobody_along(
    db: Database, storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that fails while a file is written anew costs that file its turn, not those that were gathered."""
    back, new = received(db, storage, 1), orphan(storage, 2)
    with db.begin() as session:
        session.execute(update(Instance).values(storage_key=""))
    whole = Recovery(db, storage, 1 << 26, NOW, timedelta(seconds=1))

    def full(*_: object, **__: object) -> None:
        raise OutOfResources("no room")

    monkeypatch.setattr(storage, "create", full)
    assert take_up(whole) == {Found.TAKEN_UP: 1, Found.UNREADABLE: 1}
    assert sorted(key for key, _ in rows(db)) == ["", new]
    assert storage.exists(back)


def test_the_same_bytes_in_another_encoding_are_named(db: Database, storage: FolderStorage) -> None:
    """They are the image that is recorded already under another key, so they get no row of their own."""
    key = received(db, storage, 1)
    with db.session() as session:
        instance = session.scalars(select(Instance)).one()
    identity = instance.sop_class_uid, instance.sop_instance_uid
    raw = data_set_bytes((storage.root / key).read_bytes())
    beside = storage.root / key_of(*identity, EXPLICIT + ".98", instance.sha256)
    beside.parent.mkdir(exist_ok=True)
    beside.write_bytes(meta_bytes(*identity, EXPLICIT + ".98") + raw)
    assert take_up(recovery(db, storage)) == {Found.DOUBLE: 1}
    assert len(rows(db)) == 1


def test_revisions_are_counted_on(db: Database, storage: FolderStorage) -> None:
    """Images that came on three days, of which the record knows the first only, end as revision 3, as they were then.

    With a smaller number the record of the hospital would take the next late image for something it has already.
    """
    first = received(db, storage, 1)
    close_quiet_studies(db, 0.0)
    age(storage, first, clock.now() - timedelta(days=3))
    for seed, days in ((2, 2), (3, 2), (4, 1)):
        orphan(storage, seed, clock.now() - timedelta(days=days))
    assert take_up(recovery(db, storage)) == {Found.TAKEN_UP: 3}
    assert close_quiet_studies(db, 0.0) == 1
    assert revisions(db) == [1, 3]
    assert len(rows(db)) == 4


def test_one_that_the_record_refuses_takes_nobody_along(db: Database, storage: FolderStorage) -> None:
    """Its neighbours in the same transaction are recorded all the same."""
    if not db.url.startswith("sqlite"):
        pytest.skip("a trigger of SQLite refuses it")
    keys = [orphan(storage, seed) for seed in (1, 2, 3)]
    trigger = (
        "CREATE TRIGGER no BEFORE INSERT ON instance WHEN NEW.storage_key = '{}' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with db.begin() as session:
        session.execute(text(trigger.format(keys[1])))
    tally = take_up(recovery(db, storage))
    assert tally == {Found.TAKEN_UP: 2, Found.REFUSED: 1}
    assert "3 files without a row" in said(tally)
    assert [key for key, _ in rows(db)] == sorted([keys[0], keys[2]])


def test_a_study_whose_images_are_gone_is_named(db: Database, storage: FolderStorage) -> None:
    """While it waits for more, and while it waits for analysis; sent again, the images are there again."""
    keys = [received(db, storage, seed) for seed in (1, 2)]
    assert not list(recovery(db, storage).missing())
    (storage.root / keys[1]).unlink()
    (line,) = recovery(db, storage).missing()
    assert line.startswith("study 1.2.3.1: 1 of 2 images are not in storage")
    assert keys[1] in line
    close_quiet_studies(db, 0.0)
    assert len(list(recovery(db, storage).missing())) == 1
    assert received(db, storage, 2) == keys[1]
    assert not list(recovery(db, storage).missing())
    with db.session() as session:
        assert not session.scalars(select(Study.open)).one(), "the same bytes are no new image"


def test_it_runs_once_after_the_start(db: Database, storage: FolderStorage, caplog: pytest.LogCaptureFixture) -> None:
    """In a thread of its own, after the time that is set; it says what it found, and ends."""
    caplog.set_level("INFO")
    key = orphan(storage, 1)
    recovery(db, storage, timedelta(seconds=0.2)).start(stop := threading.Event())
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "recovery")
    assert thread.daemon
    thread.join(20)
    stop.set()
    assert not thread.is_alive()
    assert [row for row, _ in rows(db)] == [key]
    assert "recovery: 1 files without a row: 1 taken up" in caplog.text


class Away(FolderStorage):
    """A storage that cannot be listed at first."""

    times = 1

    def files(self, folder: str) -> Iterator[Listed]:
        """As its parent, the second time."""
        self.times -= 1
        if self.times >= 0:
            raise OSError("away")
        return super().files(folder)


def test_it_is_tried_again(
    db: Database, storage: FolderStorage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While storage or record are away at the start, recovery waits for them."""
    monkeypatch.setattr("service.listener.recovery._AGAIN", 0.1)
    key = orphan(storage, 1)
    recovery(db, Away(storage.root, 0)).start(threading.Event())
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "recovery")
    thread.join(20)
    assert [row for row, _ in rows(db)] == [key]
    assert "recovery: OSError, tried again" in caplog.text
