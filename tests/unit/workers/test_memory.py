"""Out of memory: a smaller batch, another device, and then an error of its own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from service.domain.errors import OutOfMemory
from tests.bench import PANORAMIC, Bench
from tests.builders import as_bytes, xray
from workers.memory import Batch, Frugal, is_out_of_memory
from workers.models import LoadedModel, Model
from workers.pipeline import MEMORY_LIMIT, run


class Small:
    """An engine with room for a few images at once."""

    engine = "small"

    def __init__(self, room: int) -> None:
        """``room``: images."""
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, batch: Batch) -> Batch:
        """Doubles."""
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return batch * 2


BATCH = np.arange(7, dtype=np.float32).reshape(7, 1, 1, 1)


def test_a_batch_that_does_not_fit_is_halved() -> None:
    """In order, until it fits."""
    engine = Small(2)
    np.testing.assert_array_equal(Frugal(engine)(BATCH), BATCH * 2)
    assert max(engine.sizes[1:]) < 7
    assert engine.sizes[0] == 7


def test_a_single_image_goes_elsewhere() -> None:
    """What does not fit alone runs on the CPU; where that has no room either, the error says so."""
    np.testing.assert_array_equal(Frugal(Small(0), lambda batch: batch * 2)(BATCH), BATCH * 2)
    for otherwise in (None, Small(0)):
        with pytest.raises(OutOfMemory, match="1 x 1"):
            Frugal(Small(0), otherwise)(BATCH)


def test_other_errors_stay_what_they_are() -> None:
    """A shape that does not fit is no lack of memory."""

    def wrong(_batch: Batch) -> Batch:
        message = "mat1 and mat2 shapes cannot be multiplied"
        raise RuntimeError(message)

    wrong.engine = "wrong"  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="shapes"):
        Frugal(wrong)(BATCH)  # type: ignore[arg-type]
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(MemoryError())


def test_real_allocations_are_recognized() -> None:
    """Torch's own words on a CPU that has not so much memory, and numpy's."""
    for allocate in (lambda: torch.empty(1 << 50), lambda: np.empty(1 << 50)):
        with pytest.raises((MemoryError, RuntimeError)) as raised:
            allocate()
        assert is_out_of_memory(raised.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_that_is_full() -> None:
    """A network whose batch does not fit the device gives the same numbers, halved or on the CPU."""
    from workers.inference import TorchRunner  # noqa: PLC0415 - only here

    net = torch.nn.Conv2d(1, 4, 3, padding=1)
    batch = np.random.default_rng(1).normal(0, 1, (4, 1, 64, 64)).astype(np.float32)
    expected = TorchRunner(net, torch.device("cpu"))(batch)
    runner = TorchRunner(net, torch.device("cuda"))
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        np.testing.assert_allclose(Frugal(runner, runner.on_cpu)(batch), expected, atol=1e-4)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_an_analysis_without_memory_is_tried_a_few_times(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Later each time, then it is a dead letter whose words say what to do."""
    made = bench()

    def load(_model: Model) -> LoadedModel:
        message = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."
        raise RuntimeError(message)

    object.__setattr__(made.context, "load", load)
    made.receive(as_bytes(xray(PANORAMIC)))
    row = made.due()[0]
    waits, now = [], row
    for _ in range(MEMORY_LIMIT):
        run(made.context, row.id)
        (now,) = made.rows()
        waits.append((now.not_before - (now.started_at or now.not_before)).total_seconds())
        assert "out of memory" in now.message
        with made.services.db.begin() as session:
            session.merge(now).not_before = row.not_before
    assert now.dead_at is not None
    assert waits[0] < waits[1] < waits[2]
    assert tmp_path.exists()


def test_an_image_altered_in_storage_is_never_analyzed(bench: Callable[..., Bench], tmp_path: Path) -> None:
    """The study is flagged as a dead letter that names the file; sent again and tried again, it is delivered."""
    made = bench()
    image = as_bytes(xray(PANORAMIC))
    made.receive(image)
    (path,) = (tmp_path / "data" / "instances").rglob("*.dcm")
    damaged = bytearray(path.read_bytes())
    damaged[-1000] ^= 1
    path.write_bytes(bytes(damaged))
    made.work()
    (row,) = made.rows()
    assert row.dead_at is not None
    assert "was altered in storage" in row.message
    made.receive(image)
    with made.services.db.begin() as session:
        again = session.merge(row)
        again.dead_at, again.attempts = None, 0
    made.work()
    assert made.job().state == "delivered"
