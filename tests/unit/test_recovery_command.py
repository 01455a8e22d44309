"""``dentgate reconcile``: files without a row are named by day, and taken up when told to."""

import io
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from service import clock
from service.domain.errors import OutOfResources
from service.domain.study import ReceivedInstance, Recorded
from service.listener.intake import Intake
from service.storage import open_storage
from tests.unit.listener.raw_scu import image, part10
from tests.unit.test_commands import own_logging, run

__all__ = ["own_logging"]  # a fixture that stands for itself


class NoRecordError(Exception):
    """The database is away."""


def orphan(folder: Path, seed: int, days: int) -> None:
    """An image without a row, written so many days ago at noon."""

    def fail(_group: Sequence[ReceivedInstance]) -> Sequence[Recorded]:
        raise NoRecordError

    storage = open_storage(folder.as_uri(), 0)
    known = set((folder / "instances").rglob("*.dcm"))
    with pytest.raises(OutOfResources):
        Intake(storage, fail, lambda _: None, 1 << 26).accept_file(io.BytesIO(part10(image(seed))), "PANO1")
    (path,) = set((folder / "instances").rglob("*.dcm")) - known
    written = (clock.now().replace(hour=12) - timedelta(days=days)).timestamp()
    os.utime(path, (written, written))


def test_files_without_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the day are named and make it a failure; ``--take-up`` records those of every day and says how many."""
    assert run(tmp_path, "migrate") == 0
    for seed, days in ((1, 1), (2, 3), (3, 3)):
        orphan(tmp_path / "data", seed, days)
    day = f"{clock.now() - timedelta(days=3):%Y-%m-%d}"
    capsys.readouterr()
    assert run(tmp_path, "reconcile", "--day", day) == 0, "only --files looks into the storage"
    assert run(tmp_path, "reconcile", "--files", "--day", day) == 1
    out = capsys.readouterr().out
    assert out.count("UNRECORDED") == 2
    assert "written 12:" in out
    assert "`dentgate reconcile --take-up` takes it up" in out
    assert run(tmp_path, "reconcile", "--files", "--take-up", "--day", day) == 0
    out = capsys.readouterr().out
    assert "3 files without a row: 3 taken up" in out
    assert "UNRECORDED" not in out
    assert run(tmp_path, "reconcile", "--take-up") == 0
    out = capsys.readouterr().out
    assert "0 files without a row" in out
    assert "images received   3:" in out, "they count as received today"
