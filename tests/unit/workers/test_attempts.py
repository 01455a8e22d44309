"""What counts as a failed attempt, and who says whether a destination answers: the edge of the worker, real record."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy import update

from service import clock
from service.db import breaker
from service.db.jobs import StageEnd, Work
from service.db.outbox import Claim
from service.db.studies import close_quiet_studies, record_instances
from service.db.tables import DestinationState, Outbox
from service.domain.errors import Held, Permanent, Transient, Unavailable, Waiting
from service.domain.job import Stage
from service.domain.result import Delivery
from service.export.folder import Folder
from tests.bench import Bench, allowing
from tests.contract.images import IMAGE
from tests.unit.workers.test_reviewed import arrived
from workers import pipeline
from workers.app import Context
from workers.pipeline import MEMORY_LIMIT, UNEXPECTED_LIMIT, run

WAIT, PASSING = Waiting("waits for another", 2.0), Transient("connection reset")
LATE, NO_MEMORY = SoftTimeLimitExceeded(), MemoryError()


@pytest.fixture
def made(bench: Callable[[str], Bench], tmp_path: Path) -> Bench:
    """A study is closed; five attempts at the most."""
    made = bench(allowing(tmp_path / "out").replace("[analysis]", "[analysis]\nmax_attempts = 5"))
    record_instances(made.services.db, [IMAGE])
    close_quiet_studies(made.services.db, 0.0)
    return made


def ended(made: Bench, monkeypatch: pytest.MonkeyPatch, stage: Stage, errors: Sequence[Exception]) -> Outbox:
    """The row after attempts that ended like that."""
    left = iter(errors)

    def fail(_context: Context, _taken: Claim, _work: Work) -> StageEnd:
        raise next(left)

    monkeypatch.setitem(pipeline.STAGES, stage, fail)
    for _ in errors:
        with made.services.db.begin() as session:
            session.execute(update(Outbox).values(not_before=clock.now(), stage=stage))
        run(made.context, made.rows()[0].id)
    assert not list(left), "it was buried too early"
    return made.rows()[0]


@pytest.mark.parametrize(
    "errors",
    [
        [*[WAIT] * 6, LATE, LATE],
        [*[WAIT] * 6, PASSING],
        [PASSING] * 4 + [LATE] * (UNEXPECTED_LIMIT - 1),
        [PASSING] * 3 + [NO_MEMORY] * (MEMORY_LIMIT - 1),
        [LATE, LATE, PASSING, LATE, LATE],
    ],
)
def test_nothing_is_buried_for_what_it_did_not_do(
    made: Bench, monkeypatch: pytest.MonkeyPatch, errors: Sequence[Exception]
) -> None:
    """Waits are not counted, and what passed does not make the first trouble of our own the last."""
    assert ended(made, monkeypatch, Stage.DELIVER, errors).dead_at is None


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([LATE] * UNEXPECTED_LIMIT, "given up after 3 attempts in a row: took longer"),
        ([PASSING, WAIT, *[LATE] * UNEXPECTED_LIMIT], "given up after 3 attempts in a row: took longer"),
        ([NO_MEMORY] * MEMORY_LIMIT, "given up after 4 attempts in a row: out of memory"),
        ([WAIT, *[PASSING] * 5], "given up after 5 attempts: connection reset"),
        ([LATE, PASSING, LATE, LATE, PASSING], "given up after 5 attempts: connection reset"),
    ],
)
def test_what_fails_for_good_is_buried(
    made: Bench, monkeypatch: pytest.MonkeyPatch, errors: Sequence[Exception], words: str
) -> None:
    """Trouble of our own after a few times in a row, what should pass after the most attempts, waits left out."""
    row = ended(made, monkeypatch, Stage.DELIVER, errors)
    assert row.dead_at is not None
    assert row.message.startswith(words)


def test_a_commitment_is_not_buried_by_its_looks(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days of waiting are a hundred looks; one refused connection then is one refused connection."""
    row = ended(made, monkeypatch, Stage.COMMIT, [*[WAIT] * 6, Unavailable("cannot be reached")])
    assert (row.dead_at, row.attempts, row.message) == (None, 7, "cannot be reached")


def delivery(made: Bench) -> Outbox:
    """The row of it."""
    return next(row for row in made.rows() if row.destination == "out")


def silent(made: Bench) -> bool:
    """Whether the destination is taken to be silent, with nobody asking."""
    with made.services.db.session() as session:
        state = session.get_one(DestinationState, "out")
    assert state.asked_until is None
    return state.failures > 0


@pytest.fixture
def tripped(bench: Callable[[str], Bench], tmp_path: Path) -> Bench:
    """Results are due at a destination that gave no answer; now it may be asked again."""
    made = bench(allowing(tmp_path / "out"))
    arrived(made)
    run(made.context, made.due()[0].id)
    breaker.silent(made.services.db, "out", "no answer")
    with made.services.db.begin() as session:
        session.execute(update(DestinationState).values(not_before=clock.now()))
    return made


def test_trouble_with_our_own_files_is_no_answer(tripped: Bench, tmp_path: Path) -> None:
    """A result that has vanished from our storage is a dead letter, and says nothing of the destination."""
    (tmp_path / "data" / tripped.artifacts("sr")[0].storage_key).unlink()
    run(tripped.context, delivery(tripped).id)
    assert "vanished" in delivery(tripped).message
    assert silent(tripped)


@pytest.mark.parametrize(
    ("error", "still"),
    [
        (None, False),
        (Permanent("C000H"), False),
        (Held("two patients match"), False),
        (Unavailable("no answer"), True),
        (OSError("no answer"), True),
    ],
)
def test_who_speaks_with_it_says_whether_it_answers(
    tripped: Bench,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    still: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Any answer of its own frees the others, silence and trouble of our own do not; nobody is left asking."""

    def deliver(_self: Folder, _delivery: Delivery) -> str:
        if error is not None:
            raise error
        return "stored"

    monkeypatch.setattr(Folder, "deliver", deliver)
    run(tripped.context, delivery(tripped).id)
    assert silent(tripped) == still
