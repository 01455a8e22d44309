"""Threads share the passes of a network: who goes together, what each gets, and whom an error reaches."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from service.settings import AnalysisSettings
from tests.patience import until
from workers.inference import Batch, Shared, TorchRunner, alone, open_network, studies_at_once
from workers.memory import Frugal

SECONDS = 20.0


class Slow:
    """An engine whose first pass waits for a sign, so that others come meanwhile; it doubles."""

    engine = "slow"

    def __init__(self, fails: Callable[[Batch], bool] = lambda _: False) -> None:
        """``fails``: on which batches."""
        self.go, self.begun = threading.Event(), threading.Event()
        self.passes: list[list[float]] = []
        self._fails = fails

    def __call__(self, batch: Batch) -> Batch:
        """See the class."""
        self.passes.append(batch[:, 0].tolist())
        if not self.begun.is_set():
            self.begun.set()
            assert self.go.wait(SECONDS)
        if self._fails(batch):
            message = f"cannot do {batch[:, 0].tolist()}"
            raise ValueError(message)
        return batch * 2


def images(*values: float, width: int = 1) -> Batch:
    """A batch of an image for each value."""
    return np.repeat(np.array(values, np.float32)[:, None], width, axis=1)


def stand_in_line(shared: Shared, calls: int) -> bool:
    """Whether so many calls wait for their turn."""
    return len(shared._waiting) == calls  # noqa: SLF001


def waiting_calls(engine: Slow, shared: Shared, *batches: Batch) -> list[Future[Batch]]:
    """The first is under way; the others come, in this order, while it is; then all go on."""
    with ThreadPoolExecutor(len(batches)) as pool:
        calls = [pool.submit(shared, batches[0])]
        assert engine.begun.wait(SECONDS)
        for number, batch in enumerate(batches[1:], start=1):
            calls.append(pool.submit(shared, batch))
            until(partial(stand_in_line, shared, number), "it should stand in line")
        engine.go.set()
    return calls


def test_what_waits_goes_together() -> None:
    """Calls that came during a pass share the next one, and each gets its own part in its own order."""
    engine = Slow()
    calls = waiting_calls(engine, Shared(engine), images(1), images(2, 3), images(4), images(5, 6, 7))
    assert [sorted(each) for each in engine.passes] == [[1], [2, 3, 4, 5, 6, 7]]
    for call, expected in zip(calls, ([2], [4, 6], [8], [10, 12, 14]), strict=True):
        assert call.result()[:, 0].tolist() == expected


def test_a_pass_has_a_limit() -> None:
    """No more images than allowed share a pass; a call that is larger by itself runs, alone."""
    engine = Slow()
    shared = Shared(engine, most=3)
    calls = waiting_calls(engine, shared, images(1), images(2, 3), images(4, 5), images(6), images(*range(4)))
    assert sorted(map(len, engine.passes)) == [1, 2, 3, 4]
    assert calls[4].result()[:, 0].tolist() == [0, 2, 4, 6]


def test_a_network_that_may_mix_images_up_never_shares() -> None:
    """With a limit of one each call has a pass of its own, whatever its size."""
    engine = Slow()
    waiting_calls(engine, Shared(engine, most=1), images(1), images(2), images(3, 4))
    assert sorted(engine.passes) == [[1], [2], [3, 4]]


def test_other_shapes_do_not_go_together() -> None:
    """Only inputs of one shape share a pass."""
    engine = Slow()
    waiting_calls(engine, Shared(engine), images(1), images(2), images(3, width=2), images(4))
    assert sorted(sorted(each) for each in engine.passes) == [[1], [2, 4], [3]]


def test_an_error_reaches_only_whom_it_concerns() -> None:
    """If a joint pass fails each call in it runs by itself, and only who fails then gets an error."""
    engine = Slow(fails=lambda batch: 3 in batch)
    good, first, bad, last = waiting_calls(engine, Shared(engine), images(1), images(2), images(3), images(4))
    assert sorted(engine.passes[1]) == [2, 3, 4]
    assert sorted(engine.passes[2:]) == [[2], [3], [4]]
    assert [call.result()[0, 0] for call in (good, first, last)] == [2, 4, 8]
    with pytest.raises(ValueError, match=r"cannot do \[3"):
        bad.result()


def test_a_network_that_loses_images_runs_each_alone() -> None:
    """An output for fewer images than were given is nobody's."""

    class Lossy(Slow):
        def __call__(self, batch: Batch) -> Batch:
            return super().__call__(batch)[:2]

    engine = Lossy()
    calls = waiting_calls(engine, Shared(engine), images(1), images(2), images(3, 4))
    assert sorted(engine.passes[1]) == [2, 3, 4]
    assert [call.result()[:, 0].tolist() for call in calls] == [[2], [4], [6, 8]]


def test_what_does_not_fit_together_is_halved() -> None:
    """Too little memory for the joint batch costs a second pass, not a study."""

    class Small(Slow):
        def __call__(self, batch: Batch) -> Batch:
            if len(batch) > 2:
                message = "CUDA out of memory"
                raise torch.OutOfMemoryError(message)
            return super().__call__(batch)

    engine = Small()
    calls = waiting_calls(engine, Shared(Frugal(engine)), images(1), images(2, 3), images(4, 5))
    assert sorted(engine.passes) == [[1], [2, 3], [4, 5]]
    assert calls[2].result()[:, 0].tolist() == [8, 10]


def test_whoever_uses_the_network_itself_is_alone() -> None:
    """While gradients are taken no pass runs."""
    engine = Slow()
    engine.go.set()
    shared = Shared(engine)
    with ThreadPoolExecutor(1) as pool:
        with alone(shared):
            call = pool.submit(shared, images(1))
            until(partial(stand_in_line, shared, 1), "it should stand in line")
            assert not engine.passes
        assert call.result(SECONDS)[0, 0] == 2
    with alone(TorchRunner(torch.nn.Identity(), torch.device("cpu"))):
        pass  # who shares with nobody need not be asked


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_many_threads_get_what_one_would(engine: str) -> None:
    """Each of 48 calls from 6 threads gets what it gets by itself, within rounding, though passes were shared."""
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3, 2))
    runner = open_network(network, (1, 48, 48), "cpu", engine)
    rng = np.random.default_rng(4)
    batches = [rng.normal(0, 1, (1 + number % 3, 1, 48, 48)).astype(np.float32) for number in range(48)]
    expected = [runner(batch) for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        for given, wanted in zip(pool.map(runner, batches), expected, strict=True):
            np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_how_many_at_once() -> None:
    """As the settings say; else one on a CPU and some on CUDA."""
    of = AnalysisSettings.model_validate
    assert studies_at_once(of({"studies_at_once": 3, "device": "cuda:1"})) == 3
    assert studies_at_once(of({"device": "cpu"})) == 1
    assert studies_at_once(of({"device": "cuda"})) == 4
