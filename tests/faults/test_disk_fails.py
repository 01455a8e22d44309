"""The disk is full, read-only or fails at fsync: no Success, no trace, and service again without a restart."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.modality import Modality, skull
from tests.gateway import Gateway, free_port
from tests.servers import isolated

LISTENER = "[listener]\nport = {port}\nquiet_seconds = 0.3\n"
KILL_SECONDS = 10


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """A small disk of its own; skips where nobody may mount."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("no right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def listener(folder: Path, storage: Path, prefix: tuple[str, ...] = ()) -> Iterator[Gateway]:
    """A listener alone, its record on the usual disk, its images in ``storage``."""
    port = free_port()
    config = folder / "dentgate.toml"
    config.write_text(
        f'[storage]\nurl = "{storage.as_uri()}"\nreserve_mb = 0\n[broker]\nurl = "redis://127.0.0.1:1/0"\n'
        f'[database]\nurl = "sqlite:///{folder / "record.db"}"\n{LISTENER.format(port=port)}'
    )
    command = ["python", "-m", "service", "listen", "--config", str(config)]
    running = Gateway(folder, config, port, "")
    with (folder / "listener.log").open("ab") as log:
        subprocess.run(_ours(["-m", "service", "migrate", "--config", str(config)]), check=True, stdout=log, stderr=log)
        process = subprocess.Popen([*prefix, *_ours(command[1:])], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not running.dicom_open():
            assert time.monotonic() < deadline, (folder / "listener.log").read_text()[-2000:]
            time.sleep(0.1)
        running.process = process
        yield running
    finally:
        process.terminate()
        try:
            process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ours(arguments: list[str]) -> list[str]:
    return [sys.executable, *arguments]


def refused(modality: Modality, name: str) -> bool:
    """Whether a study that is tried once gets no Success."""
    try:
        modality.send(skull(name), seconds=0.0)
    except AssertionError:
        return True
    return False


def reconciled(running: Gateway) -> subprocess.CompletedProcess[str]:
    """The account of the day, every file read again."""
    command = _ours(["-m", "service", "reconcile", "--files", "--config", str(running.config)])
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fill(file: Path) -> None:
    """Leave no page of the disk free."""
    with suppress(OSError), file.open("wb", buffering=0) as raw:
        while raw.write(bytes(4096)):
            pass


def leftovers(storage: Path) -> list[Path]:
    """Files that nobody finished."""
    return list((storage / "incoming").iterdir())


@pytest.mark.timeout(120)
def test_a_full_disk_and_a_read_only_one(tmp_path: Path) -> None:
    """While nothing can be written the sender is told so; with room again it is served, without a restart."""
    with mounted(tmp_path / "disk", 2) as storage, listener(tmp_path, storage) as running:
        modality = Modality(running.dicom_port)
        modality.send(skull("before"))
        filler = storage / "filler"
        fill(filler)
        assert refused(modality, "full")
        assert not leftovers(storage)
        filler.unlink()
        modality.send(skull("full"))
        subprocess.run(["mount", "-o", "remount,ro", str(storage)], check=True)
        assert refused(modality, "read-only")
        subprocess.run(["mount", "-o", "remount,rw", str(storage)], check=True)
        modality.send(skull("read-only"))
        assert len(modality.acknowledged) == 3
        assert not leftovers(storage)
    log = (tmp_path / "listener.log").read_text()
    assert "A700" in log


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_record_on_a_full_disk(tmp_path: Path) -> None:
    """The same when it is the database's disk that is full: no row, no Success."""
    with mounted(tmp_path / "disk", 3) as small:
        (small / "images").mkdir()
        with listener(small, tmp_path / "images") as running:
            modality = Modality(running.dicom_port)
            modality.send(skull("before"))
            filler = small / "filler"
            fill(filler)
            outcomes = [refused(modality, f"full-{number}") for number in range(6)]
            assert outcomes[-1]
            filler.unlink()
            modality.send(skull("after"))
    assert len(modality.acknowledged) == 2 + outcomes.count(False)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_fsync_that_fails(tmp_path: Path) -> None:
    """An EIO of fsync is no Success, whether it is the file's or the folder's; afterwards all is well again."""
    if not Path("/usr/bin/strace").exists() or not isolated():
        pytest.skip("no strace, or no right to trace")
    storage = tmp_path / "images"
    with listener(tmp_path, storage) as running:
        assert running.process is not None
        modality = Modality(running.dicom_port)
        modality.send(skull("before"))
        for when in ("1+2", "2+2"):  # the file's, the folder's
            inject = f"inject=fsync:error=EIO:when={when}"
            watched = ["-p", str(running.process.pid), "-o", str(tmp_path / "strace.txt")]
            trace = subprocess.Popen(["/usr/bin/strace", "-f", "-q", *watched, "-e", "trace=fsync", "-e", inject])
            time.sleep(1.0)
            assert trace.poll() is None
            assert refused(modality, f"eio-{when}")
            trace.terminate()
            trace.wait(10)
            assert "EIO" in (tmp_path / "strace.txt").read_text()
            modality.send(skull(f"eio-{when}"))
        assert not leftovers(storage)
    assert reconciled(running).returncode == 0


def test_images_that_vanish_or_change_in_storage(tmp_path: Path) -> None:
    """``reconcile --files`` names both; sent again, both are whole again."""
    storage = tmp_path / "data"
    with listener(tmp_path, storage) as running:
        modality = Modality(running.dicom_port)
        files = {}
        for name in ("vanished", "altered"):
            known = set(storage.rglob("*.dcm"))
            modality.send(skull(name))
            (files[name],) = set(storage.rglob("*.dcm")) - known
        files["vanished"].unlink()
        damaged = bytearray(files["altered"].read_bytes())
        damaged[-100] ^= 0xFF
        files["altered"].write_bytes(bytes(damaged))
        told = reconciled(running)
        assert told.returncode == 1
        assert told.stdout.count("DAMAGED") == 2
        for name in files:
            modality.send(skull(name))
        whole = reconciled(running)
        assert whole.returncode == 0, whole.stdout
    assert files["altered"].read_bytes() != bytes(damaged)
