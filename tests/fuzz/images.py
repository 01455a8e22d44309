"""Targets: pictures that are uploaded, and pixels of every encoding that workers decode."""

import io
import struct
import zlib
from collections.abc import Mapping
from functools import partial

import numpy as np
import pydicom
from PIL import Image as Picture
from pydicom.encaps import encapsulate

from service.domain.errors import Declined, NotUnderstood
from service.web.pictures import PictureKind
from service.web.wrapping import PictureLabel, wrap_picture
from tests.builders import SYNTAXES, as_bytes, shapes, xray
from tests.fuzz.dice import Dice, damaged, hostile
from tests.fuzz.report import Target
from workers.pixels import load, preview

_SIZE = 40, 56
_LABEL = PictureLabel(PictureKind.AUTOMATIC, "P1", "Probe", "", "", "1.2.3", "1.2.3.1")
#: What headers say of pixels; lies about it are decompression bombs.
_NUMBERS = (
    0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120,
)  # fmt: skip
_LIES = (0, 1, 2, 3, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 64, 255, 256, 4096, 11585, 32767, 32768, 65535)


def targets() -> tuple[Target, ...]:
    """What is decoded; the compressed streams in a process of their own, as in a worker."""
    sound = pictures()
    files = {name: _file(name) for name in SYNTAXES}
    native = {name: files[name] for name in ("implicit", "explicit", "big-endian", "deflated")}
    compressed = {name: raw for name, raw in files.items() if name not in native}
    streams = [
        Target(f"pixels {name}", partial(_compressed, name, raw), _load, share=3, apart=True)
        for name, raw in compressed.items()
    ]
    return (
        Target("picture", partial(_picture, sound), wrap, share=160),
        Target("pixels native", partial(_native, native), _load, share=200),
        *streams,
    )


def pictures() -> tuple[bytes, ...]:
    """Sound pictures of every kind that is taken."""
    grey = np.round(shapes(*_SIZE, bits=8)).astype(np.uint8)
    colour = np.stack([grey, grey // 2, 255 - grey], axis=2)
    wide = (grey.astype(np.uint16) << 8) + 7
    found = []
    for array, formats in ((grey, "JPEG PNG"), (colour, "JPEG PNG"), (wide, "PNG")):
        for kind in formats.split():
            for options in ({}, {"progressive": True}, {"optimize": True}):
                buffer = io.BytesIO()
                Picture.fromarray(array).save(buffer, kind, **options)
                found.append(buffer.getvalue())
    return tuple(dict.fromkeys(found))


def _file(name: str) -> bytes:
    bits = 8 if name == "jpeg-baseline" else 12
    return as_bytes(xray(shapes(*_SIZE, bits=bits), bits=bits), SYNTAXES[name])


def _picture(sound: tuple[bytes, ...], dice: Dice) -> bytes:
    kind = dice.below(10)
    if kind == 0:
        return _png(dice)
    if kind == 1:  # a JPEG that says that it is huge
        raw = bytearray(dice.pick([each for each in sound if each[:2] == b"\xff\xd8"]))
        at = raw.find(b"\xff\xc0")
        raw[at + 5 : at + 9] = struct.pack(">HH", dice.pick(_LIES), dice.pick(_LIES))
        return bytes(raw)
    if kind == 2:
        return dice.pick(sound)[:16] + dice.bytes(dice.below(2000))
    return damaged(dice, dice.pick(sound), sound)


def _png(dice: Dice) -> bytes:
    """Chunks whose checksums hold, so that what they say is read: sizes, depths, bombs of text, of colours, of rows."""
    header = struct.pack(
        ">II5B", dice.pick(_LIES), dice.pick(_LIES), dice.pick((1, 2, 4, 8, 16, 3)), dice.below(8), 0, 0, dice.below(3)
    )
    body = zlib.compress(bytes(1 << dice.below(21)))
    chunks = [(b"IHDR", header), (b"IDAT", body if dice.chance(70) else damaged(dice, body)), (b"IEND", b"")]
    for _ in range(dice.below(4)):
        text = b"Comment\0\0" + zlib.compress(bytes(1 << dice.below(23)))
        extra = dice.pick(
            (
                (b"zTXt", text),
                (b"iCCP", text),
                (b"PLTE", dice.bytes(dice.below(900))),
                (b"tRNS", hostile(dice)),
                (b"eXIf", hostile(dice)),
                (b"acTL", struct.pack(">II", dice.below(1 << 31), 0)),
            )
        )
        chunks.insert(dice.below(len(chunks) + 1), extra)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data)) for kind, data in chunks
    )


def wrap(content: bytes) -> str:
    """Take a picture apart."""
    try:
        wrap_picture(content, _LABEL)
    except NotUnderstood:
        return "refused"
    return "wrapped"


def _native(files: Mapping[str, bytes], dice: Dice) -> bytes:
    name = dice.pick(tuple(files))
    return _lied(dice, files[name]) if dice.chance(60) and name == "explicit" else damaged(dice, files[name])


def _compressed(name: str, file: bytes, dice: Dice) -> bytes:
    """A stream damaged at its head or anywhere, fragments that lie, or a header that says that the image is larger."""
    assert name in SYNTAXES
    kind = dice.below(4)
    if kind == 0:
        return _lied(dice, file)
    ds = pydicom.dcmread(io.BytesIO(file))
    stream = next(iter(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)))
    head = dice.pick((40, 200, len(stream)))
    worse = damaged(dice, stream[:head]) + stream[head:]
    at = file.index(stream[:64])
    if kind == 1:
        return file[:at] + worse[: len(stream)].ljust(len(stream), b"\0") + file[at + len(stream) :]
    if kind == 2:
        return damaged(dice, file)
    ds.PixelData = encapsulate([worse or b"\0\0"])
    return as_bytes_again(ds)


def as_bytes_again(ds: pydicom.Dataset) -> bytes:
    """A data set that was read, as a file."""
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def _lied(dice: Dice, file: bytes) -> bytes:
    raw = bytearray(file)
    for _ in range(dice.few(4)):
        tag = dice.pick(_NUMBERS)
        at = raw.find(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"US", 2))
        if at >= 0:
            raw[at + 8 : at + 10] = struct.pack("<H", dice.pick(_LIES))
    return bytes(raw)


def _load(file: bytes) -> str:
    try:
        image = load(io.BytesIO(file))
    except Declined as error:
        return f"declined: {str(error)[:24]}"
    assert image.pixels.ndim == 2
    assert np.isfinite(image.pixels).all()
    if image.pixels.size < 1 << 20:
        preview(image)
    return "loaded"
