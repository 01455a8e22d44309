"""What a person who waits sees."""

import io

import pytest

from workers.training import progress
from workers.training.progress import Progress


def test_share_done_and_time_left_lead_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """From how long the part since the first line took, a resumed job's earlier part left out."""
    now = iter([1000.0, 1060.0, 1120.0, 8000.0, 8001.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    stream = io.StringIO()
    told = Progress(stream)
    for done in (0.5, 0.6, 0.7, 0.99, 1.0):
        told.tell("loss 0.5", done)
    assert stream.getvalue().splitlines() == [
        "50 %  loss 0.5",
        "60 %, 4 min left  loss 0.5",
        "70 %, 3 min left  loss 0.5",
        "99 %, 2 min left  loss 0.5",
    ]


def test_hours_and_seconds() -> None:
    """The unit fits the length."""
    assert [progress._duration(seconds) for seconds in (12, 100, 3720)] == ["12 s", "2 min", "1 h 02 min"]  # noqa: SLF001 - the words are what is tested


def test_what_takes_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the first two seconds, then how far it is; every item comes, in order."""
    now = iter([100.0, 101.0, 103.0, 103.0, 150.0, 150.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    stream = io.StringIO()
    assert list(Progress(stream).through([1, 2, 3, 4], "reading")) == [1, 2, 3, 4]
    assert stream.getvalue() == "50 %  reading: 2 of 4\n75 %, 1 min left  reading: 3 of 4\n"
