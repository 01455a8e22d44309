"""A JPEG or PNG file -> the pixels of a DICOM object: upright, coded again only where that cannot be avoided."""

import io
import struct
import warnings
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from service.domain.errors import NotUnderstood
from service.web.jpeg import JpegStream, read_jpeg

JPEG_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 80_000_000  # a 64 megapixel phone passes, a decompression bomb does not
#: of a PNG, which a few hundred kilobytes can fill, and which is decoded to more bytes per pixel
MAX_PNG_PIXELS = 40_000_000
MAX_SIDE = 65535  # Rows and Columns are US
_ORIENTATION = 0x0112
_GLANCE = 128  # pixels of the longer side are enough to see whether there is colour
_LEAST_CHROMA, _LEAST_WARM = 30, 0.25  # of 255; share of the pixels. Of 1173 photographs of mouths 99 % have 0.32
_WIDE_MODES, _GREY_MODES = {"I;16", "I;16B", "I;16L", "I"}, {"1", "L", "LA"}
#: Exif orientation -> what makes it upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DAMAGE = (OSError, SyntaxError, ValueError, struct.error, UnidentifiedImageError, Image.DecompressionBombError)


class PictureKind(StrEnum):
    """What the picture shows, as its sender says."""

    AUTOMATIC = "automatic"  # a photograph if it has the colours of one
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
    """Read a JPEG or PNG file; grey only if it is a panoramic.

    Raises:
        NotUnderstood: damaged, truncated, or far too large for a dental picture; one sentence for its sender.
    """
    stream = read_jpeg(content) if content.startswith(JPEG_MAGIC) else None
    rows, columns = (stream.rows, stream.columns) if stream else _png_size(content)
    most = MAX_PIXELS if stream else MAX_PNG_PIXELS
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE and rows * columns <= most):
        message = f"the picture has {columns} x {rows} pixels; at most {most // 1_000_000} megapixels are taken"
        raise NotUnderstood(message)
    decoded = _decode(content)
    wanted = "MONOCHROME2" if kind is PictureKind.PANORAMIC else "colour"
    photometric = None if stream is None else _encapsulated_photometric(stream, wanted)
    turn = _turn(decoded)
    if stream and photometric and turn is None:
        return Picture(rows, columns, photometric, stream.clean, None, _ratio(stream))
    pixels = _pixels(decoded if turn is None else decoded.transpose(turn), kind)
    colour = pixels.ndim == 3  # noqa: PLR2004 - rows, columns, samples
    ratio = None if stream is None else _ratio(stream)
    return Picture(pixels.shape[0], pixels.shape[1], "RGB" if colour else "MONOCHROME2", None, pixels, ratio)


def kind_of(content: bytes, told: PictureKind) -> PictureKind:
    """What a picture is: as told, or else a photograph if warm colours (skin, gums) fill it.

    Neither a tinted film nor one with coloured marks is. A damaged file is left to ``read_picture``, which says what is
    wrong.
    """
    if told is not PictureKind.AUTOMATIC:
        return told
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large size, which is looked at here, and of odd palettes
            image: Image.Image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
            if image.width * image.height > MAX_PIXELS or image.mode in _WIDE_MODES | _GREY_MODES:
                return PictureKind.PANORAMIC
            image.draft("RGB", (_GLANCE, _GLANCE))  # of a JPEG only as much is decoded as is looked at
            if image.mode in {"RGB", "RGBA"}:
                image = image.reduce(max(min(image.size) // (2 * _GLANCE), 1))
            pixels = np.asarray(image.convert("RGB").resize((_GLANCE, _GLANCE), Image.Resampling.BOX), np.int16)
    except _DAMAGE:
        return PictureKind.PANORAMIC
    chroma = pixels.max(axis=2) - pixels.min(axis=2)
    warm = (chroma > _LEAST_CHROMA) & (pixels[..., 0] == pixels.max(axis=2))
    return PictureKind.PHOTOGRAPH if warm.mean() > _LEAST_WARM else PictureKind.PANORAMIC


def _png_size(content: bytes) -> tuple[int, int]:
    if content[12:16] != b"IHDR" or len(content) < 24:  # noqa: PLR2004 - signature, chunk head, two lengths
        raise NotUnderstood("the PNG picture is truncated; export it again and send the whole file")
    columns, rows = struct.unpack(">II", content[16:24])
    return rows, columns


def _decode(content: bytes) -> Image.Image:
    """Decode all of it, so that damage is found before anything is accepted."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large size, which is looked at before, and of damaged Exif
            image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
            image.load()
    except _DAMAGE:
        raise NotUnderstood("the picture is damaged or truncated; export it again and send the whole file") from None
    return image


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes a picture upright, None if that is not known: damaged Exif is no reason to refuse it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - Pillow's reader of Exif raises whatever damaged bytes make it stumble over
        return None


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
        image = Image.new("RGB", clear.size)  # black; less memory than composing two pictures with alpha
        image.paste(clear, mask=clear.getchannel("A"))
    grey = kind is PictureKind.PANORAMIC or image.mode in {"1", "L"}
    pixels: NDArray[np.uint8] = np.asarray(image.convert("L" if grey else "RGB"), np.uint8)
    return pixels
