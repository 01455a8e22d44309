"""A picture file or a DICOM file as the gateway would see it: for what works on files, trainings and MONAI's tools."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageOps

from service.domain.errors import ConfigurationError, Declined
from workers import pixels

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
_DICOM = frozenset({".dcm", ".dicom"})
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "F"})
_PREAMBLE, _MARK = 128, b"DICM"  # PS3.10 section 7.1
_BROKEN = (OSError, ValueError, SyntaxError, Picture.DecompressionBombError)


def is_dicom(file: Path) -> bool:
    """By its name, or by the mark behind its preamble: archives name files by UID, or as they like."""
    if (suffix := file.suffix.lower()) in _DICOM | PICTURES:
        return suffix in _DICOM
    try:
        with file.open("rb") as stream:
            return stream.read(_PREAMBLE + len(_MARK))[_PREAMBLE:] == _MARK
    except OSError:
        return False


def read_dicom(file: Path) -> pixels.Image:
    """What the gateway's models see of a DICOM file. Raises ConfigurationError where it would decline it."""
    try:
        with file.open("rb") as stream:
            return pixels.load(stream)
    except (OSError, Declined) as error:
        message = f"{file} cannot be read: {error}; remove it or put a sound file in its place"
        raise ConfigurationError(message) from error


def stored_shape(file: Path) -> tuple[int, int]:
    """Rows and columns of a picture or DICOM file as stored. Raises ConfigurationError where it is none."""
    try:
        if is_dicom(file):
            with file.open("rb") as stream:
                header = pixels.read_header(stream)
            return int(header.Rows), int(header.Columns)
        with Picture.open(file) as picture:
            return picture.height, picture.width
    except (*_BROKEN, Declined, AttributeError, TypeError) as error:
        message = f"{file} cannot be read as a picture ({error}); remove it or put a sound file in its place"
        raise ConfigurationError(message) from error


def read_picture(file: Path) -> NDArray[np.float32]:
    """Pixels 0 to 1, upright: (rows, columns) of a grey picture, also one saved as colours, or (rows, columns, 3).

    Raises:
        ConfigurationError: the file is no picture.
    """
    if is_dicom(file):
        image = read_dicom(file)
        return image.pixels if image.colour is None else image.colour
    try:
        with Picture.open(file) as stored:
            picture = ImageOps.exif_transpose(stored)
            if picture.mode.startswith("I"):
                deep = np.asarray(picture, np.float32)
                return deep / np.float32(max(float(deep.max()), 1.0))
            colours = np.asarray(picture.convert("L" if picture.mode in _GREY_MODES else "RGB"), np.float32)
    except _BROKEN as error:
        message = f"{file} cannot be read as a picture ({error}); remove it or put a sound file in its place"
        raise ConfigurationError(message) from error
    colours = colours / np.float32(255)
    return colours[..., 0] if colours.ndim > 2 and _is_grey(colours) else colours  # noqa: PLR2004 - colour


def _is_grey(colours: NDArray[np.float32]) -> bool:
    few = colours[::4, ::4]
    return bool(np.abs(few - few[..., :1]).max() < 0.02)  # noqa: PLR2004 - what JPEG may add
