"""A listener and the closing half of the relay on a real record, in this process, wired as the commands wire them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import select

from service import bootstrap, clock, commands
from service.bootstrap import Services
from service.db.migrate import migrate
from service.db.studies import close_studies
from service.db.tables import Instance, Study
from service.db.waiting import why_open
from service.export.inquiry import Inquiry
from service.listener.scp import Listener
from service.settings import load_settings

_TICK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Receiving:
    """What runs."""

    services: Services
    listener: Listener
    inquiry: Inquiry

    def tick(self) -> int:
        """What each tick of the relay does about complete studies."""
        return commands._close_complete(self.services, self.inquiry)  # noqa: SLF001 - what the relay calls

    def revisions(self) -> dict[str, list[int | None]]:
        """Study UID -> for each of its images, as they came, the revision that first holds it; None while it waits."""
        with self.services.db.session() as session:
            query = select(Study.study_instance_uid, Instance.revision).join(Instance).order_by(Instance.id)
            found: dict[str, list[int | None]] = {}
            for uid, revision in session.execute(query):
                found.setdefault(uid, []).append(revision)
            return found

    def waits(self, study_uid: str) -> str:
        """Why a study is open; empty if it is not."""
        with self.services.db.session() as session:
            study = session.scalars(
                select(Study).where(Study.study_instance_uid == study_uid, Study.open)
            ).one_or_none()
            return "" if study is None else why_open(study, clock.now())

    def wait_for(self, study_uid: str, revisions: list[int | None], seconds: float = 10.0) -> float:
        """Wait until its images are in these revisions; the seconds that it took."""
        began = time.monotonic()
        while self.revisions().get(study_uid) != revisions:
            passed = time.monotonic() - began
            assert passed < seconds, (self.revisions(), self.waits(study_uid))
            threading.Event().wait(0.02)
        return time.monotonic() - began


@contextmanager
def receiving(folder: Path, settings: str, *, ticking: bool = True) -> Iterator[Receiving]:
    """A listener on a free port, and, if it is to tick, a thread that closes what is complete.

    Args:
        folder: for record and files.
        settings: TOML, beginning within ``[listener]``.
        ticking: False: the test calls ``tick``.
    """
    file = folder / "receiving.toml"
    file.write_text(f"[storage]\nreserve_mb = 0\n[listener]\nport = 0\n{settings}")
    loaded = load_settings(file, folder / "data", {})
    services = bootstrap.build(loaded.with_broker("redis://"))
    migrate(services.db)
    intake = commands._intake(services)  # noqa: SLF001 - as `dentgate listen` wires it
    complete = partial(close_studies, services.db)
    running = Receiving(
        services, Listener(loaded.listener, loaded.source, intake, complete=complete), Inquiry(services.db, loaded)
    )
    running.listener.start()
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(_TICK_SECONDS):
            running.tick()

    thread = threading.Thread(target=loop, name="closing")
    if ticking:
        thread.start()
    try:
        yield running
    finally:
        stop.set()
        if ticking:
            thread.join()
        running.inquiry.stop()
        running.listener.stop(0)
        services.db.close()
