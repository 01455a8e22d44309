"""A MONAI bundle on disk: configs/metadata.json, configs/inference.json, models/model.pt, docs/README.md.

The weights are checked against the digest in the metadata before torch reads them, and read as tensors only.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from billiard.exceptions import SoftTimeLimitExceeded
from torch import nn

from service.domain.errors import ConfigurationError, DentgateError, Transient
from service.domain.finding import Algorithm
from workers.models.networks import build_network

BUNDLES = Path(__file__).resolve().parent.parent / "bundles"
_NETWORKS = "workers.networks."  # the only place a bundle may take a network from
_WRONG = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)  # other OSErrors may pass
_PASSING = (SoftTimeLimitExceeded, MemoryError, OSError, torch.OutOfMemoryError)  # says nothing about the file
_NEEDED = ("name", "version", "task", "weights_sha256", "manufacturer", "intended_use")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were read and found right.

    Attributes:
        algorithm: name, version and weights, for every result.
        metadata: configs/metadata.json.
        settings: configs/inference.json without the network.
        network: with its weights, on the CPU, set to inference.
    """

    algorithm: Algorithm
    metadata: dict[str, Any]
    settings: dict[str, Any]
    network: nn.Module


def load_bundle(path: Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        ConfigurationError: a file is missing, broken, or belongs to something else; names the file and the mend.
        Transient: a file cannot be read at the moment. Want of memory comes as what torch raises.
    """
    metadata = _read_json(path / "configs" / "metadata.json")
    settings = _read_json(path / "configs" / "inference.json")
    lacking = [key for key in _NEEDED if not isinstance(metadata.get(key), str)]
    if lacking:
        raise broken(path, f"configs/metadata.json lacks {', '.join(lacking)}")
    content = _weights(path, metadata["weights_sha256"])
    network = _network(path, settings.pop("network_def", None))
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        )
    except _PASSING:
        raise
    except Exception as error:  # torch raises many kinds; all others mean that the file is not these weights
        if "allocate memory" in str(error):  # torch's word for a MemoryError is a RuntimeError
            raise
        raise broken(path, f"models/model.pt does not fit the network ({type(error).__name__})") from error
    algorithm = Algorithm(
        name=metadata["name"],
        version=_version(path, metadata),
        weights_sha256=metadata["weights_sha256"],
        manufacturer=metadata["manufacturer"],
        # only one that ships may say of itself that it is more; of a dropped-in one the site decides, by name
        research=metadata.get("research") is not False or path.resolve().parent != BUNDLES,
    )
    return Bundle(algorithm, metadata, settings, network.eval())


def own_version(version: str, digest: str) -> str:
    """A version that only the weights of this digest (SHA-256, hexadecimal) have: "0.2.0+1f3c9a2e"."""
    return f"{version.partition('+')[0]}+{digest[:8]}"


def _version(path: Path, metadata: dict[str, Any]) -> str:
    """That of the metadata, unless a bundle that ships has it with other weights: no two share one in a record."""
    said, digest = str(metadata["version"]), str(metadata["weights_sha256"])
    try:
        shipped = json.loads((BUNDLES / metadata["name"] / "configs" / "metadata.json").read_text(encoding="utf-8"))
        taken = path.resolve().parent != BUNDLES and shipped["version"] == said and shipped["weights_sha256"] != digest
    except (OSError, ValueError, LookupError, TypeError):
        return said
    return own_version(said, digest) if taken else said


def broken(path: Path, what: str) -> ConfigurationError:
    """The error that says what is wrong with a bundle and how to mend it."""
    message = f"bundle {path}: {what}; install Dentgate again or put the whole bundle back"
    return ConfigurationError(message)


def _unread(path: Path, name: str, error: OSError) -> DentgateError:
    if isinstance(error, _WRONG):
        return broken(path, f"{name} cannot be read ({error.strerror})")
    return Transient(f"bundle {path}: {name} cannot be read now ({error.strerror})")


def _read_json(file: Path) -> dict[str, Any]:
    path, name = file.parent.parent, f"configs/{file.name}"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unread(path, name, error) from error
    except ValueError as error:
        raise broken(path, f"{name} is not JSON") from error
    if not isinstance(document, dict):
        raise broken(path, f"{name} is not a JSON object")
    return document


def _weights(path: Path, expected: str) -> bytes:
    try:
        content = (path / "models" / "model.pt").read_bytes()
    except OSError as error:
        raise _unread(path, "models/model.pt", error) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise broken(path, f"models/model.pt has sha256 {found[:12]}..., metadata.json says {expected[:12]}...")
    return content


def _network(path: Path, definition: object) -> nn.Module:
    """Build ``network_def`` in MONAI's notation: ``_target_`` and its arguments."""
    if not isinstance(definition, dict) or not str(definition.get("_target_", "")).startswith(_NETWORKS):
        raise broken(path, f"configs/inference.json names no network_def in {_NETWORKS}*")
    try:
        return build_network(path, definition)
    except ConfigurationError as error:
        raise broken(path, f"network_def in configs/inference.json cannot be built ({error})") from error
