"""Devices and engines."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from service.domain.errors import ConfigurationError
from workers.inference import open_network, torch_device
from workers.models.bundle import BUNDLES, load_bundle

SHAPE = (1, 64, 128)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "", "cpu:0x"])
def test_unknown_device(device: str) -> None:
    """An unknown device is a configuration error that names the choices."""
    with pytest.raises(ConfigurationError, match="auto, cpu, cuda or cuda:N"):
        torch_device(device)


def test_absent_device() -> None:
    """A CUDA device that is not there is a configuration error, not a crash at the first study."""
    with pytest.raises(ConfigurationError, match="CUDA devices"):
        torch_device("cuda:99")


def test_auto() -> None:
    """Auto takes CUDA where there is one, else the CPU."""
    assert torch_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_engines_agree() -> None:
    """OpenVINO gives what torch gives within 1e-3, for one image, for a pair and for an odd number, again and again."""
    net = load_bundle(BUNDLES / "teeth_panoramic").network
    by_torch, by_openvino = (open_network(net, SHAPE, "cpu", engine) for engine in ("torch", "openvino"))
    assert (by_torch.engine, by_openvino.engine) == ("torch", "openvino")
    for count in (1, 2, 5, 2, 1):
        batch = np.random.default_rng(count).normal(0, 1, (count, *SHAPE)).astype(np.float32)
        expected = by_torch(batch)
        assert expected.shape == (count, 36, 32, 64)
        np.testing.assert_allclose(by_openvino(batch), expected, atol=1e-3)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("count", [1, 2])
def test_after_an_error(count: int) -> None:
    """A batch of another shape is an error, and leaves neither itself nor its numbers in the passes behind it."""
    network = open_network(torch.nn.Conv2d(1, 2, 1), (1, 8, 8), "cpu", "openvino")
    rng = np.random.default_rng(count)
    batches = [rng.normal(0, 1, (count, 1, 8, 8)).astype(np.float32) for _ in range(2)]
    expected = [network(batch) for batch in batches]
    assert not np.array_equal(expected[0], expected[1])
    with pytest.raises(RuntimeError):
        network(np.zeros((count, 1, 8, 9), np.float32))
    for batch, wanted in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(network(batch), wanted)


class _LateError(Exception):
    """The time limit of a stage struck."""


def _strike(_number: int, _frame: object) -> None:
    raise _LateError


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("count", [1, 4])
def test_after_a_time_limit(count: int) -> None:
    """A pass that a signal broke off is not in the way of the next ones, whenever it came."""
    layers = [torch.nn.Conv2d(before, 32, 5, padding=2) for before in (1, 32, 32)]
    network = open_network(torch.nn.Sequential(*layers), (1, 96, 96), "cpu", "openvino")
    batch = np.random.default_rng(count).normal(0, 1, (count, 1, 96, 96)).astype(np.float32)
    expected = network(batch)
    before = signal.signal(signal.SIGALRM, _strike)
    try:
        for milliseconds in range(1, 16):
            with contextlib.suppress(_LateError):
                signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
                network(batch)
                signal.setitimer(signal.ITIMER_REAL, 0)
            np.testing.assert_array_equal(network(batch), expected)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_no_images() -> None:
    """A batch without images gives an output without images, in torch and in OpenVINO."""
    for engine in ("torch", "openvino"):
        network = open_network(torch.nn.Conv2d(1, 2, 3), (1, 8, 8), "cpu", engine)
        assert network(np.zeros((0, 1, 8, 8), np.float32)).shape == (0, 2, 6, 6)


_NO_NETWORK = """
import sys
def watch(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}:
        print("LEFT", event, arguments[1:], flush=True)
sys.addaudithook(watch)
import torch, time
from workers.inference import open_network
network = open_network(torch.nn.Conv2d(1, 2, 3), (1, 8, 8), "cpu", "openvino")
assert network.engine == "openvino" and network(torch.zeros(1, 1, 8, 8).numpy()).shape == (1, 2, 6, 6)
time.sleep(0.5)
print("RAN")
"""


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_nothing_is_reported_to_its_maker(tmp_path: Path) -> None:
    """OpenVINO asks for no address, opens no connection and leaves no file of its telemetry in the user's home."""
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "TF_BUILD", "JENKINS_URL"}}  # noqa: TID251 - as on a server
    done = subprocess.run(
        [sys.executable, "-c", _NO_NETWORK],
        env=kept | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["RAN"], done.stdout + done.stderr
    assert not list(tmp_path.rglob("*openvino*"))
