"""From an image to the input of a network made elsewhere, and from the grid of that network back onto the image.

How, says the bundle (its own transforms, see ``foreign_steps``) or the mapping by hand. Whatever is done to the picture
(stretched, padded, cut, turned), its affine keeps where each place of the input lies in the image.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from billiard.exceptions import SoftTimeLimitExceeded
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from service.domain.errors import ConfigurationError, Declined
from workers.models.foreign_steps import Reading, Step, by_hand_before
from workers.models.mapping import NAME, Mapping, Scale
from workers.pixels import Image

_SIZE = (224, 224)  # of an input that is made by hand, where neither the mapping nor the metadata say it
_BYTE = 255
_LARGEST = 8192  # rows or columns of an input whose size is the image's
_TRIALS = ((700, 1000), (1200, 900))  # X-rays whose inputs are of one size if the transforms see to it
_EDGE = 0.5 + 1e-6  # of a cell, around its middle

Floats = NDArray[np.float32]
Affine = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a network is shown.

    Attributes:
        planes: (channels, rows, columns).
        affine: (3, 3), from (row, column, 1) in ``planes`` to (row, column, 1) in the image, middles of pixels.
        shape: rows and columns of the image.
    """

    planes: Floats
    affine: Affine
    shape: tuple[int, int]

    @property
    def turned(self) -> bool:
        """Whether the image's rows run along the input's columns."""
        return bool(abs(self.affine[0, 1]) > abs(self.affine[0, 0]))

    def on_image(self, plane: Floats, grid: tuple[int, int] | None = None) -> Floats:
        """A plane (h, w) of the network's output, laid over the image.

        Args:
            plane: any size; it covers the input.
            grid: rows and columns of the result; None = those of the image.

        Returns:
            Between its cells linear; 0 where the network did not see the image.
        """
        rows, columns = grid or self.shape
        to_pixel = _stretch((rows, columns), self.shape)
        to_input = np.linalg.inv(self.affine) @ to_pixel
        to_plane = np.linalg.inv(_stretch((plane.shape[0], plane.shape[1]), self.planes.shape[1:])) @ to_input
        laid: Floats = ndimage.affine_transform(plane, to_plane, output_shape=(rows, columns), order=1, mode="nearest")
        row, column = np.arange(rows)[:, None], np.arange(columns)[None]
        for axis in (0, 1):
            place = to_input[axis, 0] * row + to_input[axis, 1] * column + to_input[axis, 2]
            outside = (place < -_EDGE) | (place > self.planes.shape[1 + axis] - 1 + _EDGE)
            laid[np.broadcast_to(outside, laid.shape)] = 0
        return laid


class Eye(Protocol):
    """Makes the input of an image.

    Attributes:
        shape: channels, rows and columns of every input; None where rows and columns depend on the image.
        channels: the same, always known.
    """

    shape: tuple[int, int, int] | None
    channels: int

    def see(self, image: Image) -> Seen:
        """Raises Declined for an image that cannot be shown."""
        ...


class ByHand:
    """As the mapping says; the image is stretched onto the size."""

    def __init__(self, mapping: Mapping) -> None:
        """``mapping``: with size (224 x 224 unless said), scale, mean, deviation, colour and transposed."""
        self._mapping, self._size = mapping, mapping.size or _SIZE
        self.channels = 3 if mapping.colour else 1
        self.shape: tuple[int, int, int] | None = (self.channels, *self._size)

    def see(self, image: Image) -> Seen:
        """The input of an image."""
        mapping = self._mapping
        small, affine = _stretched(_oriented(image, bool(mapping.colour), mapping.transposed), self._size)
        if mapping.scale is Scale.BYTE:
            small = small * _BYTE
        elif mapping.scale is Scale.RANGE:
            small = (small - small.min()) / max(float(small.max() - small.min()), 1e-6)
        normal = (small - np.array(mapping.mean)) / np.array(mapping.deviation)
        planes = np.ascontiguousarray(normal.transpose(2, 0, 1), np.float32)
        return Seen(planes, _onto(affine, mapping.transposed), _shape(image))


class ByTransforms:
    """As the bundle's own transforms make it, of the image as a picture file of 8 bits would show it."""

    def __init__(self, steps: tuple[Step, ...], reading: Reading, mapping: Mapping, path: Path) -> None:
        """``steps``, ``reading``: of the bundle in ``path``; what ``mapping`` states wins.

        Raises:
            ConfigurationError: they do not work, or do not say how large an input is.
        """
        self._steps, self._path = steps, path
        self._transposed = mapping.transposed if "transposed" in mapping.stated else reading.transposed
        self._colour = bool(mapping.colour if reading.colour is None else reading.colour)
        if "colour" in mapping.stated:
            self._colour = bool(mapping.colour)
        elif reading.repeats > 1:
            self._colour = False
        self._first: tuple[int, int] | None = None
        one, other = (self._tried(shape) for shape in _TRIALS)
        self.channels = one[0]
        self.shape: tuple[int, int, int] | None = one
        if one == other:
            if "size" in mapping.stated and mapping.size != one[1:]:
                words = f"gives the size {mapping.size}, the bundle's own transforms {one[1:]}; take size out, or"
                message = f"{path / NAME} {words} {by_hand_before(path)}"
                raise ConfigurationError(message)
            return
        if reading.windows is not None and "size" not in mapping.stated:
            self.shape = None  # the metadata then tell the size of a window
            return
        self._first = mapping.size
        if self._first is not None:
            self.shape = self._tried(self._first)
        else:
            words = f"say how large its input is; give size (rows and columns) in {path / NAME}"
            message = f"bundle {path}: neither its transforms nor its metadata {words}"
            raise ConfigurationError(message)

    def see(self, image: Image) -> Seen:
        """The input of an image."""
        planes = _oriented(image, self._colour, self._transposed)
        affine = np.eye(3)
        if self._first is not None:
            planes, affine = _stretched(planes, self._first)
        elif self.shape is None and max(planes.shape) > _LARGEST:
            message = f"it is larger than {_LARGEST} pixels, and its model looks at every pixel"
            raise Declined(message)
        shown, after = self._run(np.ascontiguousarray(planes.transpose(2, 0, 1) * np.float32(_BYTE)))
        if self.shape is not None and shown.shape != self.shape:
            became, wanted = (f"{shape[1]} x {shape[2]}" for shape in (shown.shape, self.shape))
            message = f"it becomes {became} pixels where its model takes {wanted}"
            raise Declined(message)
        return Seen(shown, _onto(affine @ after, self._transposed), _shape(image))

    def _run(self, planes: Floats) -> tuple[Floats, Affine]:
        shown = MetaTensor(torch.from_numpy(planes))
        for step in self._steps:
            shown = step(shown)
        affine = np.asarray(shown.affine, np.float64)[np.ix_([0, 1, 3], [0, 1, 3])]
        return np.ascontiguousarray(shown.as_tensor().numpy(), np.float32), affine

    def _tried(self, shape: tuple[int, int]) -> tuple[int, int, int]:
        """The input's shape for a drawn picture. Raises ConfigurationError where a transform fails on it."""
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        drawn = np.repeat(((rows * 3 + columns) % 256)[None].astype(np.float32), 3 if self._colour else 1, 0)
        try:
            planes, _ = self._run(drawn)
            channels, height, width = planes.shape
        except (SoftTimeLimitExceeded, MemoryError):
            raise
        except Exception as error:  # MONAI raises whatever it likes on odd arguments
            words = f"its transforms fail ({type(error).__name__}: {str(error)[:200]})"
            message = f"bundle {self._path}: {words}; {by_hand_before(self._path)}"
            raise ConfigurationError(message) from error
        return channels, height, width


def _oriented(image: Image, colour: bool, transposed: bool) -> Floats:  # noqa: FBT001 - a word each in the mapping
    """(rows, columns, 1 or 3), 0 to 1; columns before rows where the network was trained on such."""
    grey = image.pixels[..., None]
    planes = (image.colour if image.colour is not None else np.repeat(grey, 3, 2)) if colour else grey
    return planes.transpose(1, 0, 2) if transposed else planes


def _stretched(planes: Floats, size: tuple[int, int]) -> tuple[Floats, Affine]:
    """Planes (rows, columns, channels) of another size, and where its pixels come from."""
    shape = (planes.shape[0], planes.shape[1])
    if shape == size:
        return planes, np.eye(3)
    shrinks = shape[0] > size[0] or shape[1] > size[1]
    small = resize(planes, size, order=1, anti_aliasing=shrinks, preserve_range=True)
    return small.astype(np.float32), _stretch(size, shape)


def _stretch(grid: tuple[int, ...], shape: tuple[int, ...]) -> Affine:
    """From cells of a grid to pixels of what it covers; both are counted by their middles."""
    (down, across) = (whole / cells for whole, cells in zip(shape, grid, strict=True))
    return np.array([[down, 0, down / 2 - 0.5], [0, across, across / 2 - 0.5], [0, 0, 1]])


def _onto(affine: Affine, transposed: bool) -> Affine:  # noqa: FBT001 - see _oriented
    return np.eye(3)[[1, 0, 2]] @ affine if transposed else affine


def _shape(image: Image) -> tuple[int, int]:
    return image.pixels.shape[0], image.pixels.shape[1]
