"""A listener as it runs in production - folder, fsync, SQLite - in a process of its own; ends when its input does.

The 256 folders that spread the instances are made beforehand: an installation has them after its first day.
"""

import sys
from pathlib import Path

from service.db.engine import Database
from service.db.migrate import migrate
from service.db.studies import record_instances, touch_studies
from service.listener.intake import Intake
from service.listener.scp import Listener
from service.settings import ListenerSettings
from service.storage.folder import FolderStorage


def main(folder: Path) -> None:
    """Print the port, then serve."""
    db = Database(f"sqlite:///{folder / 'record.db'}")
    migrate(db)
    for number in range(256):
        (folder / "storage" / "instances" / f"{number:02x}").mkdir(parents=True)
    intake = Intake(
        FolderStorage(folder / "storage", 0),
        lambda instances: record_instances(db, instances),
        lambda studies: touch_studies(db, studies),
        1 << 31,
    )
    listener = Listener(ListenerSettings.model_validate({"port": 0}), (), intake)
    listener.start()
    print(listener.port, flush=True)
    sys.stdin.read()
    listener.stop(0)
    db.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
