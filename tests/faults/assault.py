"""Kills at random: which process, and when; all from one seed."""

import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tests.faults.modality import Modality, skull
from tests.gateway import Gateway, command_line, descendants, kill

#: target -> words of its command; a pool's processes carry the words of their parent
WORDS = {
    "listener": " listen ",
    "relay": " relay ",
    "web": " web ",
    "analysis worker": "--queues analyze ",
    "delivery worker": "--queues report",
    "broker": "broker.sock",
}
POOLS = {"analysis process": "analysis worker", "delivery process": "delivery worker"}
TARGETS = (*WORDS, *POOLS, "supervisor", "everything")
#: target -> stages, one of which must be at work when it is killed
AT_WORK = {
    "analysis worker": ("analyze", "analyze"),
    "analysis process": ("analyze", "analyze"),
    "delivery worker": ("report", "deliver"),
    "delivery process": ("report", "deliver"),
    "everything": ("analyze", "report", "deliver"),
}
WORK_SECONDS = 60.0
WEIGHTS = (3, 2, 1, 2, 2, 2, 4, 4, 0.7, 0.7)


@dataclass
class Assault:
    """Kills, and counts what it killed."""

    gateway: Gateway
    rng: np.random.Generator
    killed: Counter[str] = field(default_factory=Counter)
    restart_seconds: list[float] = field(default_factory=list)

    def run(self, kills: int, longest_pause: float) -> None:
        """So many kills, up to some seconds apart."""
        shares = np.array(WEIGHTS) / sum(WEIGHTS)
        while self.killed.total() < kills:
            time.sleep(float(self.rng.uniform(0.2, longest_pause)))
            while not self.strike(str(self.rng.choice(TARGETS, p=shares))):
                time.sleep(0.2)  # it is being started again: another one

    def strike(self, target: str) -> bool:
        """Kill one, if it is there; the supervisor is started again, as systemd would."""
        assert self.gateway.process is not None
        if target in AT_WORK:
            self._await_work(AT_WORK[target])
        if target in {"supervisor", "everything"}:
            began = time.monotonic()
            if target == "everything":
                self.gateway.kill_everything()
            else:
                kill(self.gateway.process.pid)
                self.gateway.process.wait(10)
            self.gateway.start()
            self.restart_seconds.append(time.monotonic() - began)
        else:
            found = self._find(target)
            if not found:
                return False
            kill(int(self.rng.choice(found)))
        self.killed[target] += 1
        return True

    def _await_work(self, stages: tuple[str, ...]) -> None:
        """Until such a stage is being worked on, and a moment longer: a kill of idle processes proves little."""
        query = f"SELECT 1 FROM outbox WHERE lease <> '' AND finished_at IS NULL AND stage IN {stages!r} LIMIT 1"  # noqa: S608 - our own words
        deadline = time.monotonic() + WORK_SECONDS
        with sqlite3.connect(self.gateway.folder / "data" / "dentgate.db", timeout=30) as record:
            while record.execute(query).fetchone() is None and time.monotonic() < deadline:
                time.sleep(0.02)
        record.close()
        time.sleep(float(self.rng.uniform(0, 0.4)))

    def _find(self, target: str) -> list[int]:
        assert self.gateway.process is not None
        below = descendants(self.gateway.process.pid)
        words = WORDS[POOLS.get(target, target)]
        carrying = [pid for pid in below if words in command_line(pid)]
        inner = {pid for parent in carrying for pid in descendants(parent)}
        return [pid for pid in carrying if (pid in inner) == (target in POOLS)]


@dataclass
class Traffic:
    """A modality that sends small studies until told to stop."""

    modality: Modality
    rng: np.random.Generator
    name: str
    pause: float
    studies: int = 0
    error: BaseException | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End with the study under way; raises what went wrong."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join(180)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stop.wait(float(self.rng.uniform(0, 2 * self.pause))):
                image = skull(f"{self.name}-{self.studies}", self.studies)
                self.modality.send(image)
                self.studies += 1
                if self.rng.random() < 0.1:  # a modality that did not trust the answer
                    self.modality.send(image)
        except BaseException as error:  # noqa: BLE001 - raised where the test waits for it
            self.error = error
