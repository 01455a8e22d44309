"""Weights to begin with: our own, or a checkpoint in the layout of torchvision or timm.

A file is read as tensors only. The last layer is left out: it knows other classes. All else must fit, name by name and
shape by shape; a network for grey pictures takes the sum of the first kernels over the colours.
"""

import importlib
import importlib.util
import io
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from service.domain.errors import ConfigurationError

_HEADS = ("fc.", "head.", "classifier.6.", "heads.")  # last layers of the layouts
_LIBRARIES = ("torchvision", "timm")
_COLOURS = 3
_BOTTLENECKS: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "ResNet50",
    (3, 4, 23, 3): "ResNet101",
    (3, 8, 36, 3): "ResNet152",
}
_BASICS: dict[tuple[int, ...], str] = {(2, 2, 2, 2): "ResNet18", (3, 4, 6, 3): "ResNet34"}
_MARKS = (
    ("denseblock", "DenseNet"),
    ("denselayer", "DenseNet"),
    ("attn", "a transformer (ViT or Swin)"),
    ("self_attention", "a transformer (ViT)"),
    ("conv_pw", "EfficientNet or MobileNet"),
    ("Mixed_", "Inception"),
    ("dwconv", "ConvNeXt"),
    ("features.0.0.", "EfficientNet, MobileNet or ConvNeXt"),
)
State = dict[str, torch.Tensor]


def load_start(network: nn.Module, start: Path | str) -> frozenset[str]:
    """Put the weights of a checkpoint into a network.

    Args:
        network: gets the weights.
        start: a file, or ``torchvision:NAME`` or ``timm:NAME`` for weights that this library fetches by itself.

    Returns:
        The names of the parameters that were loaded.

    Raises:
        ConfigurationError: it cannot be read or fetched, or belongs to another architecture; names which.
    """
    library, _, name = str(start).partition(":")
    if library in _LIBRARIES and name:
        return put(network, _fetch(library, name), str(start))
    return put(network, read_checkpoint(Path(start)), str(start))


def read_checkpoint(path: Path) -> State:
    """The tensors of a file that torch wrote, whatever they are wrapped in. Raises ConfigurationError."""
    try:
        content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except OSError as error:
        message = f"checkpoint {path} cannot be read ({error.strerror})"
        raise ConfigurationError(message) from error
    except Exception as error:  # torch raises many kinds for a file that is not its own
        message = f"checkpoint {path} is no file of torch tensors ({type(error).__name__}); save a state_dict"
        raise ConfigurationError(message) from error
    for key in ("state_dict_ema", "state_dict", "model", "averaged"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = content.items() if isinstance(content, dict) else ()
    state = {str(name).removeprefix("module."): value for name, value in tensors if isinstance(value, torch.Tensor)}
    if not state:
        message = f"checkpoint {path} holds no weights; save a state_dict"
        raise ConfigurationError(message)
    return state


def put(network: nn.Module, state: State, source: str) -> frozenset[str]:
    """Copy all but the last layer; see ``load_start``."""
    own = network.state_dict()
    state = _renamed(state, own)
    wanted = {name for name in own if not name.startswith(_HEADS) and not name.endswith("num_batches_tracked")}
    added = {name for name in wanted if name.startswith("added.") or _is_own_norm(name, own, state)}
    state = {name: _grey(value, own.get(name)) for name, value in state.items()}
    missing = sorted(name for name in wanted - added if name not in state)
    wrong = sorted(name for name in wanted & state.keys() if state[name].shape != own[name].shape and name not in added)
    if missing or wrong:
        first = missing[0] if missing else wrong[0]
        shape = (
            f" has shape {tuple(state[first].shape)}, not {tuple(own[first].shape)}" if not missing else " is missing"
        )
        message = (
            f"checkpoint {source} looks like {looks_like(state)} and does not fit {type(network).__name__}: {first}"
            f"{shape}; choose the backbone that it belongs to"
        )
        raise ConfigurationError(message)
    loaded = {name: state[name] for name in (wanted - added) & state.keys()}
    if broken := sorted(name for name, value in loaded.items() if not torch.isfinite(value).all()):
        message = f"checkpoint {source} is damaged: {broken[0]} holds values that are no finite numbers; take another"
        raise ConfigurationError(message)
    network.load_state_dict(loaded, strict=False)
    return frozenset(loaded)


def looks_like(state: State) -> str:
    """The architecture that a checkpoint's names speak of, in words."""
    names = list(state)
    for mark, architecture in _MARKS:
        if any(mark in name for name in names):
            return architecture
    if any(name.startswith("stages.0.blocks.0.norm1") for name in names):
        counts = _counts(names, r"stages\.(\d)\.blocks\.(\d+)\.")
        return _BOTTLENECKS.get(counts, "ResNet").replace("ResNet", "ResNetV2-")
    if any(name.startswith("layer1.0.conv1") for name in names):
        bottleneck = any(name.startswith("layer1.0.conv3") for name in names)
        return (_BOTTLENECKS if bottleneck else _BASICS).get(_counts(names, r"layer(\d)\.(\d+)\."), "a ResNet")
    if any(name.startswith("features.0.") for name in names):
        kernels = [name for name, value in state.items() if name.startswith("features.") and value.ndim == 4]  # noqa: PLR2004
        normed = any(name.endswith("running_mean") for name in names)
        return f"VGG{len(kernels) + 3}{' with batch normalisation' if normed else ''}"
    return "none of the architectures known here"


def _counts(names: list[str], pattern: str) -> tuple[int, ...]:
    """How many blocks each stage has."""
    found = {(int(hit[1]), int(hit[2])) for name in names if (hit := re.match(pattern, name))}
    return tuple(max(b for s, b in found if s == stage) + 1 for stage in sorted({s for s, _ in found}))


def _renamed(state: State, own: State) -> State:
    """The VGG of timm keeps the dense layers as convolutions under names of their own."""
    pairs = {"pre_logits.fc1.": "classifier.0.", "pre_logits.fc2.": "classifier.3."}
    result = dict(state)
    for theirs, ours in pairs.items():
        for part in ("weight", "bias"):
            if theirs + part in result and ours + part in own:
                result[ours + part] = result.pop(theirs + part).reshape(own[ours + part].shape)
    return result


def _is_own_norm(name: str, own: State, state: State) -> bool:
    """The last normalisation of a ResNetV2 whose extra blocks end in another width than the checkpoint's."""
    return name.startswith("norm.") and (name not in state or state[name].shape != own[name].shape)


def _grey(value: torch.Tensor, own: torch.Tensor | None) -> torch.Tensor:
    """A first kernel for three colours made one for grey."""
    if own is None or value.ndim != 4 or value.shape[1] != _COLOURS or own.shape[1] != 1:  # noqa: PLR2004 - a kernel
        return value
    return value.sum(1, keepdim=True)


def _fetch(library: str, name: str) -> State:
    """Weights by name, from where the library gets them. Raises ConfigurationError."""
    if importlib.util.find_spec(library) is None:
        message = (
            f"--start {library}:{name}: {library} is not installed; pip install {library}, or give a checkpoint file"
        )
        raise ConfigurationError(message)
    try:
        if library == "timm":
            network: Any = importlib.import_module("timm").create_model(name, pretrained=True)
        else:
            network = importlib.import_module("torchvision.models").get_model(name, weights="DEFAULT")
    except Exception as error:  # no internet, no such name, no weights: each library has its own errors
        message = (
            f"--start {library}:{name}: {library} gives no such weights ({type(error).__name__}: {error}); it fetches "
            "them from the internet; where there is none, give a checkpoint file"
        )
        raise ConfigurationError(message) from error
    state: State = network.state_dict()
    return state
