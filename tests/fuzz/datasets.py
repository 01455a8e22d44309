"""Data sets that are damaged, hostile or merely odd, in every transfer syntax (PS3.5 sections 6, 7 and A)."""

import struct
import zlib

from pydicom.dataset import Dataset

from tests.fuzz.dice import Dice, damaged, hostile
from tests.unit.listener.raw_scu import BIG_ENDIAN, DEFLATED, DX, EXPLICIT, IMPLICIT, encode, image, part10

SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED[0], "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.94")
WHOLE = {syntax: encode(image(), syntax) for syntax in SYNTAXES}
_OTHERS = tuple(WHOLE.values())
_FILES = tuple(part10(image(), syntax) for syntax in (EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.1.99"))
_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV ZZ \0\0"
_CHARSETS = (
    b"ISO_IR 100", b"ISO_IR 192", b"GB18030", b"GBK", b"\\ISO 2022 IR 87", b"ISO 2022 IR 13\\ISO 2022 IR 87",
    b"ISO_IR 13", b"\\ISO 2022 IR 149", b"ISO 2022 IR 6\\ISO 2022 IR 58", b"ISO_IR 9999", b"utf_8", b"rot13", b"hex",
    b"idna", b"\\" * 40,
    b"unicode_escape", b"zlib", b"undefined", b"\0", b"ISO_IR 166", b"ISO 2022 IR 159",
)  # fmt: skip
_NAMED = (
    0x00080005, 0x00080016, 0x00080018, 0x00080020, 0x00080050, 0x00080060, 0x00081030, 0x00100010, 0x00100020,
    0x00100021, 0x00100030, 0x00100040, 0x0020000D, 0x0020000E, 0x00280002, 0x00280004, 0x00280008, 0x00280010,
    0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00281050, 0x00281051, 0x00283010, 0x7FE00010,
)  # fmt: skip
_UNDEFINED = 0xFFFFFFFF


def data_set(dice: Dice) -> bytes:
    """A data set in explicit VR little endian, mostly."""
    return encoded(dice)[1]


def encoded(dice: Dice) -> tuple[str, bytes]:
    """A transfer syntax and a data set that claims to be in it."""
    kind = dice.below(10)
    if kind < 2:
        return EXPLICIT, valued(dice)
    if kind == 2:
        return EXPLICIT, nested(dice)
    if kind == 3:
        return EXPLICIT, b"".join(_element(dice, 0) for _ in range(dice.below(40)))
    if kind == 4:
        return DEFLATED[0], deflated(dice)
    if kind == 5:
        return dice.pick(SYNTAXES), dice.pick(_OTHERS)
    syntax = dice.pick(SYNTAXES)
    return syntax, damaged(dice, WHOLE[syntax], _OTHERS)


def valued(dice: Dice) -> bytes:
    """A whole image with hostile values: UIDs, character sets, names, numbers."""
    raw = WHOLE[EXPLICIT]
    for _ in range(dice.few(5)):
        tag = dice.pick(_NAMED)
        value = dice.pick(_CHARSETS) if tag == 0x00080005 else hostile(dice)
        at = raw.find(struct.pack("<HH", tag >> 16, tag & 0xFFFF))
        if at < 0 or tag == 0x7FE00010:
            raw = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"LO", len(value)) + value + raw
            continue
        (length,) = struct.unpack_from("<H", raw, at + 6)
        raw = raw[: at + 6] + struct.pack("<H", len(value)) + value + raw[at + 8 + length :]
    return raw


def nested(dice: Dice) -> bytes:
    """Sequences within sequences, up to ten thousand deep, closed or not, of defined or undefined length."""
    depth = dice.pick((1, 3, 31, 32, 33, 34, 100, 1000, 10000))
    inner = dice.pick((b"", WHOLE[EXPLICIT][:200], dice.bytes(20)))
    if dice.chance(50):
        head = struct.pack("<HH2sxxL", 8, 0x1140, b"SQ", _UNDEFINED) + struct.pack("<HHL", 0xFFFE, 0xE000, _UNDEFINED)
        tail = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
        return head * depth + inner + tail * (depth if dice.chance(60) else dice.below(depth + 1)) + WHOLE[EXPLICIT]
    for _ in range(min(depth, 1500)):  # every level doubles the copying
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
        inner = struct.pack("<HH2sxxL", 8, 0x1140, b"SQ", len(item)) + item
    return inner + WHOLE[EXPLICIT]


def deflated(dice: Dice) -> bytes:
    """Damaged deflate streams, and some that inflate a thousandfold."""
    raw = WHOLE[DEFLATED[0]]
    if dice.chance(50):
        return damaged(dice, raw)
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    whole = valued(dice) if dice.chance(50) else nested(dice)
    bomb = struct.pack("<HH2sxxL", 0x7FE1, 0x10, b"OB", dice.pick((_UNDEFINED, 1 << 20, 8 << 20))) + bytes(
        1 << dice.below(23)
    )
    return deflate.compress(whole + bomb) + deflate.flush()


def requested_commitment(count: int) -> bytes:
    """Action Information of a storage commitment (PS3.4 table J.3-1) in implicit VR."""
    ds = Dataset()
    ds.TransactionUID = "1.2.3.4"
    ds.ReferencedSOPSequence = [_reference(number) for number in range(count)]
    return encode(ds, IMPLICIT)


def procedure_step(status: str) -> bytes:
    """A Modality Performed Procedure Step (PS3.3 C.4.14) in explicit VR."""
    ds, series, scheduled = Dataset(), Dataset(), Dataset()
    ds.PerformedProcedureStepStatus, scheduled.StudyInstanceUID = status, "1.2.3.1"
    series.ReferencedImageSequence = [_reference(number) for number in range(3)]
    ds.ScheduledStepAttributesSequence, ds.PerformedSeriesSequence = [scheduled], [series]
    return encode(ds, EXPLICIT)


def _reference(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = DX, f"1.2.3.1.1.{number}"
    return item


def _element(dice: Dice, depth: int) -> bytes:
    """An element of any VR, with any length; sequences hold more of them."""
    tag = dice.pick(_NAMED) if dice.chance(60) else int.from_bytes(dice.bytes(4), "little")
    vr = _VRS[3 * dice.below(len(_VRS) // 3) :][:2]
    value = hostile(dice)
    if vr == b"SQ" and depth < 4:
        inner = b"".join(_element(dice, depth + 1) for _ in range(dice.below(4)))
        value = struct.pack("<HHL", 0xFFFE, dice.pick((0xE000, 0xE000, 0xE00D, 0xE0DD)), len(inner)) + inner
    length = len(value) if dice.chance(85) else dice.pick((0, 0xFFFF, _UNDEFINED, 0x7FFFFFFF, len(value) + 1))
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}:
        return head + struct.pack("<xxL", length) + value
    return head + struct.pack("<H", min(length, 0xFFFF)) + value


def file(dice: Dice) -> bytes:
    """A DICOM file (PS3.10): damaged, without preamble, without or with lying file meta information."""
    whole = dice.pick(_FILES)
    kind = dice.below(6)
    if kind == 0:
        return whole[128:] if dice.chance(50) else whole[132:]
    if kind == 1:
        return whole[:132] + encoded(dice)[1]
    if kind == 2:
        return whole[: len(whole) - len(WHOLE[EXPLICIT])] + encoded(dice)[1]
    if kind == 3:
        return data_set(dice)
    return damaged(dice, whole, _FILES)
