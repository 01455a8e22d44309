"""Reading stored instances again finds every file that vanished or was altered."""

from datetime import timedelta
from functools import partial
from pathlib import Path

from service import clock
from service.db.engine import Database
from service.db.migrate import migrate
from service.db.studies import record_instances, touch_studies
from service.listener.intake import Intake
from service.listener.verification import verify
from service.storage.folder import FolderStorage
from tests.unit.listener.raw_scu import image, part10


def test_vanished_and_altered_files_are_named(tmp_path: Path) -> None:
    """Of three instances one is whole, one is gone, one has another byte; only the last two are named."""
    db = Database(f"sqlite:///{tmp_path / 'record.db'}")
    migrate(db)
    storage = FolderStorage(tmp_path, 0)
    intake = Intake(storage, partial(record_instances, db), partial(touch_studies, db), 1 << 26)
    keys = []
    for seed in (1, 2, 3):
        path = tmp_path / "sent.dcm"
        path.write_bytes(part10(image(seed)))
        with path.open("rb") as file:
            keys.append(intake.accept_file(file, "PANO1")[0].storage_key)
    since, until = clock.now() - timedelta(hours=1), clock.now() + timedelta(hours=1)
    assert list(verify(db, storage, since, until)) == []
    (tmp_path / keys[1]).unlink()
    altered = bytearray((tmp_path / keys[2]).read_bytes())
    altered[-1] ^= 1
    (tmp_path / keys[2]).chmod(0o644)
    (tmp_path / keys[2]).write_bytes(altered)
    found = list(verify(db, storage, since, until))
    assert found == [
        f"DAMAGED           study 1.2.3.1: instance 1.2.3.1.1.2 has vanished from storage: {keys[1]}",
        f"DAMAGED           study 1.2.3.1: instance 1.2.3.1.1.3 was altered in storage: {keys[2]}",
    ]
    assert list(verify(db, storage, until, until + timedelta(hours=1))) == []
    db.close()
