"""Devices and engines."""

import importlib.util

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
    """OpenVINO gives what torch gives within 1e-3, for one image and for several."""
    net = load_bundle(BUNDLES / "teeth_panoramic").network
    by_torch, by_openvino = (open_network(net, SHAPE, "cpu", engine) for engine in ("torch", "openvino"))
    assert (by_torch.engine, by_openvino.engine) == ("torch", "openvino")
    for count in (1, 2):
        batch = np.random.default_rng(count).normal(0, 1, (count, *SHAPE)).astype(np.float32)
        expected = by_torch(batch)
        assert expected.shape == (count, 36, 32, 64)
        np.testing.assert_allclose(by_openvino(batch), expected, atol=1e-3)
