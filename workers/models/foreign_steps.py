"""The transforms, inferer and postprocessing of a bundle made elsewhere, by the names that MONAI gives them.

Nothing of the bundle is executed: a small table says which of MONAI's own transforms are understood, and those are made
anew with the plain arguments of the configuration, so that the arithmetic is MONAI's. What is not in the table, or
would have to be computed, is refused with its name; what the mapping says by hand is not read here at all.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai.transforms
import torch
from monai.data import MetaTensor

from workers.models.bundle_config import Config, configs
from workers.models.foreign_compose import ANSWER, Transform, refuse, transforms
from workers.models.mapping import NAME, Activation

Step = Callable[[MetaTensor], MetaTensor]

_VALUES = frozenset(
    [
        *("ScaleIntensity", "ScaleIntensityRange", "ScaleIntensityRangePercentiles", "ClipIntensityPercentiles"),
        *("NormalizeIntensity", "ThresholdIntensity", "AdjustContrast", "HistogramNormalize"),
    ]
)
_PLACES = frozenset(
    [
        *("Resize", "ResizeWithPadOrCrop", "SpatialPad", "BorderPad", "DivisiblePad", "CenterSpatialCrop"),
        *("CenterScaleCrop", "Flip", "Rotate90", "Transpose"),
    ]
)
_FORMS = frozenset(  # of what is in memory, which is right already
    [
        *("EnsureChannelFirst", "AddChannel", "AsChannelFirst", "EnsureType", "CastToType", "ToTensor", "ToNumpy"),
        *("ToDevice", "SelectItems", "DeleteItems", "Identity"),
    ]
)
_BEFORE = _VALUES | _PLACES | _FORMS | {"LoadImage", "RepeatChannel"}
_AFTER = _FORMS | {"Activations", "AsDiscrete", "Invert", "SaveImage"}
_LOADING = frozenset({"reader", "converter", "dtype", "reverse_indexing", "swap_ij"})
_ACTIVATING = frozenset({"sigmoid", "softmax", "other", "dim"})
_DISCRETE = frozenset({"argmax", "threshold", "rounding", "to_onehot", "num_classes", "dim", "keepdim", "dtype"})
_READERS = frozenset({"PILReader", "ITKReader", "PydicomReader"})
_CONVERTER = re.compile(r"""\$\s*lambda\s+(\w+)\s*:\s*\1\.convert\((["'])(L|RGB)\2\)\s*""")
_FLOATS = re.compile(r"\$?\s*((torch|np|numpy)\.)?float(32|64)?")
_BRIGHTEST = 255.0  # an image comes to the first transform as a picture file of 8 bits would
_LARGEST = 4096  # rows or columns that a transform may make
_HALF = 0.5
_WINDOWS = ("overlap", "mode", "sigma_scale", "padding_mode", "cval")  # what MONAI's inferer takes over
_SWAP = [0, 2, 1]  # of channels, rows and columns


@dataclass(frozen=True, slots=True)
class Windows:
    """MONAI's SlidingWindowInferer: the network sees windows of this size, one beside the other.

    Attributes:
        size: rows and columns.
        options: overlap, mode and padding_mode as MONAI takes them.
    """

    size: tuple[int, int]
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a bundle's configuration says of the way from an image to probabilities.

    Attributes:
        steps: from MetaTensor (channels, rows, columns), 0 to 255, to the network's input; None = it says nothing.
        transposed: LoadImage gives columns before rows.
        colour: what LoadImage's converter makes of a picture; None = as it is.
        repeats: how often the steps repeat a channel.
        activation: of its postprocessing; None = not said.
        threshold: the same.
        argmax: the same; the most probable channel holds.
        windows: None = the network sees the whole input.
    """

    steps: tuple[Step, ...] | None = None
    transposed: bool = False
    colour: bool | None = None
    repeats: int = 1
    activation: Activation | None = None
    threshold: float | None = None
    argmax: bool = False
    windows: Windows | None = None


def read_steps(path: Path, *, before: bool, after: bool) -> Reading:
    """What the configuration of the bundle in ``path`` says.

    Args:
        path: its folder.
        before: whether preprocessing and inferer are wanted, or the mapping says by hand how an input is made.
        after: whether the postprocessing is wanted, or the mapping says the activation by hand.

    Raises:
        ConfigurationError: a transform is not known or would have to be computed; names it and the mend.
    """
    for config in configs(path):
        for part in (config.document, config.document.get("validate")):
            if isinstance(part, dict) and ("preprocessing" in part or "postprocessing" in part):
                found: dict[str, Any] = {}
                if before and "preprocessing" in part:
                    found |= _before(transforms(config, part["preprocessing"], _BEFORE, by_hand_before(path)))
                    found["windows"] = _windows(config, part.get("inferer"), by_hand_before(path))
                if after and "postprocessing" in part:
                    found |= _after(transforms(config, part["postprocessing"], _AFTER, by_hand_after(path), ANSWER))
                return Reading(**found)
    return Reading()


def by_hand_before(path: Path) -> str:
    """The mend where a bundle's preprocessing cannot be read."""
    return f"say size, scale, mean and deviation in {path / NAME}, then its preprocessing is not read"


def by_hand_after(path: Path) -> str:
    """The mend where a bundle's postprocessing cannot be read."""
    return f"say activation (and thresholds) in {path / NAME}, then its postprocessing is not read"


def _before(given: Iterable[Transform]) -> dict[str, Any]:
    found: dict[str, Any] = {"repeats": 1}
    steps: list[Step] = []
    first = True
    for transform in given:
        _check_type(transform)
        if transform.name == "LoadImage":
            found |= _loading(transform)
        elif transform.name in _VALUES:
            if first:
                _check_range(transform)
            first = False
            steps.append(_built(transform))
        elif transform.name == "Transpose":
            steps += _transposing(transform)
        elif transform.name not in _FORMS:
            steps.append(_built(transform))
            if transform.name == "RepeatChannel":
                found["repeats"] *= int(transform.value("repeats"))
    return found | {"steps": tuple(steps)}


def _loading(transform: Transform) -> dict[str, Any]:
    """LoadImage: (columns, rows) of a picture, unless it is told otherwise."""
    transform.check_arguments(_LOADING)
    reader, converter = transform.value("reader"), transform.arguments.get("converter")
    told = _CONVERTER.fullmatch(str(converter)) if converter is not None else None
    if reader is not None and str(reader).rpartition(".")[2] not in _READERS:
        transform.refuse(f"with reader {reader!r} does not say how a picture is read")
    if converter is not None and told is None:
        transform.refuse("has a converter, which is code")
    straight = False in [transform.value(key) for key in ("reverse_indexing", "swap_ij")]
    return {"transposed": not straight, "colour": None if told is None else told[3] == "RGB"}


def _transposing(transform: Transform) -> list[Step]:
    indices = transform.value("indices")
    if indices not in (_SWAP, sorted(_SWAP)):
        transform.refuse(f"with indices {indices!r} mixes channels with rows or columns")
    return [_transpose] if indices == _SWAP else []


def _transpose(planes: MetaTensor) -> MetaTensor:
    """Rows against columns; MONAI's own forgets to tell the affine."""
    turned = MetaTensor(planes.as_tensor().permute(*_SWAP).contiguous())
    turned.affine = planes.affine @ torch.eye(4, dtype=planes.affine.dtype)[[1, 0, 2, 3]]
    return turned


def _built(transform: Transform) -> Step:
    """MONAI's own transform."""
    arguments = {key: transform.value(key) for key in transform.arguments if key != "dtype"}
    if transform.name not in _VALUES and any(abs(number) > _LARGEST for number in _numbers(arguments)):
        transform.refuse(f"makes more than {_LARGEST} rows or columns")
    try:
        made: Step = getattr(monai.transforms, transform.name)(**arguments)
    except Exception as error:  # noqa: BLE001 - MONAI raises whatever it likes on odd arguments
        transform.refuse(f"cannot be made ({type(error).__name__}: {str(error)[:200]})")
    return made


def _check_type(transform: Transform) -> None:
    """Nothing here is computed in other numbers than floating point of 32 bits or more."""
    kind = transform.arguments.get("dtype")
    if kind is not None and not _FLOATS.fullmatch(str(kind)):
        transform.refuse(f"with dtype {kind!r} would round or cut values")


def _check_range(transform: Transform) -> None:
    """The first that looks at values must have been made for those of a picture of 8 bits, 0 to 255."""
    low, high = 0.0, _BRIGHTEST
    if transform.name == "ScaleIntensityRange":
        low, high = (float(transform.value(key) or 0) for key in ("a_min", "a_max"))
    elif transform.name == "NormalizeIntensity":
        high = max([_BRIGHTEST, *_numbers(transform.value("subtrahend"))])
    if low < 0 or not 1 < high <= _BRIGHTEST:
        transform.refuse(
            "expects other values than a picture of 8 bits has (0 to 255), as which images are shown to it"
        )


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict | list):
        return [n for entry in (value.values() if isinstance(value, dict) else value) for n in _numbers(entry)]
    return [float(value)] if isinstance(value, int | float) else []


def _after(given: Iterable[Transform]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for transform in given:
        if transform.name == "Activations":
            transform.check_arguments(_ACTIVATING)
            said = [kind for kind in (Activation.SOFTMAX, Activation.SIGMOID) if transform.value(kind)]
            if len(said) != 1 or transform.arguments.get("other") is not None:
                transform.refuse("is neither sigmoid nor softmax")
            found["activation"] = said[0]
        elif transform.name == "AsDiscrete":
            found |= _discrete(transform)
            if found["threshold"] is not None:
                found.setdefault("activation", Activation.NONE)  # the network itself ends in one
    return found


def _discrete(transform: Transform) -> dict[str, Any]:
    """AsDiscrete: where a channel is said to hold."""
    transform.check_arguments(_DISCRETE)
    if transform.value("argmax"):
        return {"argmax": True, "threshold": None}
    threshold = _HALF if transform.value("rounding") else transform.value("threshold")
    if threshold is not None and not (isinstance(threshold, float) and 0 < threshold < 1):
        transform.refuse(f"has the threshold {threshold!r}, which must lie between 0 and 1")
    return {"argmax": False, "threshold": threshold}


def _windows(config: Config, value: object, mend: str) -> Windows | None:
    """What the network sees of the input."""
    entry = config.follow(value)
    name = str(entry.get("_target_", "")) if isinstance(entry, dict) else str(entry)[:100]
    short = name.removeprefix("monai.inferers.")
    if value is None or short == "SimpleInferer":
        return None
    if not isinstance(entry, dict) or short != "SlidingWindowInferer":
        refuse(config, f"the inferer {name} is not one that Dentgate reads", mend)
    size = config.plain(entry.get("roi_size"))
    size = [size, size] if isinstance(size, int) else size
    if not isinstance(size, list) or [isinstance(n, int) and 0 < n <= _LARGEST for n in size] != [True, True]:
        refuse(config, f"{short} has roi_size {size!r}, not rows and columns", mend)
    return Windows((size[0], size[1]), {key: config.plain(entry[key]) for key in _WINDOWS if key in entry})
