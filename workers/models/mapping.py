"""``dentgate.json``: what a foreign bundle must be told so that it can serve: which images, and what its channels mean.

::

    {"modality": ["DX", "CR"], "body_part": ["HAND", "WRIST"],
     "channels": {"1": {"finding": "fracture", "threshold": 0.4, "site": "wrist"}}}

is enough for most; everything else comes from the bundle: its transforms (see ``foreign_steps``), or, where ``scale``,
``mean`` or ``deviation`` say by hand how an image becomes an input, its metadata.json (``network_data_format``).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from service.domain.codes import FINDINGS, SITES
from service.domain.errors import ConfigurationError
from service.domain.tooth import TEETH

NAME = "dentgate.json"
_CHANNELS = (1, 3)
_BY_HAND = frozenset({"scale", "mean", "deviation"})


class Activation(StrEnum):
    """What makes probabilities of the network's output."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    NONE = "none"


class Scale(StrEnum):
    """What grey values become before mean and deviation: 0..1 as displayed, 0..255, or 0..1 of this image's range."""

    UNIT = "unit"
    BYTE = "byte"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class Channel:
    """What a channel of the output means.

    Attributes:
        finding: key of ``service.domain.codes.FINDINGS``, or scheme, value and meaning: "SCT:233604007:Pneumonia".
        threshold: from which probability on it is a finding; None = as the bundle says, or 0.5.
        site: key of ``service.domain.codes.SITES``; empty = the part that the image shows.
        tooth: FDI number, None for none.
        least_area: share of the image that a region must have; segmentation only.
    """

    finding: str
    threshold: float | None = None
    site: str = ""
    tooth: int | None = None
    least_area: float = 0.0005


@dataclass(frozen=True, slots=True)
class Mapping:
    """``dentgate.json`` with its defaults filled in.

    Attributes:
        modality: values of Modality that it takes; at least one.
        body_part: values of Body Part Examined that it takes; empty = any.
        view: values of View Position that it takes; empty = any.
        channels: by index of the output's channel; what is not named is no finding (background, "normal").
        size: rows and columns of the input; None = nobody says.
        colour: three channels (RGB; a grey image is repeated), else one; None = as many as the network takes.
        scale, mean, deviation: of the input.
        transposed: the network was trained on columns before rows, as MONAI's LoadImage reads PNG and JPEG.
        activation: see ``Activation``; None = as the bundle says.
        certainty: the certainty of a finding is probability to this power, for networks that are too sure (> 1: less).
        stated: the keys that the file has.
    """

    modality: tuple[str, ...]
    channels: dict[int, Channel]
    size: tuple[int, int] | None = None
    body_part: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    colour: bool | None = None
    scale: Scale = Scale.UNIT
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    transposed: bool = False
    activation: Activation | None = None
    certainty: float = 1.0
    stated: frozenset[str] = frozenset()

    @property
    def by_hand(self) -> bool:
        """Whether it says itself how grey values become an input; then the bundle's own transforms are not read."""
        return bool(self.stated & _BY_HAND)

    def judge(self, header: Dataset) -> tuple[bool, str]:
        """Whether an image is one of those that the mapping names, and why; see ``workers.models.Verdict``."""
        for keyword, name, wanted in (
            ("Modality", "modality", self.modality),
            ("BodyPartExamined", "body part", self.body_part),
            ("ViewPosition", "view", self.view),
        ):
            value = str(header.get(keyword) or "").strip().upper()
            if wanted and value not in wanted:
                return False, f"{name} {value or 'not given'} is not {' or '.join(wanted)}"
        return True, f"its mapping takes {', '.join([*self.modality, *self.body_part, *self.view])}"


def read_mapping(path: Path, metadata: dict[str, Any]) -> Mapping:
    """The mapping of a bundle.

    Args:
        path: folder of the bundle.
        metadata: its configs/metadata.json.

    Raises:
        ConfigurationError: names the file, the key and what it must be.
    """
    file = path / NAME
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        _check(document)
        return Mapping(**(_defaults(metadata) | _fields(document)), stated=frozenset(document))
    except OSError as error:
        message = f"{file} cannot be read ({error.strerror})"
        raise ConfigurationError(message) from error
    except json.JSONDecodeError as error:
        message = f"{file} is not JSON: {error}"
        raise ConfigurationError(message) from error
    except (TypeError, ValueError) as error:
        message = f"{file}: {error}"
        raise ConfigurationError(message) from error


def _check(document: object) -> None:
    """Raises ValueError or TypeError in words for the user."""
    if not isinstance(document, dict):
        message = "it must be a JSON object"
        raise TypeError(message)
    known = [field.name for field in fields(Mapping) if field.name != "stated"]
    if unknown := set(document) - set(known):
        message = f"unknown key {', '.join(sorted(unknown))}; known: {', '.join(known)}"
        raise ValueError(message)
    if not document.get("modality"):
        message = 'modality must name at least one, for example ["DX", "CR"]'
        raise ValueError(message)
    if not isinstance(document.get("channels"), dict) or not document["channels"]:
        message = 'channels must say what a channel means, for example {"1": {"finding": "fracture"}}'
        raise ValueError(message)


def _fields(document: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``Mapping`` that the file gives."""
    found = {}
    for key, value in document.items():
        try:
            found[key] = _READERS.get(key, bool)(value)
        except (TypeError, ValueError) as error:
            message = f"{key}: {error}"
            raise ValueError(message) from error
    return found


def _channel(index: str, entry: object) -> Channel:
    if not isinstance(entry, dict) or "finding" not in entry:
        message = f'channel {index} must be an object such as {{"finding": "fracture"}}'
        raise ValueError(message)
    channel = Channel(**entry)
    if channel.finding not in FINDINGS:
        known = ", ".join([*FINDINGS, "SCT:value:meaning"])
        message = f"channel {index}: finding {channel.finding!r} is not known; known: {known}"
        raise ValueError(message)
    if ":" in channel.finding and not channel.site:
        message = f"channel {index}: finding {channel.finding!r} needs a site; known: {', '.join(SITES)}"
        raise ValueError(message)
    if channel.site and channel.site not in SITES:
        message = f"channel {index}: site {channel.site!r} is not known; known: {', '.join(SITES)}"
        raise ValueError(message)
    if channel.tooth is not None and channel.tooth not in TEETH:
        message = f"channel {index}: tooth {channel.tooth!r} is no FDI number"
        raise ValueError(message)
    if channel.threshold is not None and not 0 < channel.threshold < 1:
        message = f"channel {index}: threshold {channel.threshold!r} must lie between 0 and 1"
        raise ValueError(message)
    return channel


def _defaults(metadata: dict[str, Any]) -> dict[str, Any]:
    """What MONAI's metadata say of the input; the mapping may say otherwise."""
    image = metadata.get("network_data_format", {}).get("inputs", {}).get("image", {})
    found: dict[str, Any] = {}
    if image.get("num_channels") in _CHANNELS:
        found["colour"] = image["num_channels"] == 3  # noqa: PLR2004 - red, green and blue
    shape = image.get("spatial_shape")
    if isinstance(shape, list) and len(shape) > 2 and shape[2] not in {1, "1"}:  # noqa: PLR2004 - rows and columns
        message = "the bundle takes volumes, X-rays are planes; only networks with two spatial dimensions can serve"
        raise ValueError(message)
    fixed = isinstance(shape, list) and all(isinstance(value, int) for value in shape[:2])
    return found | ({"size": _size(shape[:2])} if fixed else {})


def _size(value: object) -> tuple[int, int]:
    rows, columns = (int(number) for number in _numbers(value, (2,)))
    if not (8 <= rows <= 4096 and 8 <= columns <= 4096):  # noqa: PLR2004 - else it is a slip of the pen
        message = f"{rows} x {columns} must lie between 8 and 4096"
        raise ValueError(message)
    return rows, columns


def _numbers(value: object, counts: tuple[int, ...]) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) not in counts or not all(isinstance(v, int | float) for v in value):
        message = f"must be a list of {' or '.join(map(str, counts))} numbers"
        raise ValueError(message)
    return tuple(float(v) for v in value)


def _deviation(value: object) -> tuple[float, ...]:
    numbers = _numbers(value, (1, 3))
    if min(numbers) <= 0:
        message = "must be above 0"
        raise ValueError(message)
    return numbers


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        message = "must be a list of words"
        raise ValueError(message)
    return tuple(word.upper() for word in value)


#: How the value of each key is read; the others are yes or no.
_READERS: dict[str, Callable[[Any], Any]] = {
    "channels": lambda value: {int(index): _channel(index, entry) for index, entry in value.items()},
    "modality": _words,
    "body_part": _words,
    "view": _words,
    "size": _size,
    "mean": lambda value: _numbers(value, (1, 3)),
    "deviation": _deviation,
    "scale": Scale,
    "activation": Activation,
    "certainty": float,
}
