"""A process of Dentgate under fire: what it uses, whether it lives, what it says."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway import ROOT, free_port

_START_SECONDS, _STOP_SECONDS = 60.0, 20.0


@dataclass
class Running:
    """One process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    data: Path

    @property
    def rss_mb(self) -> float:
        """Resident memory now, in MB."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    @property
    def handles(self) -> int:
        """Open file handles now."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def cpu_seconds(self) -> float:
        """Time of the processor so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def complaints(self) -> list[str]:
        """Lines of the log that tell of something nobody foresaw."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if " ERROR " in line or "Traceback" in line or line.startswith("  File")]


@contextmanager
def running(folder: Path, command: Sequence[str], section: str, settings: str = "") -> Iterator[Running]:
    """``dentgate listen`` or ``dentgate web`` on a data folder and a free port of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    port, config, log = free_port(), folder / "dentgate.toml", folder / "log.txt"
    keys = {"broker": 'url = "redis://127.0.0.1:9/0"\n', "storage": "reserve_mb = 0\n", section: f"port = {port}\n"}
    config.write_text("".join(f"[{name}]\n{lines}" for name, lines in keys.items()) + settings)
    common = ["--config", str(config), "--data", str(folder / "data")]
    start = [sys.executable, "-m", "service"]
    subprocess.run([*start, "migrate", *common], cwd=ROOT, check=True, capture_output=True)
    with log.open("wb") as output:
        process = subprocess.Popen([*start, *command, *common], cwd=ROOT, stdout=output, stderr=output)
    try:
        _wait(process, port, log)
        yield Running(process, port, log, folder / "data")
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"it did not start: {log.read_text()[-2000:]}")
