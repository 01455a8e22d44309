"""A larger installation: PostgreSQL, Redis, any number of listeners, relays, web servers and workers, one by one."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import site
from tests.gateway import ROOT, Gateway, free_port

STOP_SECONDS = 30.0


@dataclass
class Installation:
    """Processes of one gateway, each with a name."""

    folder: Path
    config: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    prefix: Sequence[str] = ()

    def start(self, name: str, *command: str) -> None:
        """Start ``dentgate COMMAND``."""
        words = [*self.prefix, sys.executable, "-m", "service", *command, "--config", str(self.config)]
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*words, "--data", str(self.folder / "data")], cwd=ROOT, stdout=log, stderr=log
            )

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self.folder / f"{name}.log"

    def listener(self, name: str) -> int:
        """Start a listener on a port of its own; the port, once it is open."""
        port = free_port()
        self.prefix, before = (*self.prefix, "env", f"DENTGATE_LISTENER__PORT={port}"), self.prefix
        self.start(name, "listen")
        self.prefix = before
        waiting = Gateway(self.folder, self.config, port, "")
        deadline = time.monotonic() + 60
        while not waiting.dicom_open():
            assert time.monotonic() < deadline, self.log(name).read_text()[-2000:]
            time.sleep(0.1)
        return port

    def stop(self, name: str) -> float:
        """SIGTERM; the seconds until it was gone."""
        process = self.processes.pop(name)
        began = time.monotonic()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()
        return time.monotonic() - began

    def gateway(self) -> Gateway:
        """To ask the web server, on the port of the settings."""
        text = self.config.read_text()
        port = int(text.split("[web]\nport = ")[1].split("\n")[0])
        return Gateway(self.folder, self.config, 0, f"http://127.0.0.1:{port}", log=self.log("web"))


@contextmanager
def installation(
    folder: Path, database: str, broker: str, *destinations: str, more: str = ""
) -> Iterator[Installation]:
    """Settings for one, migrated; its processes are started by the test and stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dentgate.toml"
    config.write_text(
        f'[database]\nurl = "{database}"\n[broker]\nurl = "{broker}"\n[web]\nport = {free_port()}\n'
        f"[storage]\nreserve_mb = 0\n[listener]\nquiet_seconds = 0.3\n{site.settings(folder, *destinations, more=more)}"
    )
    made = Installation(folder, config)
    done = subprocess.run(
        [sys.executable, "-m", "service", "migrate", "--config", str(config), "--data", str(folder / "data")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    try:
        yield made
    finally:
        for name in list(made.processes):
            made.processes[name].terminate()
        for name in list(made.processes):
            made.stop(name)
