"""Data elements as bytes in Explicit VR Little Endian (PS3.5 section 7.1.2), for content that is repeated many times.

pydicom takes a hundred times as long for an element; a report has thousands of them, and most are equal.
"""

import struct
from functools import lru_cache

from service.domain.codes import Code

_LONG = {"OB", "SQ", "UC", "UT"}  # VRs with a length of 32 bits, of those that are used here
_PADDING = {"UI": b"\0", "OB": b"\0"}
_ITEM = b"\xfe\xff\x00\xe0"
_SHORT_VALUE = 16  # characters of Code Value; longer ones are Long Code Values (PS3.3 table 8.8-1)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """An element with its value, padded to even length.

    Raises:
        struct.error: the value is too long for its VR.
    """
    if len(value) % 2:
        value += _PADDING.get(vr, b" ")
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    length = struct.pack("<HI", 0, len(value)) if vr in _LONG else struct.pack("<H", len(value))
    return head + length + value


def text(tag: int, vr: str, value: str) -> bytes:
    """An element of characters, in UTF-8 (ISO_IR 192)."""
    return element(tag, vr, value.encode())


def items(*contents: bytes) -> bytes:
    """Items of a sequence, each of the length that it has."""
    return b"".join(_ITEM + struct.pack("<I", len(content)) + content for content in contents)


def sequence(tag: int, *contents: bytes) -> bytes:
    """A sequence of items of known length."""
    return element(tag, "SQ", items(*contents))


@lru_cache(maxsize=4096)
def coded_entry(tag: int, code: Code) -> bytes:
    """A sequence with the one item of a coded concept (PS3.3 table 8.8-1)."""
    scheme, meaning = text(0x00080102, "SH", code.scheme), text(0x00080104, "LO", code.meaning)
    if len(code.value) <= _SHORT_VALUE:
        return sequence(tag, text(0x00080100, "SH", code.value) + scheme + meaning)
    return sequence(tag, scheme + meaning + text(0x00080119, "UC", code.value))
