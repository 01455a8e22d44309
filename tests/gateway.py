"""A whole Dentgate on this machine for tests: ``dentgate up`` in a folder of its own, on free ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import ports

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 240.0  # a busy machine
#: dcmtk's storescu proposes one transfer syntax by option
STORESCU_OPTION = {
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.90": "-xv",
}


def free_port() -> int:
    """A TCP port nobody listens on."""
    return ports.free_port()


@dataclass
class Gateway:
    """A running gateway and what a person would do with it."""

    folder: Path
    config: Path
    dicom_port: int
    web_url: str
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(default=Path())
    prefix: Sequence[str] = ()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.prefix,
                    sys.executable,
                    "-m",
                    "service",
                    "up",
                    "--config",
                    str(self.config),
                    "--data",
                    str(self.folder / "data"),
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"dentgate up ended: {self.log.read_text()[-2000:]}"
            if self._ready():
                return
            time.sleep(0.1)
        message = f"not ready in time: {self.log.read_text()[-2000:]}"
        raise AssertionError(message)

    def stop(self) -> None:
        """SIGTERM and wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(120)

    def kill_everything(self) -> None:
        """``kill -9`` of the supervisor and of all that it started, at once."""
        assert self.process is not None
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            kill(pid)
        self.process.wait(10)

    def kill_workers(self) -> int:
        """``kill -9`` of every worker process, parents and pools; the number killed."""
        assert self.process is not None
        workers = [pid for pid in descendants(self.process.pid) if " worker " in command_line(pid)]
        for pid in workers:
            kill(pid)
        return len(workers)

    def send(self, files: Sequence[Path], syntax: str = "1.2.840.10008.1.2.1") -> None:
        """Send files of one transfer syntax with dcmtk's storescu."""
        command = [
            "/usr/bin/storescu", "-R", STORESCU_OPTION[syntax], "-aet", "PANO1", "-aec", "DENTGATE",
            "127.0.0.1", str(self.dicom_port), *map(str, files),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr

    def studies(self) -> list[dict[str, Any]]:
        """What the API says of all studies."""
        found: list[dict[str, Any]] = []
        while True:
            query = {"limit": 200, "offset": len(found)}
            answer = httpx.get(f"{self.web_url}/api/studies", params=query, timeout=30)
            page = list(answer.raise_for_status().json()["studies"])
            found += page
            if len(page) < query["limit"]:
                return found

    def study(self, uid: str) -> dict[str, Any]:
        """What the API says of one study."""
        return dict(httpx.get(f"{self.web_url}/api/studies/{uid}", timeout=30).raise_for_status().json())

    def wait_for(self, count: int, states: Sequence[str] = ("delivered", "declined"), seconds: float = 240) -> None:
        """Wait until that many studies have reached one of the states."""
        deadline = time.monotonic() + seconds
        seen: list[str] = []
        while time.monotonic() < deadline:
            try:
                seen = [str(study["state"]) for study in self.studies()]
            except httpx.HTTPError:
                seen = []
            if sum(state in states for state in seen) >= count:
                return
            time.sleep(0.25)
        message = f"{count} studies should be {states}, are {seen}; {self.log.read_text()[-3000:]}"
        raise AssertionError(message)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.web_url}/readyz", timeout=5).status_code == 200 and self.dicom_open()
        except httpx.HTTPError:
            return False

    def dicom_open(self) -> bool:
        """Whether somebody listens on the DICOM port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.dicom_port)) == 0


@contextmanager
def gateway(
    folder: Path, settings: str = "", *, quiet_seconds: float = 0.5, prefix: Sequence[str] = ()
) -> Iterator[Gateway]:
    """A running gateway.

    Args:
        folder: for its settings, data and log.
        settings: more TOML, for example destinations.
        quiet_seconds: as in the settings.
        prefix: words before the command, for example ``env NAME=VALUE``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, web_port = free_port(), free_port()
    config = folder / "dentgate.toml"
    config.write_text(
        f"[listener]\nport = {dicom_port}\nquiet_seconds = {quiet_seconds}\n[web]\nport = {web_port}\n"
        f"[storage]\nreserve_mb = 0\n{settings}"
    )
    running = Gateway(folder, config, dicom_port, f"http://127.0.0.1:{web_port}", log=folder / "log.txt", prefix=prefix)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def descendants(pid: int) -> list[int]:
    """All processes below one, on Linux."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent(entry) == pid:
            found += [int(entry.name), *descendants(int(entry.name))]
    return found


def command_line(pid: int) -> str:
    """The command of a process, words separated by spaces; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


def kill(pid: int) -> None:
    """``kill -9``, if it still lives."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
