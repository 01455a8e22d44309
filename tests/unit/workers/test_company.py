"""Studies that are read at once: their images share passes, and each has a result, a failure and an end of its own.

Real record, real storage, real threads; the model is drawn but for the one comparison with the models that ship.
"""

import json
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from pydicom.dataset import Dataset
from sqlalchemy import update

from service import clock
from service.db.tables import Outbox
from service.domain.errors import Transient
from service.domain.finding import Algorithm
from service.domain.job import Stage
from service.storage import get
from tests.bench import PANORAMIC, Bench
from tests.builders import as_bytes, uid_of, xray
from tests.patience import until
from workers.inference import Batch, Shared
from workers.models import LoadedModel, Verdict
from workers.pipeline import run
from workers.pixels import Image
from workers.regions import Detection

SMALL = PANORAMIC[::2, ::2]
SECONDS = 30.0


@dataclass
class Drawn:
    """A model that asks a network for the mean of an image and says it as a certainty; or does what a test wants.

    Attributes:
        most: studies that will be at it; the network's first pass waits until all others stand in line.
        before: called with each image first.
    """

    most: int = 1
    before: Callable[[Image], object] = lambda _: None
    name: str = "drawn"
    looks_for: tuple[str, ...] = ("tooth",)
    algorithm: Algorithm = Algorithm("drawn", "1", "cd" * 32, "Test", research=False)  # noqa: RUF009 - frozen
    engine: str = "drawn"
    passes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Its network."""
        self.shared = Shared(self)

    def judge(self, _header: Dataset) -> Verdict:
        """Everything."""
        return Verdict(accepted=True, reason="a test")

    def load(self, _device: str) -> LoadedModel:
        """Itself."""
        return self

    def __call__(self, batch: Batch) -> Batch:
        """The network: the mean of each image."""
        self.passes.append(len(batch))
        if len(self.passes) == 1:
            until(lambda: len(self.shared._waiting) >= self.most - 1, "the others should come")  # noqa: SLF001
        means: Batch = batch.mean((1, 2, 3))[:, None]
        return means

    def analyze(self, image: Image, _before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """One tooth, the more certain the brighter the image."""
        self.before(image)
        mean = self.shared(image.pixels[None, None])
        return (Detection("tooth", 36, round(float(0.6 + 0.4 * mean[0, 0]), 6), (10, 10, 60, 80)),)


def picture(number: int, study: str | None = None) -> bytes:
    """An image of its own study, unless another is named; each number darker than the one before."""
    stored = np.round(SMALL * (1 - 0.05 * number)).astype(np.uint16)
    seed = f"company-{number}"
    uid = study or uid_of(seed, "study")
    return as_bytes(xray(stored, seed=seed, StudyInstanceUID=uid, WindowCenter=2048, WindowWidth=4096))


def company(bench: Callable[..., Bench], model: Drawn, studies: int, at_once: int = 3) -> Bench:
    """So many studies wait for analysis by this model; one call of ``run`` may take ``at_once``."""
    made = bench()
    made.context = replace(
        made.context, models=lambda: (model,), load=lambda each: each.load("cpu"), at_once=lambda: at_once
    )
    for number in range(studies):
        made.receive(picture(number))
    return made


def of_stage(made: Bench, stage: Stage = Stage.ANALYZE) -> list[Outbox]:
    """Rows of a stage."""
    return [row for row in made.rows() if row.stage == stage]


def analyses(made: Bench) -> dict[str, dict[str, Any]]:
    """SOP Instance UID and model -> the analysis, without when it was made."""
    found = [json.loads(get(made.services.storage, each.storage_key)) for each in made.artifacts("analysis")]
    return {f"{each['sop_instance_uid']} {each['algorithm']['name']}": {**each, "started_at": ""} for each in found}


def is_of(image: Image, number: int) -> bool:
    """Whether an image is of the study of that number."""
    return str(image.header.StudyInstanceUID) == uid_of(f"company-{number}", "study")


def test_studies_read_at_once_share_a_pass(bench: Callable[..., Bench]) -> None:
    """One call works on the three oldest: while a pass runs the others wait, then go together, each to its own end."""
    model = Drawn(most=3)
    made = company(bench, model, studies=4)
    run(made.context, of_stage(made)[0].id, "task")
    assert model.passes == [1, 2]
    assert [row.finished_at is not None for row in of_stage(made)] == [True, True, True, False]
    assert [row.attempts for row in of_stage(made)] == [1, 1, 1, 0]
    assert not [row for row in made.rows() if row.lease]
    assert len(of_stage(made, Stage.REPORT)) == 3
    found = analyses(made)
    keys = [f"{uid_of(f'company-{number}', 'instance')} drawn" for number in range(3)]
    assert [found[key]["refused"] for key in keys] == [""] * 3
    certainties = [found[key]["findings"][0]["certainty"] for key in keys]
    assert certainties == sorted(set(certainties), reverse=True), "each has the answer for its own image"
    for number, job in enumerate(made.jobs()[:3]):
        (mine,) = (each for each in made.artifacts("analysis") if each.job_id == job.id)
        assert mine.name.startswith(uid_of(f"company-{number}", "instance"))


def test_by_default_a_study_is_read_alone(bench: Callable[..., Bench]) -> None:
    """On a CPU nothing is taken along unless the site says so."""
    model = Drawn()
    made = company(bench, model, studies=2, at_once=1)
    run(made.context, of_stage(made)[1].id)
    assert [row.attempts for row in of_stage(made)] == [0, 1]


@pytest.mark.parametrize("error", [ValueError("odd"), Transient("storage is away"), MemoryError()])
def test_a_failure_is_its_own(bench: Callable[..., Bench], error: Exception) -> None:
    """Where one of three fails the others are done, and what failed runs alone when its time comes."""
    fails = [error]

    def fail(image: Image) -> None:
        if is_of(image, 1) and fails:
            raise fails.pop()

    made = company(bench, Drawn(before=fail), studies=3)
    run(made.context, of_stage(made)[0].id, "task")
    first, failed, last = of_stage(made)
    assert first.finished_at is not None
    assert last.finished_at is not None
    assert (failed.finished_at, failed.dead_at, failed.lease) == (None, None, "")
    assert failed.message
    made.receive(picture(3))
    with made.services.db.begin() as session:
        session.execute(update(Outbox).values(not_before=clock.now()))
    run(made.context, failed.id, "again")
    assert of_stage(made)[1].finished_at is not None
    assert of_stage(made)[-1].attempts == 0, "nobody goes with it"


@contextmanager
def soft_limit() -> Iterator[None]:
    """A signal strikes the main thread as the pool's does."""

    def strike(_number: int, _frame: FrameType | None) -> None:
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGUSR1, strike)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_soft_limit_ends_all(bench: Callable[..., Bench]) -> None:
    """Each ends before its next image and is tried again, alone; what was finished by then stays so."""
    struck, at_work = threading.Event(), threading.Semaphore(0)

    def hold(image: Image) -> None:
        if not is_of(image, 0):
            at_work.release()
            assert struck.wait(SECONDS)

    made = company(bench, Drawn(before=hold), studies=1)
    for number in (1, 2):
        study = uid_of(f"company-{number}", "study")
        made.receive(picture(number), picture(number + 2, study), picture(number + 4, study))

    def strike() -> None:
        for _ in range(2):
            assert at_work.acquire(timeout=SECONDS)
        until(lambda: of_stage(made)[0].finished_at is not None, "the first should be done")
        os.kill(os.getpid(), signal.SIGUSR1)
        struck.set()

    striker = threading.Thread(target=strike)
    striker.start()
    with soft_limit():
        run(made.context, of_stage(made)[0].id, "task")
    striker.join()
    done, *late = of_stage(made)
    assert done.finished_at is not None
    for row in late:
        assert (row.finished_at, row.faults, row.lease) == (None, 1, "")
        assert "soft_limit_seconds" in row.message
    assert len(made.artifacts("analysis")) == 1


def test_silenced_warnings_stay_silent(bench: Callable[..., Bench]) -> None:
    """Readers who silence warnings cross each other: none gets out, and the filters are afterwards what they were."""
    both, first_left = threading.Barrier(2), threading.Event()

    def cross(image: Image) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            both.wait(SECONDS)  # each has saved what the other set
            if is_of(image, 1):
                assert first_left.wait(SECONDS)
            warnings.warn("a name of a patient", stacklevel=1)
        first_left.set()
        warnings.warn("a name of a patient", stacklevel=1)

    made = company(bench, Drawn(before=cross), studies=2)
    before = list(warnings.filters)
    run(made.context, of_stage(made)[0].id, "task")
    assert [row.finished_at is not None for row in of_stage(made)] == [True, True], [r.message for r in made.rows()]
    assert list(warnings.filters) == before


def test_read_at_once_as_one_by_one(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """The models that ship find in three panoramics the same together as alone, certainties within .002."""
    made = bench()
    films = [PANORAMIC[:, : 720 - 20 * number] for number in range(3)]
    found, sizes = [], list[int]()
    for way, at_once in (("alone", 1), ("together", 3)):
        if at_once > 1:
            _meet(monkeypatch, at_once, sizes)
        made.context = replace(made.context, at_once=partial(int, at_once))
        for number, film in enumerate(films):
            made.receive(as_bytes(xray(film, seed=f"{way}-{number}")))
        while rows := [row for row in of_stage(made) if not row.attempts]:
            run(made.context, rows[0].id, "task")
        known = analyses(made)
        found.append(
            [known[key] for number in range(3) for key in sorted(known) if uid_of(f"{way}-{number}", "instance") in key]
        )
    assert max(sizes) > 2, "passes were shared"
    assert len(found[0]) == len(found[1]) == 6
    for one, other in zip(*found, strict=True):
        assert (one["algorithm"], one["refused"], one["notes"]) == (
            other["algorithm"],
            other["refused"],
            other["notes"],
        )
        for a, b in zip(one["findings"], other["findings"], strict=True):
            assert (a["kind"], a["tooth"], a["flags"]) == (b["kind"], b["tooth"], b["flags"])
            assert a["certainty"] == pytest.approx(b["certainty"], abs=0.002)
            np.testing.assert_allclose(a["region"]["box"], b["region"]["box"], atol=1)


def _meet(monkeypatch: pytest.MonkeyPatch, readers: int, sizes: list[int]) -> None:
    """Readers wait for each other before every pass of a network; ``sizes`` gets the images of each shared pass."""
    barrier, call, together = threading.Barrier(readers), Shared.__call__, Shared._together  # noqa: SLF001

    def meet(self: Shared, batch: Batch) -> Batch:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(SECONDS)
        return call(self, batch)

    def note(self: Shared, calls: list[Any]) -> None:
        if len(calls) > 1:
            sizes.append(sum(len(each.batch) for each in calls))
        together(self, calls)

    monkeypatch.setattr(Shared, "__call__", meet)
    monkeypatch.setattr(Shared, "_together", note)
