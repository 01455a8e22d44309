"""Where and how a network runs: on CUDA by torch, on a CPU by OpenVINO where it is installed, else by torch.

Threads that read studies side by side share the passes of a network (``Shared``). OpenVINO converts the network in
memory when it is loaded (a few seconds, once per worker process): no second file of weights that could differ from the
first.
"""

import functools
import importlib
import importlib.util
import logging
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from service.domain.errors import ConfigurationError
from service.settings import AnalysisSettings
from workers.memory import Engine, Frugal

_LOG = logging.getLogger(__name__)
Batch = NDArray[np.float32]
MOST_IMAGES = 32  #: of several calls in one pass; a single call may bring more
_AT_ONCE_CUDA = 4  # studies
_SIDE_BY_SIDE = 2  # images on a CPU
_IMAGES = 4  # dimensions of an output that is itself an image: batch, channels, rows, columns


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
        return self._run(batch, self._device)

    def on_cpu(self, batch: Batch) -> Batch:
        """Run one batch on the CPU, because the device has no room for it, and move the network back."""
        torch.cuda.empty_cache()
        self._net.to("cpu")
        try:
            return self._run(batch, torch.device("cpu"))
        finally:
            self._net.to(self._device)

    def _run(self, batch: Batch, device: torch.device) -> Batch:
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(batch)).to(device, memory_format=torch.channels_last)
            output: Batch = self._net(given).float().cpu().numpy()
        return output


class OpenVinoRunner:
    """Runs on the CPU in OpenVINO, in full float32: the same numbers as torch within rounding."""

    engine = "openvino"

    def __init__(self, net: nn.Module, shape: tuple[int, int, int]) -> None:
        """``shape``: channels, rows, columns of the input; the batch stays free."""
        openvino = _openvino()
        example = torch.zeros((1, *shape))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it traces with torch.jit, which torch deprecates
            inputs = [openvino.PartialShape([-1, *shape])]
            model = openvino.convert_model(net.eval(), example_input=example, input=inputs)
        images = len(model.output().partial_shape) == _IMAGES
        self._engine: _SideBySide | _Together = _SideBySide(model, shape) if images else _Together(model)

    def __call__(self, batch: Batch) -> Batch:
        """Run one batch."""
        return self._engine(np.ascontiguousarray(batch))


class _Together:
    """A network whose output is small, in OpenVINO: the whole batch at once, whatever its size."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - OpenVINO is not annotated
        self._request = _compiled(model, PERFORMANCE_HINT="LATENCY").create_infer_request()

    def __call__(self, batch: Batch) -> Batch:
        # the request keeps its buffer and uses it again: what is given away is a copy
        return np.array(self._request.infer([batch], share_inputs=True, share_outputs=True)[0])


class _SideBySide:
    """A network from images to images, in OpenVINO: two at a time, each on half of the cores; an odd one on all.

    Two, because a film is looked at together with its mirror image: they wait for each other once, where a batch waits
    after every layer. Each runs as a graph of fixed shape, because only from such a graph does the plugin give the
    output as it computed it, channels last; of a batch of free size it turns the whole output around.
    """

    def __init__(self, model: Any, shape: tuple[int, int, int]) -> None:  # noqa: ANN401 - OpenVINO is not annotated
        openvino = _openvino()
        model.reshape([1, *shape])
        steps = openvino.preprocess.PrePostProcessor(model)
        steps.output().model().set_layout(openvino.Layout("NCHW"))
        steps.output().tensor().set_layout(openvino.Layout("NHWC"))
        self._model, self._tensor = steps.build(), openvino.Tensor
        self._two = _compiled(self._model, NUM_STREAMS=_SIDE_BY_SIDE)
        self._requests = self._new_requests()

    def __call__(self, batch: Batch) -> Batch:
        output = np.empty((len(batch), *tuple(self._two.output().shape)[1:]), np.float32)
        odd = len(batch) % _SIDE_BY_SIDE
        for first in range(0, len(batch) - odd, _SIDE_BY_SIDE):
            self._pass(self._requests, batch, output, first)
        if odd:
            self._pass([self._alone], batch, output, len(batch) - 1)
        return output.transpose(0, 3, 1, 2)

    @functools.cached_property
    def _alone(self) -> Any:  # noqa: ANN401 - OpenVINO is not annotated
        return _compiled(self._model, PERFORMANCE_HINT="LATENCY").create_infer_request()

    def _new_requests(self) -> list[Any]:
        return [self._two.create_infer_request() for _ in range(_SIDE_BY_SIDE)]

    def _pass(self, requests: Sequence[Any], batch: Batch, output: Batch, first: int) -> None:
        """Image ``first`` and as many behind it as there are requests. What they read and write is their own."""
        done = False
        try:
            for number, request in enumerate(requests, first):
                request.set_input_tensor(self._tensor(batch[number : number + 1]))
                request.start_async()
            for number, request in enumerate(requests, first):
                request.wait()
                output[number] = request.get_output_tensor().data[0]
            done = True
        finally:
            if not done:  # one may still run, or tell its error again
                self._requests = self._new_requests()
                self.__dict__.pop("_alone", None)


@dataclass(eq=False, slots=True)
class _Call:
    """A call that waits for its turn, until it has its output or must run by itself."""

    batch: Batch
    output: Batch | None = None
    by_itself: bool = False


class Shared:
    """A network for several threads: what waits while a pass runs goes together in the next one.

    Nobody waits for company: a call runs at once where none is under way, so a lone thread never loses time. If a joint
    pass fails, each call in it runs by itself, so that an error reaches only whom it concerns.
    """

    def __init__(self, runner: Engine, most: int = MOST_IMAGES) -> None:
        """``most``: images of several calls in one pass; 1 for a network that may mix the images of a batch up."""
        self.engine = runner.engine
        self.turn = threading.Lock()  #: held while the network works
        self._runner, self._most = runner, most
        self._line = threading.Lock()
        self._waiting: list[_Call] = []

    def __call__(self, batch: Batch) -> Batch:
        """Run one batch, perhaps in one pass with others. Raises what the network raises on this batch alone."""
        mine = _Call(batch)
        with self._line:
            self._waiting.append(mine)
        try:
            with self.turn:
                if mine.output is None and not mine.by_itself:
                    self._together(self._taken_along(mine))
                return self._runner(batch) if mine.output is None else mine.output
        finally:
            with self._line:
                if mine in self._waiting:  # a time limit of the worker struck
                    self._waiting.remove(mine)

    def _taken_along(self, first: _Call) -> list[_Call]:
        """The call whose turn it is and, in the order in which they came, others of the same shape that fit."""
        with self._line:
            taken, count = [first], len(first.batch)
            for call in self._waiting:
                fits = count + len(call.batch) <= self._most and call.batch.shape[1:] == first.batch.shape[1:]
                if call is not first and fits:
                    taken.append(call)
                    count += len(call.batch)
            self._waiting = [call for call in self._waiting if call not in taken]
        return taken

    def _together(self, calls: list[_Call]) -> None:
        if len(calls) == 1:
            return
        ends = np.cumsum([len(call.batch) for call in calls])
        parts: list[Batch] = []
        try:
            output = self._runner(np.concatenate([call.batch for call in calls]))
            if len(output) == ends[-1]:
                parts = np.split(output, ends[:-1])
        except Exception as error:  # noqa: BLE001 - whatever it is, it may concern one of them only
            _LOG.warning("a pass of %d images for %d studies failed (%s)", ends[-1], len(calls), type(error).__name__)
        for number, call in enumerate(calls):
            if parts:
                call.output = parts[number]
            else:
                call.by_itself = True


def alone(runner: Runner) -> AbstractContextManager[object]:
    """For who uses a network beside its runner (gradients): while this is held, no pass of the runner is under way."""
    return runner.turn if isinstance(runner, Shared) else nullcontext()


def studies_at_once(settings: AnalysisSettings) -> int:
    """How many studies a process reads at once: as set, or what suits the device."""
    cuda = settings.device.startswith("cuda") or (settings.device == "auto" and torch.cuda.is_available())
    return settings.studies_at_once or (_AT_ONCE_CUDA if cuda else 1)


def _compiled(model: Any, **hints: object) -> Any:  # noqa: ANN401 - OpenVINO is not annotated
    return _core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", **hints})


@functools.cache
def _core() -> Any:  # noqa: ANN401 - OpenVINO is not annotated
    """One for the whole process.

    Its CPU plugin gives the thread an alternate stack for signals, and frees that stack with the last Core without
    taking it back: the next signal, of a child that ended for example, would then kill the process.
    """
    return _openvino().Core()


def _openvino() -> Any:  # noqa: ANN401 - OpenVINO is not annotated
    """The package (an optional extra, slow to import), without its telemetry.

    Unless it is told otherwise OpenVINO reports every import and conversion to its maker over the internet. Nothing
    leaves a hospital unasked: where ``openvino_telemetry`` cannot be imported it reports nothing.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python bars an import
    return importlib.import_module("openvino")


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


def open_network(
    net: nn.Module, shape: tuple[int, int, int], device: str, engine: str = "auto", *, most: int = MOST_IMAGES
) -> Runner:
    """Make a network ready.

    Args:
        net: with its weights.
        shape: channels, rows, columns of its input.
        device: as in the setting, see ``torch_device``.
        engine: "auto" takes OpenVINO for a CPU where it is installed; "torch" and "openvino" insist.
        most: see ``Shared``.
    """
    chosen = torch_device(device)
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" or (engine == "auto" and chosen.type == "cpu" and installed):
        return Shared(Frugal(OpenVinoRunner(net, shape)), most)
    runner = TorchRunner(net, chosen)
    return Shared(Frugal(runner, runner.on_cpu if chosen.type == "cuda" else None), most)
