"""One forward pass over an encoded data set: is it whole, whose is it, what does it claim about its pixels.

PS3.5 sections 7 and A.4. Nothing is decoded but the few attributes that the record and the checks need, so the pass
costs microseconds per element and its memory does not depend on the object. A parser for whole data sets (pydicom)
accepts data that end in the middle of an element; a gateway must not, because nobody sends the rest later.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from service.domain.errors import NotUnderstood, OutOfResources

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: the whole data set is deflated: Deflated Explicit VR, JPIP Referenced Deflate, JPIP HTJ2K Referenced Deflate
_DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST = 32
_LONGEST_VALUE = 65536
_PIECE = 65536
#: more are no image but an attack on our time; a large structured object has some hundred thousand
MOST_ELEMENTS = 1_000_000
#: a data set that inflates beyond this many bytes and to more than this many times its size is a bomb; an image of
#: nothing but zeros may inflate a thousandfold, but is smaller
_BOMB_BYTES, _BOMB_RATIO = 256 << 20, 100


class Source(Protocol):
    """Bytes read once, from front to back."""

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer only at the end."""

    def skip(self, count: int) -> int:
        """Pass over ``count`` bytes; the number really passed, less only at the end."""


class Plain:
    """A seekable file from its current position."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        start = file.tell()
        self._left = file.seek(0, 2) - start
        file.seek(start)

    def read(self, count: int) -> bytes:
        """See Source."""
        data = self._file.read(min(count, self._left))
        self._left -= len(data)
        return data

    def skip(self, count: int) -> int:
        """See Source."""
        passed = min(count, self._left)
        self._file.seek(passed, 1)
        self._left -= passed
        return passed


class Inflated:
    """A deflated file from its current position, inflated in pieces; a bomb ends at ``limit`` bytes."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._left = limit
        self._read = self._inflated = 0
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)  # PS3.5 A.5: no zlib header
        self._ready = b""

    def read(self, count: int) -> bytes:
        """See Source. Raises NotUnderstood for damaged data, OutOfResources beyond the limit."""
        parts = []
        while count and (part := self._piece(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> int:
        """See Source. Raises as ``read``."""
        passed = 0
        while passed < count and (part := self._piece(count - passed)):
            passed += len(part)
        return passed

    def _piece(self, most: int) -> bytes:
        while not self._ready and not self._inflate.eof:
            raw = self._inflate.unconsumed_tail
            if not raw:
                raw = self._file.read(_PIECE)
                self._read += len(raw)
            if not raw:
                message = "deflated data set is truncated"
                raise NotUnderstood(message)
            try:
                self._ready = self._inflate.decompress(raw, _PIECE)
            except zlib.error:
                message = "deflated data set is damaged"
                raise NotUnderstood(message) from None
            self._left -= len(self._ready)
            self._inflated += len(self._ready)
            if self._inflated > max(_BOMB_BYTES, _BOMB_RATIO * self._read):
                message = "deflated data set inflates without end"
                raise NotUnderstood(message)
            if self._left < 0:
                message = "inflated data set is larger than max_object_mb"
                raise OutOfResources(message)
        part, self._ready = self._ready[:most], self._ready[most:]
        return part


@dataclass(frozen=True, slots=True)
class Outline:
    """What the pass found.

    Attributes:
        values: raw values of the wanted attributes by tag, padding included.
        order: "<" or ">", the byte order of the values.
        pixel_bytes: length of the pixel data (fragments without their headers), None if there are none.
        fragments: number of fragments after the offset table, None if the pixel data are native.
    """

    values: dict[int, bytes] = field(repr=False)
    order: str
    pixel_bytes: int | None = None
    fragments: int | None = None


def outline(file: BinaryIO, transfer_syntax_uid: str, wanted: frozenset[int], limit: int) -> Outline:
    """Read the data set that begins at the file's position.

    Args:
        file: seekable; read to its end.
        transfer_syntax_uid: how it is encoded.
        wanted: tags whose values are kept (up to 64 KiB each).
        limit: most bytes a deflated data set may inflate to.

    Raises:
        NotUnderstood: it ends within an element, or is no data set in this transfer syntax.
        OutOfResources: it inflates to more than the limit.
    """
    source: Source = Inflated(file, limit) if transfer_syntax_uid in _DEFLATED else Plain(file)
    order = ">" if transfer_syntax_uid == _BIG_ENDIAN else "<"
    return _Pass(source, order, explicit=transfer_syntax_uid != _IMPLICIT).run(wanted)


class _Pass:
    def __init__(self, source: Source, order: str, *, explicit: bool) -> None:
        self._source = source
        self._order = order
        self._explicit = explicit
        self._seen = 0
        self._tag = struct.Struct(order + "HH")
        self._short = struct.Struct(order + "H")
        self._long = struct.Struct(order + "L")

    def run(self, wanted: frozenset[int]) -> Outline:
        values: dict[int, bytes] = {}
        pixel_bytes = fragments = None
        while (head := self._element(explicit=self._explicit)) is not None:
            tag, vr, length = head
            if tag in PIXELS:
                pixel_bytes, fragments = self._pixels(length)
            elif length == _UNDEFINED:
                self._items(explicit=self._explicit and vr != b"UN", depth=0)
            elif tag in wanted and length <= _LONGEST_VALUE:
                values[tag] = self._source.read(length)
                self._whole(tag, length, len(values[tag]))
            else:
                self._whole(tag, length, self._source.skip(length))
        return Outline(values, self._order, pixel_bytes, fragments)

    def _element(self, *, explicit: bool) -> tuple[int, bytes, int] | None:
        """Tag, VR and value length of the next element (PS3.5 7.1); None at the end."""
        self._count()
        head = self._source.read(8)
        if len(head) < 8:  # noqa: PLR2004 - the shortest element head
            if head.strip(b"\0"):
                message = "data set ends within an element"
                raise NotUnderstood(message)
            return None
        group, element = self._tag.unpack_from(head)
        vr = head[4:6]
        # Some writers leave single elements implicit within explicit data; a VR is two capitals, a length is not.
        if not explicit or group == 0xFFFE or not (vr.isalpha() and vr.isupper()):  # noqa: PLR2004 - item tags
            return group << 16 | element, b"", self._long.unpack_from(head, 4)[0]
        if vr not in _LONG:
            return group << 16 | element, vr, self._short.unpack_from(head, 6)[0]
        tail = self._source.read(4)
        self._whole(group << 16 | element, 4, len(tail))
        return group << 16 | element, vr, self._long.unpack(tail)[0]

    def _pixels(self, length: int) -> tuple[int, int | None]:
        if length != _UNDEFINED:
            passed = self._source.skip(length)
            if passed < length:
                message = f"pixel data truncated: {passed} of {length} bytes"
                raise NotUnderstood(message)
            return passed, None
        total, items = 0, 0
        while True:
            tag, size = self._item("pixel data truncated: no end of fragments")
            if tag == _SEQUENCE_END:
                return total, max(items - 1, 0)
            if tag != _ITEM or size == _UNDEFINED:
                message = "pixel data are no sequence of fragments"
                raise NotUnderstood(message)
            passed = self._source.skip(size)
            if passed < size:
                message = f"pixel data truncated: {passed} of {size} bytes"
                raise NotUnderstood(message)
            total += size if items else 0  # the first item is the offset table
            items += 1

    def _items(self, *, explicit: bool, depth: int) -> None:
        """Pass over a sequence of undefined length."""
        if depth > _DEEPEST:
            message = "sequences are nested too deeply"
            raise NotUnderstood(message)
        while True:
            tag, size = self._item("data set ends within a sequence")
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                message = "a sequence holds something else than items"
                raise NotUnderstood(message)
            if size == _UNDEFINED:
                self._item_content(explicit=explicit, depth=depth)
            else:
                self._whole(tag, size, self._source.skip(size))

    def _item_content(self, *, explicit: bool, depth: int) -> None:
        while (head := self._element(explicit=explicit)) is not None:
            tag, vr, length = head
            if tag == _ITEM_END:
                return
            if length == _UNDEFINED:
                self._items(explicit=explicit and vr != b"UN", depth=depth + 1)
            else:
                self._whole(tag, length, self._source.skip(length))
        message = "data set ends within a sequence"
        raise NotUnderstood(message)

    def _count(self) -> None:
        self._seen += 1
        if self._seen > MOST_ELEMENTS:
            message = f"more than {MOST_ELEMENTS} elements"
            raise NotUnderstood(message)

    def _item(self, complaint: str) -> tuple[int, int]:
        self._count()
        head = self._source.read(8)
        if len(head) < 8:  # noqa: PLR2004 - the length of an item head
            raise NotUnderstood(complaint)
        group, element = self._tag.unpack_from(head)
        return group << 16 | element, self._long.unpack_from(head, 4)[0]

    @staticmethod
    def _whole(tag: int, length: int, passed: int) -> None:
        if passed < length:
            message = f"data set ends within ({tag >> 16:04X},{tag & 0xFFFF:04X}): {passed} of {length} bytes"
            raise NotUnderstood(message)
