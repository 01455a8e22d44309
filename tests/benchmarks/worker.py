"""A whole analysis worker beside the bare passes of its networks: rows in the outbox -> analyses stored, films/s.

Real database (SQLite) and storage folder; reading, decoding, preparing, all models, finding, storing. The yardstick is
what the same networks take for the same number of images at their best size of batch and nothing else, measured in the
same run. On CUDA where there is one.

Use: python -m tests.benchmarks.worker [FILMS] [REPEATS]
"""

import io
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import select

from service.broker import Broker
from service.db.migrate import migrate
from service.db.outbox import holder_name
from service.db.studies import close_quiet_studies, record_instances, touch_studies
from service.db.tables import Outbox
from service.domain.job import Stage
from service.listener.intake import Intake
from tests.bench import settings
from tests.builders import as_bytes, xray
from workers.app import Context, context_once
from workers.inference import Batch, Shared, TorchRunner, studies_at_once, torch_device
from workers.pipeline import run
from workers.training.phantom import panoramic_phantom

_PHANTOMS = 4  # different ones; each is sent again under other UIDs
_SIZES = {"cpu": (1, 2, 4, 8), "cuda": (1, 2, 4, 8, 16, 32, 64)}
_PASSES = 3  # timed for each size


class Mute(Broker):
    """Rings nobody: only analyses are done here."""

    def ring(self, stage: Stage, outbox_id: int) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Use:
    """What one film asks of one network: images of a shape."""

    network: Shared
    images: int
    shape: tuple[int, ...]


class Worker:
    """One, without Celery."""

    def __init__(self, folder: Path, films: Sequence[NDArray[np.uint16]]) -> None:
        """Empty record and storage below ``folder``."""
        chosen = settings(folder, "")
        made = context_once(chosen, holder_name())()
        self.context: Context = replace(made, services=replace(made.services, broker=Mute(chosen.broker.url)))
        migrate(self.context.services.db)
        self._films, self._sent = films, 0

    def receive(self, count: int) -> None:
        """So many studies of one film each are due."""
        db = self.context.services.db
        intake = Intake(
            self.context.services.storage,
            record=lambda instances: record_instances(db, instances),
            touch=lambda studies: touch_studies(db, studies),
            max_object_bytes=1 << 30,
        )
        for _ in range(count):
            film = self._films[self._sent % len(self._films)]
            intake.accept_file(io.BytesIO(as_bytes(xray(film, seed=f"worker-{self._sent}"))), "BENCH")
            self._sent += 1
        close_quiet_studies(db, 0.0)

    def rate(self, count: int, at_once: int) -> float:
        """Films/s."""
        self.receive(count)
        context = replace(self.context, at_once=lambda: at_once)
        with context.services.db.session() as session:
            due = select(Outbox.id).where(Outbox.stage == Stage.ANALYZE, Outbox.finished_at.is_(None))
            rows = session.scalars(due.order_by(Outbox.id)).all()
        started = time.perf_counter()
        for row in rows:
            run(context, row, f"task-{row}")
        seconds = time.perf_counter() - started
        with context.services.db.session() as session:
            left = session.scalars(
                select(Outbox.message).where(Outbox.id.in_(rows), Outbox.finished_at.is_(None))
            ).all()
        if left:
            message = f"{len(left)} of {count} analyses failed: {left[0]}"
            raise RuntimeError(message)
        return count / seconds


def main(films: int = 12, repeats: int = 3) -> None:
    """A line for each number of studies at once: films/s, and their share of the bare passes."""
    device = torch_device("auto")
    pictures = [panoramic_phantom(700 + number).pixels for number in range(_PHANTOMS)]
    many = (1, 2, 4, 8) if device.type == "cuda" else (1, 2, 4)
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(Path(folder), pictures)
        worker.rate(1, 1)  # loads the models
        uses = _uses(lambda: worker.rate(1, 1))
        rates: dict[int, list[float]] = {at_once: [] for at_once in many}
        peaks = dict.fromkeys(many, 0)
        bares = [_bare(uses, _SIZES[device.type])]
        for _ in range(repeats):
            for at_once in many:
                rates[at_once].append(worker.rate(films, at_once))
                peaks[at_once] = peaks[at_once] or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        bares.append(_bare(uses, _SIZES[device.type]))  # before and after: a busy moment must not be the yardstick
        bare = max(bares)
        default = studies_at_once(worker.context.services.settings.analysis)
        worker.context.services.db.close()
    print(
        f"a whole worker on {_name(device)}; panoramics 2880x1504, 12 bit, phantoms; {films} films, median of {repeats}"
    )
    print(
        f"bare passes of {len(uses)} networks, {sum(use.images for use in uses)} images for a film: {bare:.2f} films/s"
    )
    print(f"{'studies at once':<18}{'films/s':>9}{'of bare':>9}{'peak MB':>9}")
    for at_once, found in rates.items():
        rate = statistics.median(found)
        note = "  (default)" if at_once == default else ""
        print(f"{at_once:<18}{rate:>9.2f}{rate / bare:>9.0%}{peaks[at_once]:>9}{note}")


def _uses(work: Callable[[], object]) -> list[Use]:
    """What the networks are asked for meanwhile."""
    asked: dict[tuple[Shared, tuple[int, ...]], int] = {}
    call = Shared.__call__

    def note(network: Shared, batch: Batch) -> Batch:
        key = (network, batch.shape[1:])
        asked[key] = asked.get(key, 0) + len(batch)
        return call(network, batch)

    with mock.patch.object(Shared, "__call__", note):
        work()
    return [Use(network, images, shape) for (network, shape), images in asked.items()]


def _bare(uses: Sequence[Use], sizes: Sequence[int]) -> float:
    """Films/s if the networks did nothing but pass images, each at its best size of batch."""
    seconds = 0.0
    for use in uses:
        best = max(_images_per_second(use, size) for size in sizes)
        seconds += use.images / best
    return 1 / seconds


def _images_per_second(use: Use, size: int) -> float:
    batch = np.random.default_rng(0).standard_normal((size, *use.shape)).astype(np.float32)
    once = _pass(use.network, batch)
    once()
    taken = []
    for _ in range(_PASSES):
        started = time.perf_counter()
        once()
        taken.append(time.perf_counter() - started)
    return size / statistics.median(taken)


def _pass(network: Shared, batch: Batch) -> Callable[[], object]:
    """One bare pass: on CUDA of what lies there already, left there."""
    runner = network._runner._runner  # type: ignore[attr-defined]  # noqa: SLF001 - beneath all that serves
    if not isinstance(runner, TorchRunner) or runner._device.type != "cuda":  # noqa: SLF001
        return lambda: runner(batch)
    given = torch.from_numpy(batch).to(runner._device, memory_format=torch.channels_last)  # noqa: SLF001

    def once() -> None:
        with torch.inference_mode():
            runner._net(given)  # noqa: SLF001
        torch.cuda.synchronize()

    return once


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
