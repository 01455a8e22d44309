"""A bundle made elsewhere with MONAI's tools, served through ``dentgate.json`` beside it (see ``mapping``).

Nothing of the bundle is executed: its network is a class of ``monai.networks.nets`` (or ours) with plain arguments, its
weights are read as tensors only, its transforms are MONAI's own, by name (see ``foreign_steps``), unless the mapping
says by hand how an image becomes an input. A TorchScript archive (models/model.ts) is a program, though one of tensor
operations; it is taken where there is no .pt.
"""

import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from billiard.exceptions import SoftTimeLimitExceeded
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage
from scipy.special import expit, softmax
from torch import nn

from service.domain.errors import ConfigurationError
from service.domain.finding import Algorithm
from workers.inference import Runner, Shared, TorchRunner, alone, open_network, torch_device
from workers.models import Verdict
from workers.models.bundle_config import configs, network_definition, read_config
from workers.models.foreign_input import ByHand, ByTransforms, Eye, Seen
from workers.models.foreign_steps import Windows, by_hand_after, read_steps
from workers.models.grad_cam import gradient_maps, hot_box, to_heat
from workers.models.mapping import NAME, Activation, Channel, Mapping, read_mapping
from workers.models.networks import build_network
from workers.pixels import Image
from workers.regions import Detection

_LOG = logging.getLogger(__name__)
_PASSING = (SoftTimeLimitExceeded, MemoryError, torch.OutOfMemoryError)
_CLASSES, _MAPS = 2, 4  # dimensions of the output of a classifier, and of a segmentation
_WRAPPED = ("state_dict", "model", "model_state_dict", "network")  # where training tools put weights in a checkpoint
_THRESHOLD = 0.5  # where neither the mapping nor the bundle says another

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of the network's output.

    Attributes:
        channels: by index, as in the mapping; their thresholds are given unless ``argmax`` decides.
        activation: to probabilities.
        certainty: power of the probability.
        windows: what the network sees of the input at a time; None = all of it.
    """

    channels: dict[int, Channel]
    activation: Activation
    certainty: float = 1.0
    windows: Windows | None = None

    def holds(self, chances: Floats, index: int, plane: Floats) -> NDArray[np.bool_]:
        """Where a channel is a finding: in its ``plane`` enough, or the most of all ``chances`` (channels, ...)."""
        threshold = self.channels[index].threshold
        if threshold is not None:
            return np.asarray(plane >= threshold)
        return np.asarray(chances.argmax(0) == index)


class ForeignBundle:
    """A bundle with a mapping."""

    def __init__(self, path: Path) -> None:
        """``path``: folder of the bundle. Raises ConfigurationError where metadata, mapping or transforms are wrong."""
        self._path = path
        self._metadata = read_config(path / "configs" / "metadata.json")
        self._mapping = _with_colours(read_mapping(path, self._metadata), path)
        mapping = self._mapping
        self._reading = read_steps(path, before=not mapping.by_hand, after="activation" not in mapping.stated)
        steps = self._reading.steps
        self._eye: Eye = ByHand(mapping) if steps is None else ByTransforms(steps, self._reading, mapping, path)
        self.name = str(self._metadata.get("name") or path.name).replace(" ", "_").lower()

    @property
    def looks_for(self) -> tuple[str, ...]:
        """Kinds of finding that its channels mean."""
        return tuple(dict.fromkeys(channel.finding for channel in self._mapping.channels.values()))

    def judge(self, header: Dataset) -> Verdict:
        """By modality, body part and view as the mapping says."""
        return Verdict(*self._mapping.judge(header))

    def load(self, device: str) -> "LoadedForeignBundle":
        """Read the weights and try the network once.

        Raises:
            ConfigurationError: the bundle is not what it must be; names the file and the mend.
        """
        network, content = _network(self._path)
        windows = self._reading.windows
        shape = self._eye.shape if windows is None else (self._eye.channels, *windows.size)
        if shape is None:  # never without windows; see ByTransforms
            raise AssertionError
        try:
            runner = _runner(network, shape, device)
            tried = runner(np.zeros((1, *shape), np.float32))
        except (*_PASSING, ConfigurationError):
            raise
        except Exception as error:  # a network that does not take such an input fails in any way it likes
            words = f"its network does not run on {shape} inputs ({type(error).__name__}: {str(error)[:200]})"
            message = f"bundle {self._path}: {words}; size and colour in {NAME} say what it takes"
            raise ConfigurationError(message) from error
        answer = self._answer(tried.shape)
        algorithm = Algorithm(
            name=self.name,
            version=str(self._metadata.get("version", "0")),
            weights_sha256=hashlib.sha256(content).hexdigest(),
            manufacturer=str(self._metadata.get("manufacturer") or self._metadata.get("authors") or "unknown"),
            research=True,  # whatever its own metadata say: the site decides, by name (allow_research_models)
        )
        return LoadedForeignBundle(algorithm, runner, self._eye, answer, network)

    def _answer(self, shape: tuple[int, ...]) -> Answer:
        """How an output of this shape is read. Raises ConfigurationError."""
        mapping, reading = self._mapping, self._reading
        wanted = {_MAPS} if reading.windows else {_CLASSES, _MAPS}
        if len(shape) not in wanted:
            message = f"bundle {self._path}: its output has shape {shape}; (1, classes) or (1, channels, h, w) wanted"
            raise ConfigurationError(message)
        if unknown := [index for index in mapping.channels if not 0 <= index < shape[1]]:
            message = f"{self._path / NAME}: there is no channel {unknown[0]}, the output has 0 to {shape[1] - 1}"
            raise ConfigurationError(message)
        lone = Activation.SIGMOID if shape[1] == 1 else Activation.SOFTMAX
        activation = mapping.activation or reading.activation or lone
        if shape[1] == 1 and (activation is Activation.SOFTMAX or reading.argmax):
            words = f"softmax and argmax of a single channel say nothing; {by_hand_after(self._path)}"
            message = f"bundle {self._path}: {words}"
            raise ConfigurationError(message)
        usual = None if reading.argmax else reading.threshold or _THRESHOLD
        channels = {
            index: channel if channel.threshold is not None else replace(channel, threshold=usual)
            for index, channel in mapping.channels.items()
        }
        return Answer(channels, activation, mapping.certainty, reading.windows)


class LoadedForeignBundle:
    """The bundle with its weights."""

    def __init__(self, algorithm: Algorithm, runner: Runner, eye: Eye, answer: Answer, network: nn.Module) -> None:
        """``runner`` runs ``network``, which is asked itself where an answer comes from; see ``ForeignBundle.load``."""
        self.algorithm, self.eye, self._answer = algorithm, eye, answer
        self._runner, self._network = runner, network

    def analyze(self, image: Image, _before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """A finding of the image for each channel (classification), or of each region (segmentation)."""
        seen = self.eye.see(image)
        chances = self.probabilities(seen)
        found = self._of_image(chances, seen) if chances.ndim == 1 else self._of_regions(chances, seen)
        return tuple(found)

    def probabilities(self, seen: Seen) -> Floats:
        """(classes,) or (channels, h, w) of what it is shown."""
        if self._answer.windows is None:
            output = self._runner(seen.planes[None])
        else:
            output = _in_windows(self._runner, seen.planes, self._answer.windows)
        return probabilities(output[0], self._answer.activation)

    def _of_image(self, chances: Floats, seen: Seen) -> Iterator[Detection]:
        """Each finding with its heat map, where the network can be asked for one, and a box around the hot part."""
        channels = self._answer.channels
        over = [index for index in sorted(channels) if self._answer.holds(chances, index, chances[index])]
        with alone(self._runner):
            maps = gradient_maps(self._network, seen.planes[None], over) if over else None
        for place, index in enumerate(over):
            found = self._detection(channels[index], float(chances[index]))
            if maps is not None:
                heat = to_heat(maps[0, place])
                grid = (heat.shape[1], heat.shape[0]) if seen.turned else (heat.shape[0], heat.shape[1])
                heat = seen.on_image(heat, grid)
                found = replace(found, box=hot_box(heat, seen.shape), heat=heat)
            yield found

    def _of_regions(self, chances: Floats, seen: Seen) -> Iterator[Detection]:
        argmax = any(channel.threshold is None for channel in self._answer.channels.values())
        wanted = range(len(chances)) if argmax else sorted(self._answer.channels)
        planes = {index: seen.on_image(chances[index]) for index in wanted}
        laid = np.stack([planes[index] for index in wanted]) if argmax else chances
        for index, channel in sorted(self._answer.channels.items()):
            plane = planes[index]
            parts, count = ndimage.label(self._answer.holds(laid, index, plane) & (plane > 0))
            boxes = ndimage.find_objects(parts)
            for part in range(1, count + 1):
                rows, columns = boxes[part - 1]
                mask = parts[rows, columns] == part
                if mask.sum() < channel.least_area * plane.size:
                    continue
                box = (int(columns.start), int(rows.start), int(columns.stop), int(rows.stop))
                yield self._detection(channel, float(plane[rows, columns][mask].mean()), box, mask)

    def _detection(
        self,
        channel: Channel,
        chance: float,
        box: tuple[int, int, int, int] | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> Detection:
        certainty = round(min(max(chance, 0.0), 1.0) ** self._answer.certainty, 3)
        return Detection(channel.finding, channel.tooth, certainty, box, mask, site=channel.site)


def probabilities(output: Floats, activation: Activation) -> Floats:
    """(channels, ...) of the network to probabilities."""
    if activation is Activation.SOFTMAX:
        return np.asarray(softmax(output, axis=0), np.float32)
    return np.asarray(expit(output), np.float32) if activation is Activation.SIGMOID else output


def _in_windows(runner: Runner, planes: Floats, windows: Windows) -> Floats:
    """(1, channels, rows, columns) of the whole input, by MONAI's own inferer."""

    def network(batch: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(runner(batch.numpy()))

    inferer = SlidingWindowInferer(roi_size=windows.size, sw_batch_size=1, **windows.options)
    with torch.inference_mode():
        output = inferer(torch.from_numpy(planes)[None], network)
    return np.asarray(output, np.float32)


def _with_colours(mapping: Mapping, path: Path) -> Mapping:
    """Colour where neither mapping nor metadata say it: as many channels as the network takes."""
    if mapping.colour is not None:
        return mapping
    try:
        taken = network_definition(path).get("in_channels") if any(configs(path)) else None
    except ConfigurationError:  # told when it is loaded
        taken = None
    return replace(mapping, colour=taken == 3)  # noqa: PLR2004 - red, green and blue


def _runner(network: nn.Module, shape: tuple[int, int, int], device: str) -> Runner:
    """The usual engine, or torch for what only torch can run; never studies together, for it may mix a batch up."""
    if isinstance(network, torch.jit.ScriptModule):
        return Shared(TorchRunner(network, torch_device(device)), most=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # shapes are fixed
            return open_network(network, shape, device, most=1)
    except (*_PASSING, ConfigurationError):
        raise
    except Exception as error:  # noqa: BLE001 - an engine that cannot convert a network fails in any way it likes
        _LOG.warning("OpenVINO cannot run a foreign network (%s), torch does", type(error).__name__)
        return Shared(TorchRunner(network, torch_device(device)), most=1)


def _network(path: Path) -> tuple[nn.Module, bytes]:
    """The network with its weights, and the bytes of the file."""
    weights, script = path / "models" / "model.pt", path / "models" / "model.ts"
    try:
        if not weights.is_file() and script.is_file():
            content = script.read_bytes()
            return _scripted(script, content), content
        content = weights.read_bytes()
    except OSError as error:
        message = f"bundle {path}: neither models/model.pt nor models/model.ts can be read ({error.strerror})"
        raise ConfigurationError(message) from error
    network = build_network(path, network_definition(path))
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        network.load_state_dict(_floats(state))
    except _PASSING:
        raise
    except Exception as error:  # torch raises many kinds; all others mean that the file is not these weights
        message = (
            f"bundle {path}: models/model.pt does not fit network_def ({type(error).__name__}); "
            "it must be the state dict of that network, as torch.save(net.state_dict(), ...) writes it"
        )
        raise ConfigurationError(message) from error
    return network.eval(), content


def _scripted(file: Path, content: bytes) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch prefers torch.export; bundles still hold these
            loaded: nn.Module = torch.jit.load(io.BytesIO(content), map_location="cpu")
    except _PASSING:
        raise
    except Exception as error:
        message = f"{file} is no TorchScript archive that this torch can read ({type(error).__name__})"
        raise ConfigurationError(message) from error
    return loaded.eval()


def _floats(state: object) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, half precision widened; one level of wrapping is undone."""
    if isinstance(state, dict):
        for key in _WRAPPED:
            if isinstance(state.get(key), dict):
                state = state[key]
                break
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise TypeError
    return {
        key.removeprefix("module."): value.float() if value.is_floating_point() else value
        for key, value in state.items()
    }
