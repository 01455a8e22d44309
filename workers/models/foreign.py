"""A bundle made elsewhere with MONAI's tools, served through ``dentgate.json`` beside it (see ``mapping``).

Nothing of the bundle is executed: its network is a class of ``monai.networks.nets`` (or ours) with plain arguments, its
weights are read as tensors only, its transforms are not read at all: the mapping says how an image becomes an input. A
TorchScript archive (models/model.ts) is a program, though one of tensor operations; it is taken where there is no .pt.
"""

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from billiard.exceptions import SoftTimeLimitExceeded
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage
from scipy.special import expit, softmax
from skimage.transform import resize
from torch import nn

from service.domain.errors import ConfigurationError
from service.domain.finding import Algorithm
from workers.inference import Runner, Shared, TorchRunner, alone, open_network, torch_device
from workers.models import Verdict
from workers.models.grad_cam import gradient_maps, hot_box, to_heat
from workers.models.mapping import NAME, Activation, Channel, Mapping, Scale, read_mapping
from workers.models.networks import build_network
from workers.pixels import Image
from workers.regions import Detection

_LOG = logging.getLogger(__name__)
_PASSING = (SoftTimeLimitExceeded, MemoryError, torch.OutOfMemoryError)
_CLASSES, _MAPS = 2, 4  # dimensions of the output of a classifier, and of a segmentation
_CONFIGS = ("inference.json", "inference.yaml", "inference.yml", "train.json", "train.yaml", "train.yml")
_WRAPPED = ("state_dict", "model", "model_state_dict", "network")  # where training tools put weights in a checkpoint

Floats = NDArray[np.float32]


class ForeignBundle:
    """A bundle with a mapping."""

    def __init__(self, path: Path) -> None:
        """``path``: folder of the bundle. Raises ConfigurationError where its metadata or mapping are wrong."""
        self._path = path
        self._metadata = read_config(path / "configs" / "metadata.json")
        self._mapping = read_mapping(path, self._metadata)
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
        shape = (3 if self._mapping.colour else 1, *self._mapping.size)
        try:
            runner = _runner(network, shape, device)
            tried = runner(np.zeros((1, *shape), np.float32))
        except (*_PASSING, ConfigurationError):
            raise
        except Exception as error:  # a network that does not take such an input fails in any way it likes
            words = f"its network does not run on {shape} inputs ({type(error).__name__}: {str(error)[:200]})"
            message = f"bundle {self._path}: {words}"
            raise ConfigurationError(message) from error
        if tried.ndim not in {_CLASSES, _MAPS}:
            message = (
                f"bundle {self._path}: its output has shape {tried.shape}; (1, classes) or (1, channels, h, w) wanted"
            )
            raise ConfigurationError(message)
        if unknown := [index for index in self._mapping.channels if not 0 <= index < tried.shape[1]]:
            message = f"{self._path / NAME}: there is no channel {unknown[0]}, the output has 0 to {tried.shape[1] - 1}"
            raise ConfigurationError(message)
        algorithm = Algorithm(
            name=self.name,
            version=str(self._metadata.get("version", "0")),
            weights_sha256=hashlib.sha256(content).hexdigest(),
            manufacturer=str(self._metadata.get("manufacturer") or self._metadata.get("authors") or "unknown"),
            research=True,  # whatever its own metadata say: the site decides, by name (allow_research_models)
        )
        return LoadedForeignBundle(algorithm, runner, self._mapping, network)


class LoadedForeignBundle:
    """The bundle with its weights."""

    def __init__(self, algorithm: Algorithm, runner: Runner, mapping: Mapping, network: nn.Module) -> None:
        """``runner`` runs ``network``, which is asked itself where an answer comes from; see ``ForeignBundle.load``."""
        self.algorithm = algorithm
        self._runner, self._mapping, self._network = runner, mapping, network

    def analyze(self, image: Image, _before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """A finding of the image for each channel (classification), or of each region (segmentation)."""
        given = input_of(image, self._mapping)[None]
        chances = probabilities(self._runner(given)[0], self._mapping.activation)
        if chances.ndim == 1:
            return tuple(self._of_image(chances, given, (image.pixels.shape[0], image.pixels.shape[1])))
        if self._mapping.transposed:
            chances = chances.transpose(0, 2, 1)
        return tuple(self._of_regions(chances, image.pixels.shape))

    def _of_image(self, chances: Floats, given: Floats, shape: tuple[int, int]) -> Iterator[Detection]:
        """Each finding with its heat map, where the network can be asked for one, and a box around the hot part."""
        channels = self._mapping.channels
        over = [index for index in sorted(channels) if chances[index] >= channels[index].threshold]
        with alone(self._runner):
            maps = gradient_maps(self._network, given, over) if over else None
        for place, index in enumerate(over):
            found = self._detection(channels[index], float(chances[index]))
            if maps is not None:
                heat = to_heat(maps[0, place].T if self._mapping.transposed else maps[0, place])
                found = replace(found, box=hot_box(heat, shape), heat=heat)
            yield found

    def _of_regions(self, chances: Floats, shape: tuple[int, ...]) -> list[Detection]:
        found = []
        for index, channel in sorted(self._mapping.channels.items()):
            plane = resize(chances[index], shape, order=1, anti_aliasing=False, preserve_range=True)
            parts, count = ndimage.label(plane >= channel.threshold)
            boxes = ndimage.find_objects(parts)
            for part in range(1, count + 1):
                rows, columns = boxes[part - 1]
                mask = parts[rows, columns] == part
                if mask.sum() < channel.least_area * plane.size:
                    continue
                box = (int(columns.start), int(rows.start), int(columns.stop), int(rows.stop))
                found.append(self._detection(channel, float(plane[rows, columns][mask].mean()), box, mask))
        return found

    def _detection(
        self,
        channel: Channel,
        chance: float,
        box: tuple[int, int, int, int] | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> Detection:
        certainty = round(min(max(chance, 0.0), 1.0) ** self._mapping.certainty, 3)
        return Detection(channel.finding, channel.tooth, certainty, box, mask, site=channel.site)


def input_of(image: Image, mapping: Mapping) -> Floats:
    """(channels, rows, columns) as the mapping says; the image is stretched onto the size, as MONAI's Resize does."""
    grey = image.pixels[..., None]
    planes = (image.colour if image.colour is not None else np.repeat(grey, 3, 2)) if mapping.colour else grey
    if mapping.transposed:
        planes = planes.transpose(1, 0, 2)
    shrinks = planes.shape[0] > mapping.size[0] or planes.shape[1] > mapping.size[1]
    small = resize(planes, mapping.size, order=1, anti_aliasing=shrinks, preserve_range=True)
    if mapping.scale is Scale.BYTE:
        small = small * 255
    elif mapping.scale is Scale.RANGE:
        small = (small - small.min()) / max(float(small.max() - small.min()), 1e-6)
    normal = (small - np.array(mapping.mean)) / np.array(mapping.deviation)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), np.float32)


def probabilities(output: Floats, activation: Activation) -> Floats:
    """(channels, ...) of the network to probabilities."""
    if activation is Activation.SOFTMAX:
        return np.asarray(softmax(output, axis=0), np.float32)
    return np.asarray(expit(output), np.float32) if activation is Activation.SIGMOID else output


def read_config(file: Path) -> dict[str, Any]:
    """A configuration of a bundle, JSON or YAML, as plain data. Raises ConfigurationError."""
    try:
        text = file.read_text(encoding="utf-8")
        document = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        message = f"{file} cannot be read ({error.strerror}); a MONAI bundle has it"
        raise ConfigurationError(message) from error
    except (ValueError, yaml.YAMLError) as error:
        message = f"{file} is neither JSON nor plain YAML"
        raise ConfigurationError(message) from error
    if not isinstance(document, dict):
        message = f"{file} holds no object"
        raise ConfigurationError(message)
    return document


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
    network = build_network(path, _definition(path))
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


def _definition(path: Path) -> dict[str, Any]:
    """``network_def`` (or ``network`` where that is a definition) of the first configuration that has one."""
    files = [file for name in _CONFIGS if (file := path / "configs" / name).is_file()]
    for file in files:
        document = read_config(file)
        for key in ("network_def", "network", "net"):
            if isinstance(document.get(key), dict):
                return {name: _literal(value, document, file) for name, value in document[key].items()}
    message = f"bundle {path}: no network_def in configs/{' or configs/'.join(_CONFIGS[:2])}"
    raise ConfigurationError(message)


def _literal(value: object, document: dict[str, Any], file: Path) -> object:
    """A value with references to other values (``@key``) resolved; expressions (``$``) are code and refused."""
    if isinstance(value, list):
        return [_literal(entry, document, file) for entry in value]
    if isinstance(value, dict):
        return {key: _literal(entry, document, file) for key, entry in value.items()}
    if not isinstance(value, str) or value[:1] not in {"@", "$"}:
        return value
    target = document.get(value[1:]) if value[0] == "@" else None
    if target is None or isinstance(target, str | dict):
        message = f"{file}: {value!r} in network_def would have to be computed; write the plain value there"
        raise ConfigurationError(message)
    return target


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
