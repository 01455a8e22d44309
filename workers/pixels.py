"""Instances -> arrays: what a viewer shows, oriented as models expect it.

The order is that of PS3.3 C.7.6.3, C.11.1 and C.11.2: padding, Modality LUT or rescale, VOI LUT or window, then one
inversion. Stored values have at most 16 bits, so the whole chain is one table over all of them, applied once.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pydicom
from billiard.exceptions import SoftTimeLimitExceeded
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut

from service.domain.errors import Declined
from workers.decoders import decode
from workers.png import png

MAX_PIXELS = 1 << 27  #: a header that claims more is damage, not an X-ray
NOTE_ORIENTATION = "orientation assumed"
NOTE_ROTATED = "orientation not that of an upright image"
NOTE_WINDOW = "window taken from the data"
NOTE_BAD_WINDOW = "window of the file unusable, taken from the data"
NOTE_SHAPE = "PresentationLUTShape contradicts PhotometricInterpretation, which was trusted"
NOTE_BURNED_IN = "text may be burned into the image"
NOTE_COLOUR = "colour image converted to grey"
NOTE_PROFILE = "colour profile of the image ignored"

_FULL_RANGE_BITS = 8  # an image of 8 bits without a window was made for display
_SLAB = 64  # rows: a few stay in the cache of the processor
_LEAST_CONTRAST = 0.02  # less of the grey scale between the 1st and 99th percentile: nothing would be seen
_VISIBLE_LIGHT = "1.2.840.10008.5.1.4.1.1.77."  # PS3.6 annex A
CAMERAS = frozenset({"XC", "ES", "GM", "OP"})  #: modalities of visible light
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in PS3.3 C.7.6.3.1.2

#: What a malformed look-up table or palette makes numpy and pydicom raise.
_DAMAGE = (ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError, NotImplementedError)

_PASSING = (SoftTimeLimitExceeded, MemoryError)  # says nothing about a file; see also ``_read``

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture for a model.

    Attributes:
        pixels: float32 (rows, columns), 0 to 1, bright = dense, the patient's right on the left, feet down.
        header: the data set without its pixels.
        flipped_x, flipped_y: what was flipped against the stored image; coordinates MUST be mapped back.
        notes: what the reader of a result must know.
        colour: float32 (rows, columns, 3), 0 to 1, sRGB, oriented like ``pixels``; None for a grey image.
    """

    pixels: NDArray[np.float32]
    header: Dataset
    flipped_x: bool
    flipped_y: bool
    notes: tuple[str, ...]
    colour: NDArray[np.float32] | None = None


def load(file: BinaryIO) -> Image:
    """Decode an instance.

    Raises:
        Declined: it cannot be analyzed (no pixels, several frames, unknown depth, damaged stream); says why.
        Transient, OSError: the host or the storage is in trouble; to be tried again.
    """
    ds = _read(file)
    _check(ds)
    stored = decode(ds)
    header = ds
    del header.PixelData
    monochrome = str(header.PhotometricInterpretation).startswith("MONOCHROME")
    colour = None if monochrome else _colour(stored, header)
    grey, notes = _grey(stored, header) if colour is None else (colour @ _LUMINANCE, _colour_notes(header))
    flipped_x, flipped_y, remark = _orientation(header)
    upright = np.s_[:: -1 if flipped_y else 1, :: -1 if flipped_x else 1]
    burned_in = (NOTE_BURNED_IN,) if str(header.get("BurnedInAnnotation", "")).upper() == "YES" else ()
    return Image(
        pixels=np.ascontiguousarray(grey[upright]),
        header=header,
        flipped_x=flipped_x,
        flipped_y=flipped_y,
        notes=(*remark, *notes, *burned_in),
        colour=None if colour is None else np.ascontiguousarray(colour[upright]),
    )


def preview(image: Image, longest: int = 2048) -> bytes:
    """PNG, 8 bit grey or RGB, in the geometry of the stored image, its longer side at most ``longest`` pixels."""
    seen = image.pixels if image.colour is None else image.colour
    pixels = seen[:: -1 if image.flipped_y else 1, :: -1 if image.flipped_x else 1]
    picture = Picture.fromarray(np.round(pixels * 255).astype(np.uint8))
    picture.thumbnail((longest, longest), Picture.Resampling.LANCZOS)
    return png(np.asarray(picture))


def read_header(file: BinaryIO) -> Dataset:
    """The data set without its pixels. Raises Declined for a file that cannot be read as DICOM."""
    return _read(file, header_only=True)


def _read(file: BinaryIO, *, header_only: bool = False) -> Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # malformed values elsewhere in the header are not our concern
            ds = pydicom.dcmread(file, stop_before_pixels=header_only)
            for keyword in (*_READ, *_TOLD):
                _parse(ds, keyword)
            _settle_identity(ds)
            return ds
    except (Declined, *_PASSING):
        raise
    except InvalidDicomError:
        message = "the file is not DICOM"
        raise Declined(message) from None
    except Exception as error:  # damaged files make the parser raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:  # the storage; pydicom's own OSErrors have no number
            raise
        message = "the DICOM file is damaged"
        raise Declined(message) from error


def _parse(ds: Dataset, keyword: str) -> None:
    """Values are parsed on access: damage shows here."""
    try:
        ds.get(keyword)
    except _PASSING:
        raise
    except Exception as error:  # an unknown VR, a length that does not fit, bytes that are no number
        message = f"its header cannot be read ({keyword})"
        raise Declined(message) from error


def _settle_identity(ds: Dataset) -> None:
    """Several orders are none that could be named; several patients are a danger. Raises Declined."""
    if isinstance(ds.get("PatientID"), pydicom.multival.MultiValue):
        message = "its PatientID holds several values, so nobody can tell whose image it is"
        raise Declined(message)
    if isinstance(ds.get("AccessionNumber"), pydicom.multival.MultiValue):
        ds.AccessionNumber = ""


#: What the results tell of the image and its patient: nobody may find out after the analysis that it is unreadable.
_TOLD = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyDate",
)
_READ = (
    "PixelData",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "PatientOrientation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "ModalityLUTSequence",
    "PresentationLUTShape",
    "BurnedInAnnotation",
    "ICCProfile",
)


def _check(ds: Dataset) -> None:
    for reason in _obstacles(ds):
        raise Declined(reason)


def _obstacles(ds: Dataset) -> Iterator[str]:
    if not isinstance(ds.get("PixelData"), bytes) or not ds.PixelData:
        yield "it has no pixel data"
    numbers = {keyword: ds.get(keyword) for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored")}
    for keyword, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            yield f"{keyword} is missing or not a number"
    if numbers["Rows"] * numbers["Columns"] > MAX_PIXELS:
        yield f"it claims {numbers['Rows']} x {numbers['Columns']} pixels"
    frames = ds.get("NumberOfFrames")
    if frames is not None and str(frames) not in {"", "0", "1"}:
        yield "it has several frames"
    if numbers["BitsAllocated"] not in {8, 16} or numbers["BitsStored"] > numbers["BitsAllocated"]:
        yield f"unknown bit depth: {numbers['BitsStored']} bits stored in {numbers['BitsAllocated']}"
    high_bit = ds.get("HighBit")
    if high_bit is not None and not (isinstance(high_bit, int) and high_bit < numbers["BitsAllocated"]):
        yield f"HighBit is {high_bit} of {numbers['BitsAllocated']} bits"
    if ds.get("PixelRepresentation") not in {0, 1}:
        yield "PixelRepresentation is missing"
    if (ds.get("SamplesPerPixel"), str(ds.get("PhotometricInterpretation"))) not in _KNOWN:
        yield f"unknown photometric interpretation {ds.get('PhotometricInterpretation')}"


_KNOWN = {
    *((1, name) for name in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")),
    *((3, name) for name in ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420")),
}


def is_photograph(header: Dataset) -> bool:
    """Visible light, by its SOP class or its modality."""
    visible = str(header.get("SOPClassUID", "")).startswith(_VISIBLE_LIGHT)
    return visible or str(header.get("Modality", "")).upper() in CAMERAS


def _colour(stored: NDArray[Any], header: Dataset) -> NDArray[np.float32]:
    """sRGB, 0 to 1; what a colour profile says is not applied."""
    full = float(2 ** int(header.BitsStored) - 1)
    if stored.ndim == 2:  # noqa: PLR2004 - one sample: indices into the palette
        try:
            stored = apply_color_lut(stored, header)
        except _DAMAGE as error:
            message = "its colour palette is damaged"
            raise Declined(message) from error
        full = float(np.iinfo(stored.dtype).max)
    return (stored.astype(np.float32) / np.float32(full)).clip(0, 1)


def _colour_notes(header: Dataset) -> tuple[str, ...]:
    """The colours of a photograph are looked at; of anything else only the grey is."""
    profile = header.get("ICCProfile")
    foreign = isinstance(profile, bytes) and len(profile) > 0 and b"sRGB" not in profile
    told = ((not is_photograph(header), NOTE_COLOUR), (foreign, NOTE_PROFILE))
    return tuple(note for holds, note in told if holds)


def _grey(stored: NDArray[Any], header: Dataset) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Grey as displayed, 0 to 1, padding black."""
    low, high = int(stored.min()), int(stored.max())
    values = np.arange(low, high + 1)
    padding = _padding(values, header)
    counts = np.zeros(values.size, np.intp)
    for _, steps in _slabs(stored, low):
        counts += np.bincount(steps.ravel(), minlength=values.size)
    counts[padding] = 0
    table, notes = _displayed(values, counts, header)
    inverted = header.PhotometricInterpretation == "MONOCHROME1"
    if inverted:
        table = 1 - table
    shape = str(header.get("PresentationLUTShape", ""))
    if shape in {"INVERSE", "IDENTITY"} and (shape == "INVERSE") != inverted:
        notes = (*notes, NOTE_SHAPE)
    table[padding] = 0
    table, grey = table.astype(np.float32), np.empty(stored.shape, np.float32)
    for rows, steps in _slabs(stored, low):
        grey[rows] = table[steps]
    return grey, notes


def _slabs(stored: NDArray[Any], low: int) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Some rows at a time, and how far their values lie above the lowest: numpy counts and looks up by wide numbers."""
    for first in range(0, len(stored), _SLAB):
        rows = slice(first, first + _SLAB)
        yield rows, np.subtract(stored[rows], low, dtype=np.intp)


def _padding(values: NDArray[Any], header: Dataset) -> NDArray[np.bool_]:
    """Which stored values are padding (PS3.3 C.7.5.1.1.2)."""
    first = header.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(values.shape, bool)
    last = header.get("PixelPaddingRangeLimit")
    last = last if isinstance(last, int) else first
    if header.PixelRepresentation:  # written as US by some devices
        first, last = (value - 65536 if value > 32767 else value for value in (first, last))  # noqa: PLR2004
    return (values >= min(first, last)) & (values <= max(first, last))


def _displayed(values: NDArray[Any], counts: NDArray[Any], header: Dataset) -> tuple[Floats, tuple[str, ...]]:
    """Grey 0 to 1 of each stored value, before inversion, and remarks."""
    modality = _modality(values, header)
    low, high = _percentiles(modality, counts)
    from_file = _voi(modality, header)
    if from_file is not None:
        dark, bright = _percentiles(from_file, counts)
        if bright - dark >= _LEAST_CONTRAST or high <= low:
            return from_file, ()
        note = NOTE_BAD_WINDOW
    elif int(header.BitsStored) <= _FULL_RANGE_BITS and "RescaleSlope" not in header:
        return modality / float(2 ** int(header.BitsStored) - 1), ()
    else:
        note = NOTE_WINDOW
    return ((modality - low) / max(high - low, 1e-9)).clip(0, 1), (note,)


def _modality(values: NDArray[Any], header: Dataset) -> Floats:
    """Output of the Modality LUT or of rescale (PS3.3 C.11.1)."""
    if header.get("ModalityLUTSequence"):
        try:
            return _looked_up(values.astype(np.float64), header.ModalityLUTSequence[0])[0]
        except _DAMAGE as error:
            message = "its Modality LUT is damaged"
            raise Declined(message) from error
    slope, intercept = (_first_number(header.get(keyword)) for keyword in ("RescaleSlope", "RescaleIntercept"))
    return values * (slope or 1.0) + (intercept or 0.0)


def _looked_up(values: Floats, item: Dataset) -> tuple[Floats, int]:
    """Output of a Modality or VOI LUT, and its bits (PS3.3 C.11.1.1.1, C.11.2.1.1). Raises one of _DAMAGE."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 1 << 16
    if first > 32767 and values.min() < 0:  # noqa: PLR2004 - a negative number that was written as US
        first -= 1 << 16
    data = item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, np.uint8 if len(data) < 2 * entries else "<u2")
    table = np.atleast_1d(np.asarray(data, np.float64))[:entries]
    if not 8 <= bits <= 16 or not table.size:  # noqa: PLR2004 - what the standard allows
        raise ValueError
    return table[np.clip(np.rint(values).astype(np.int64) - first, 0, table.size - 1)], bits


def _percentiles(table: Floats, counts: NDArray[Any]) -> tuple[float, float]:
    """1st and 99th percentile of the image that has ``counts`` pixels at each entry of a table."""
    if not counts.any():
        return float(table.min()), float(table.max())
    order = np.argsort(table, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    low, high = np.searchsorted(share, (0.01, 0.99))
    return float(table[order[low]]), float(table[order[min(high, order.size - 1)]])


def _voi(modality: Floats, header: Dataset) -> Floats | None:
    """Grey 0 to 1 by the first VOI LUT or else the first window; None if there is none that can be used."""
    if header.get("VOILUTSequence"):
        with contextlib.suppress(*_DAMAGE):  # a window beside it may be sound
            table, bits = _looked_up(modality, header.VOILUTSequence[0])
            return np.clip(table / float(2**bits - 1), 0, 1)
    centre, width = (_first_number(header.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return None
    return _windowed(modality, centre, width, str(header.get("VOILUTFunction") or "LINEAR").upper())


def _windowed(modality: Floats, centre: float, width: float, function: str) -> Floats | None:
    """Grey 0 to 1 by PS3.3 C.11.2.1.2 and C.11.2.1.3; None for a width that the function does not allow."""
    if width <= 0 or (width < 1 and function not in {"SIGMOID", "LINEAR_EXACT"}):
        return None
    grey: Floats
    if function == "SIGMOID":
        grey = 1 / (1 + np.exp(np.clip(-4 * (modality - centre) / width, -700, 700)))
    elif function == "LINEAR_EXACT":
        grey = (modality - centre) / width + 0.5
    elif width == 1:
        grey = (modality > centre - 0.5).astype(np.float64)
    else:
        grey = (modality - (centre - 0.5)) / (width - 1) + 0.5
    return np.clip(grey, 0, 1)


def _first_number(value: object) -> float | None:
    """The first of one or several decimal strings, None if it is no finite number."""
    first = value[0] if isinstance(value, pydicom.multival.MultiValue) and value else value
    try:
        number = float(first)  # type: ignore[arg-type] # what it may be is the question
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _orientation(header: Dataset) -> tuple[bool, bool, tuple[str, ...]]:
    """Flip in x, flip in y, remark, by Patient Orientation (PS3.3 C.7.6.1.1.1)."""
    value = header.get("PatientOrientation")
    if not isinstance(value, pydicom.multival.MultiValue) or len(value) != 2 or not all(value):  # noqa: PLR2004
        return False, False, (NOTE_ORIENTATION,)
    row, column = (str(direction).upper()[0] for direction in value)
    upright = row in "LRAP" and column in "FH"
    return row == "R", column == "H", () if upright else (NOTE_ROTATED,)
