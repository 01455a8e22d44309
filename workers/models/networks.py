"""``network_def`` in MONAI's notation to a network: classes of known packages with plain arguments, nothing else."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from torch import nn

from service.domain.errors import ConfigurationError

_OURS, _MONAI = "workers.networks.", "monai.networks."
_SHORT = "monai.networks.nets"  # where a name without a module is looked up, as MONAI does


def build_network(path: Path, definition: dict[str, Any]) -> nn.Module:
    """The network of a bundle with random weights.

    Args:
        path: folder of the bundle, for messages.
        definition: ``_target_`` (a class of ``monai.networks`` or ``workers.networks``) and its arguments.

    Raises:
        ConfigurationError: the target is of another package or no network, or does not take these arguments.
    """
    arguments = {key: value for key, value in definition.items() if not key.startswith("_")}
    target = str(definition.get("_target_", ""))
    if _wants_more(arguments):
        message = (
            f"bundle {path}: network_def may hold plain values only: no nested _target_, no address, no pretrained"
        )
        raise ConfigurationError(message)
    kind = _class(path, target)
    try:
        return kind(**arguments)
    except Exception as error:  # a constructor of MONAI raises whatever it likes on odd arguments
        message = (
            f"bundle {path}: {target} cannot be built ({type(error).__name__}: {str(error)[:200]}); mend network_def"
        )
        raise ConfigurationError(message) from error


def _class(path: Path, target: str) -> type[nn.Module]:
    module, _, name = target.rpartition(".")
    module = module or _SHORT
    if not f"{module}.".startswith((_OURS, _MONAI)):
        message = f"bundle {path}: network_def names {target!r}; only {_MONAI}* and {_OURS}* are built"
        raise ConfigurationError(message)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"bundle {path}: there is no network {target!r} in this version of MONAI or Dentgate"
        raise ConfigurationError(message) from error
    if not inspect.isclass(found) or not issubclass(found, nn.Module):
        message = f"bundle {path}: {target!r} is no network"
        raise ConfigurationError(message)
    return found


def _wants_more(value: object) -> bool:
    """Whether plain values are not all: something would be fetched or built on the way."""
    if isinstance(value, dict):
        return "_target_" in value or value.get("pretrained") is True or any(map(_wants_more, value.values()))
    if isinstance(value, list):
        return any(map(_wants_more, value))
    return isinstance(value, str) and "://" in value
