"""The configurations of a bundle made elsewhere (JSON or YAML), read as plain data: nothing in them is executed.

MONAI's notation: ``@name`` and ``%name`` stand for another value (``@name::key::0`` for a part of it), ``$...`` for a
Python expression. The first are followed; of the last only plain constants are understood, all others are code.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from service.domain.errors import ConfigurationError

_CONFIGS = ("inference.json", "inference.yaml", "inference.yml", "train.json", "train.yaml", "train.yml")
_REFERENCE = re.compile(r"(?:\$?\s*@|%)([\w#:]+)\s*")
_STEPS = 16  # from one reference to the next; more go round in a circle


@dataclass(frozen=True, slots=True)
class Config:
    """One configuration.

    Attributes:
        file: where it stands.
        document: what it holds.
    """

    file: Path
    document: dict[str, Any]

    def follow(self, value: object) -> object:
        """What stands behind a reference; any other value itself. Raises ConfigurationError."""
        found = value
        for _ in range(_STEPS):
            if not isinstance(found, str) or not (told := _REFERENCE.fullmatch(found)):
                return found
            found = self._at(told[1], found)
        raise self._computed(value)

    def plain(self, value: object) -> object:
        """A value with everything in it resolved. Raises ConfigurationError where code would have to run."""
        found = self.follow(value)
        if isinstance(found, list):
            return [self.plain(entry) for entry in found]
        if isinstance(found, dict):
            return {key: self.plain(entry) for key, entry in found.items()}
        if not isinstance(found, str) or found[:1] not in {"@", "$", "%"}:
            return found
        try:
            constant = ast.literal_eval(found[1:].strip()) if found[0] == "$" else None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            constant = None
        if constant is None:
            raise self._computed(found)
        return list(constant) if isinstance(constant, tuple) else constant

    def _at(self, name: str, reference: str) -> object:
        found: object = self.document
        for key in re.split("#|::", name):
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]  # type: ignore[index]
            except (LookupError, TypeError, ValueError) as error:
                raise self._computed(reference) from error
        return found

    def _computed(self, value: object) -> ConfigurationError:
        message = f"{self.file}: {value!r} would have to be computed; write the plain value there"
        return ConfigurationError(message)


def configs(path: Path) -> Iterator[Config]:
    """Those of a bundle that can hold a network, inference before training. Raises ConfigurationError."""
    for name in _CONFIGS:
        file = path / "configs" / name
        if file.is_file():
            yield Config(file, read_config(file))


def network_definition(path: Path) -> dict[str, Any]:
    """``network_def`` (or ``network`` where that is a definition) of the first configuration that has one."""
    for config in configs(path):
        for key in ("network_def", "network", "net"):
            found = config.document.get(key)
            if isinstance(found, dict):
                return {name: config.plain(value) for name, value in found.items()}
    message = f"bundle {path}: no network_def in configs/{' or configs/'.join(_CONFIGS[:2])}"
    raise ConfigurationError(message)


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
