"""A JPEG or PNG file -> the pixels of a DICOM object: upright, coded again only where that cannot be avoided."""

import io
import struct
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from service.domain.errors import NotUnderstood
from service.web.jpeg import JpegStream, read_jpeg

JPEG_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 80_000_000  # a 64 megapixel phone passes, a decompression bomb does not
MAX_SIDE = 65535  # Rows and Columns are US
_ORIENTATION = 0x0112
_WIDE_MODES = {"I;16", "I;16B", "I;16L", "I"}


class PictureKind(StrEnum):
    """What the picture shows, as its sender says."""

    PANORAMIC = "panoramic"
    PHOTOGRAPH = "photograph"


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels as they go into DICOM.

    Attributes:
        jpeg: a clean baseline JPEG stream to be encapsulated; None: ``pixels`` holds the picture.
        pixels: uint8 or uint16 (rows, columns), or uint8 (rows, columns, 3); None: ``jpeg`` holds the picture.
        photometric: MONOCHROME2, RGB, YBR_FULL or YBR_FULL_422.
        lossy_ratio: compression ratio of the file if it was compressed with loss, else None.
    """

    rows: int
    columns: int
    photometric: str
    jpeg: bytes | None
    pixels: NDArray[np.uint8] | NDArray[np.uint16] | None
    lossy_ratio: float | None


def is_picture(head: bytes) -> bool:
    """True when a file begins as JPEG or PNG."""
    return head.startswith((JPEG_MAGIC, PNG_MAGIC))


def read_picture(content: bytes, kind: PictureKind) -> Picture:
    """Read a JPEG or PNG file.

    Raises:
        NotUnderstood: damaged, truncated, or far too large for a dental picture; one sentence for its sender.
    """
    stream = read_jpeg(content) if content.startswith(JPEG_MAGIC) else None
    rows, columns = (stream.rows, stream.columns) if stream else _png_size(content)
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE and rows * columns <= MAX_PIXELS):
        message = f"the picture has {columns} x {rows} pixels; at most {MAX_PIXELS // 1_000_000} megapixels are taken"
        raise NotUnderstood(message)
    decoded = _decode(content)
    wanted = "MONOCHROME2" if kind is PictureKind.PANORAMIC else "colour"
    photometric = None if stream is None else _encapsulated_photometric(stream, wanted)
    if stream and photometric and decoded.getexif().get(_ORIENTATION, 1) == 1:
        return Picture(rows, columns, photometric, stream.clean, None, _ratio(stream))
    pixels = _pixels(ImageOps.exif_transpose(decoded), kind)
    colour = pixels.ndim == 3  # noqa: PLR2004 - rows, columns, samples
    ratio = None if stream is None else _ratio(stream)
    return Picture(pixels.shape[0], pixels.shape[1], "RGB" if colour else "MONOCHROME2", None, pixels, ratio)


def _png_size(content: bytes) -> tuple[int, int]:
    if content[12:16] != b"IHDR" or len(content) < 24:  # noqa: PLR2004 - signature, chunk head, two lengths
        raise NotUnderstood("the PNG picture is truncated; export it again and send the whole file")
    columns, rows = struct.unpack(">II", content[16:24])
    return rows, columns


def _decode(content: bytes) -> Image.Image:
    """Decode all of it, so that damage is found before anything is accepted."""
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        image.load()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        raise NotUnderstood("the picture is damaged or truncated; export it again and send the whole file") from None
    return image


def _encapsulated_photometric(stream: JpegStream, wanted: str) -> str | None:
    """PhotometricInterpretation under which the stream may stay as it is (PS3.3 C.7.6.3.1.2), None: code it anew."""
    if not stream.baseline:
        return None
    if stream.components == 1:
        return "MONOCHROME2"
    if stream.components != 3 or wanted == "MONOCHROME2" or stream.adobe_transform == 0:  # noqa: PLR2004 - colour
        return None
    return "YBR_FULL_422" if stream.subsampled else "YBR_FULL"


def _ratio(stream: JpegStream) -> float:
    return stream.rows * stream.columns * stream.components / len(stream.clean)


def _pixels(image: Image.Image, kind: PictureKind) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if image.mode in _WIDE_MODES:
        wide: NDArray[np.uint16] = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        return wide
    if "A" in image.getbands() or "transparency" in image.info:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
    grey = kind is PictureKind.PANORAMIC or image.mode in {"1", "L"}
    pixels: NDArray[np.uint8] = np.asarray(image.convert("L" if grey else "RGB"), np.uint8)
    return pixels
