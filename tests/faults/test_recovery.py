"""Files without rows: a listener killed between the two, and a database that was restored from a backup."""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults import site
from tests.faults.clinic import PATIENT, Clinic, clinic
from tests.faults.modality import Modality, skull
from tests.gateway import Gateway, command_line, descendants, gateway, kill

SOON = ("env", "DENTGATE_LISTENER__RECOVER_AFTER_SECONDS=0.5")


def images(running: Gateway) -> list[Path]:
    """Every stored image."""
    return sorted((running.folder / "data" / "instances").rglob("*.dcm"))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_listener_killed_between_file_and_row(tmp_path: Path) -> None:
    """The sender got no Success and never comes back; the study is delivered all the same."""
    settings = site.settings(tmp_path, site.destination("folder", (tmp_path / "delivered").as_uri()))
    with gateway(tmp_path, settings, quiet_seconds=0.3, prefix=SOON) as running:
        assert running.process is not None
        modality = Modality(running.dicom_port)
        record = sqlite3.connect(running.folder / "data" / "dentgate.db", isolation_level=None)
        record.execute("BEGIN IMMEDIATE")  # nobody else can write a row now

        def send() -> None:
            with suppress(AssertionError):  # once, and no more
                modality.send(skull("killed"), seconds=0.0)

        sender = threading.Thread(target=send)
        sender.start()
        wait_until(lambda: bool(images(running)), "the file should get its name")
        (listener,) = (pid for pid in descendants(running.process.pid) if " listen " in command_line(pid))
        kill(listener)
        record.execute("ROLLBACK")
        record.close()
        sender.join()
        assert not modality.acknowledged
        running.wait_for(1, ("delivered",), seconds=200)
        (study,) = running.studies()
        assert (study["images"], study["calling_ae"]) == (1, "PANO1")
        assert len(images(running)) == 1
        assert "1 files without a row: 1 taken up" in running.log.read_text()
        site.accounted_for(running)


def back_up(database: Path, copy: Path) -> Path:
    """As SQLite wants it done while others write: the file alone lacks what stands in the write-ahead log."""
    source, target = sqlite3.connect(database), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    return copy


def restore(running: Gateway, backup: Path) -> None:
    """Stop, put the old database back, start; files as old as if the evening had passed."""
    running.stop()
    for path in images(running):
        written = path.stat().st_mtime - 3600
        os.utime(path, (written, written))
    data = running.folder / "data"
    for left in data.glob("dentgate.db*"):
        left.unlink()
    shutil.copy(backup, data / "dentgate.db")
    running.start()


def late(running: Clinic, study: str, name: str) -> None:
    """Another image of a study."""
    running.modality.send(skull(name, len(name), PATIENT, StudyInstanceUID=study))


def wait_delivered(running: Clinic, study: str, revision: int) -> None:
    """Wait until that revision is everywhere."""

    def there() -> bool:
        with suppress(OSError, ValueError, KeyError, IndexError):
            job = running.gateway.study(study)["jobs"][0]
            return bool(job["revision"] == revision and job["state"] == "delivered")
        return False

    wait_until(there, f"revision {revision}: {running.gateway.log.read_text()[-2000:]}", 120)


def versions(running: Clinic) -> dict[str, Any]:
    """Study -> version of its report in the record."""
    return {study: each[0]["meta"]["versionId"] for study, each in site.reports(running.ehr).items()}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_database_restored_from_a_backup(tmp_path: Path, tell: Callable[[object], None]) -> None:
    """``reconcile --take-up`` brings back what came since, nothing is twice in PACS or record, later images arrive."""
    with clinic(tmp_path) as running:
        gateway_ = running.gateway
        old = running.send("old")
        wait_delivered(running, old, 1)
        backup = back_up(gateway_.folder / "data" / "dentgate.db", tmp_path / "backup.db")
        pair, grown = running.send("pair", 2), running.send("grown")
        wait_delivered(running, grown, 1)
        late(running, grown, "late")
        late(running, old, "later")
        for study, revision in ((pair, 1), (grown, 2), (old, 2)):
            wait_delivered(running, study, revision)
        objects, reports, sent = set(running.pacs.objects()), versions(running), len(running.pacs.got)
        uids = {each.sop_instance_uid for each in running.pacs.got}

        restore(gateway_, backup)
        assert len(gateway_.studies()) == 1
        told = site.dentgate(gateway_, "reconcile", "--files")
        assert (told.returncode, told.stdout.count("UNRECORDED")) == (1, 5), told.stdout
        told = site.dentgate(gateway_, "reconcile", "--files", "--take-up")
        assert told.returncode == 0, told.stdout + told.stderr
        assert "5 files without a row: 5 taken up" in told.stdout
        for study, revision in ((pair, 1), (grown, 2), (old, 2)):
            wait_delivered(running, study, revision)
        assert set(running.pacs.objects()) == objects
        assert {each.sop_instance_uid for each in running.pacs.got} == uids, "the same objects, under the same UIDs"
        assert len(running.pacs.got) > sent, "they came again"
        assert versions(running) == reports, "the record had them already"
        tell(f"{len(running.pacs.got) - sent} of {len(uids)} objects were sent again")

        late(running, grown, "days later")
        wait_delivered(running, grown, 3)
        after = versions(running)
        assert after[grown] != reports[grown], "a later image is not taken for what is there"
        assert not site.wrong_in_record(running.ehr, [old, pair, grown])
        site.accounted_for(gateway_)
