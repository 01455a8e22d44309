"""Where and how a network runs: on CUDA by torch, on a CPU by OpenVINO where it is installed, else by torch.

OpenVINO converts the network in memory when it is loaded (a few seconds, once per worker process): no second file of
weights that could differ from the first.
"""

import functools
import importlib.util
import warnings
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from service.domain.errors import ConfigurationError

Batch = NDArray[np.float32]


class Runner(Protocol):
    """A network ready to run."""

    engine: str

    def __call__(self, batch: Batch) -> Batch:
        """(B, channels, rows, columns) float32 to the network's output, float32."""
        ...


class TorchRunner:
    """Runs in torch on a CPU or a CUDA device."""

    engine = "torch"

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        """Move the network to ``device`` and set it to inference."""
        self._device = device
        self._net = net.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, batch: Batch) -> Batch:
        """Run one batch."""
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(batch)).to(self._device, memory_format=torch.channels_last)
            output: Batch = self._net(given).float().cpu().numpy()
        return output


class OpenVinoRunner:
    """Runs on the CPU in OpenVINO, in full float32: the same numbers as torch within rounding."""

    engine = "openvino"

    def __init__(self, net: nn.Module, shape: tuple[int, int, int]) -> None:
        """``shape``: channels, rows, columns of the input; the batch stays free."""
        import openvino  # noqa: PLC0415 - an optional extra, and slow to import

        example = torch.zeros((1, *shape))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it traces with torch.jit, which torch deprecates
            inputs = [openvino.PartialShape([-1, *shape])]
            model = openvino.convert_model(net.eval(), example_input=example, input=inputs)
        hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self._compiled: Any = _core().compile_model(model, "CPU", hints)

    def __call__(self, batch: Batch) -> Batch:
        """Run one batch."""
        return np.array(self._compiled(np.ascontiguousarray(batch))[0])  # a copy: OpenVINO uses its buffer again


@functools.cache
def _core() -> Any:  # noqa: ANN401 - OpenVINO is not annotated
    """One for the whole process.

    Its CPU plugin gives the thread an alternate stack for signals, and frees that stack with the last Core without
    taking it back: the next signal, of a child that ended for example, would then kill the process.
    """
    import openvino  # noqa: PLC0415 - an optional extra, and slow to import

    return openvino.Core()


def torch_device(device: str) -> torch.device:
    """The device meant by a setting: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigurationError: the word is unknown or there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    if device == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or (index and not index.isdecimal()) or device.endswith(":"):
        message = f"analysis.device is {device!r}; it must be auto, cpu, cuda or cuda:N"
        raise ConfigurationError(message)
    if int(index or 0) >= torch.cuda.device_count():
        message = (
            f"analysis.device is {device!r} but torch sees {torch.cuda.device_count()} CUDA devices; set auto or cpu"
        )
        raise ConfigurationError(message)
    return torch.device(device)


def open_network(net: nn.Module, shape: tuple[int, int, int], device: str, engine: str = "auto") -> Runner:
    """Make a network ready.

    Args:
        net: with its weights.
        shape: channels, rows, columns of its input.
        device: as in the setting, see ``torch_device``.
        engine: "auto" takes OpenVINO for a CPU where it is installed; "torch" and "openvino" insist.
    """
    chosen = torch_device(device)
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" or (engine == "auto" and chosen.type == "cpu" and installed):
        return OpenVinoRunner(net, shape)
    return TorchRunner(net, chosen)
