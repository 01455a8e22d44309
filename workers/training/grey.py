"""Pictures and label maps of a data set as arrays: deep grey keeps its depth, label maps keep their numbers."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.models.picture_files import is_dicom, read_dicom

_DEEP = ("I", "F")
_MOST = 255
_BROKEN = (OSError, ValueError, SyntaxError, Picture.DecompressionBombError)


def read_grey(file: Path, least: int = 0) -> NDArray[np.uint8]:
    """A grey picture, uint8 (rows, columns); 16 bits are scaled, its largest value to 255, where Pillow would clip.

    Args:
        file: any picture, or a DICOM file, which comes as the gateway's models see it.
        least: rows and columns that are enough; a larger JPEG may come smaller, which is faster. 0 = as it is.

    Raises:
        ConfigurationError: the file is no picture.
    """
    if is_dicom(file):
        return np.round(read_dicom(file).pixels * _MOST).astype(np.uint8)
    try:
        with Picture.open(file) as picture:
            if least:
                picture.draft("L", (least, least))
            if not picture.mode.startswith(_DEEP):
                return np.asarray(picture.convert("L"))
            deep = np.asarray(picture, np.float32)
    except _BROKEN as error:
        message = f"{file} cannot be read as a picture ({error}); remove it or put a sound file in its place"
        raise ConfigurationError(message) from error
    return np.round(deep.clip(0) * (_MOST / max(float(deep.max()), 1.0))).astype(np.uint8)


def read_labels(file: Path) -> NDArray[np.uint8]:
    """A label map, uint8 (rows, columns), with the numbers that stand in the file, whatever its palette shows.

    Raises:
        ConfigurationError: the file is no picture, or none that holds a number for each pixel.
    """
    try:
        with Picture.open(file) as picture:
            mode, labels = picture.mode, np.asarray(picture)
    except _BROKEN as error:
        message = f"{file} cannot be read as a label map ({error}); remove it or put a sound file in its place"
        raise ConfigurationError(message) from error
    if labels.ndim != 2 or mode not in {"L", "P", "I", "I;16"} or labels.max(initial=0) > _MOST:  # noqa: PLR2004 - a plane
        message = f"{file} is no label map (mode {mode}); it must hold one number of 0 to {_MOST} for each pixel"
        raise ConfigurationError(message)
    return labels.astype(np.uint8)
