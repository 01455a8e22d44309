"""Connections that break the upper layer protocol and DIMSE in every way (PS3.8 section 9, PS3.7 section 6)."""

import struct

from tests.fuzz.datasets import data_set, procedure_step, requested_commitment
from tests.fuzz.dice import Dice, damaged, hostile
from tests.unit.listener.raw_scu import COMMAND, DX, EXPLICIT, IMPLICIT, LAST, VERIFICATION, command, pdu, pdv, request

PUSH_MODEL, PROCEDURE_STEP = "1.2.840.10008.1.20.1", "1.2.840.10008.3.1.2.3.3"
CONTEXTS = (
    (DX, (EXPLICIT,)),
    (DX, (IMPLICIT,)),
    (VERIFICATION, (IMPLICIT,)),
    (PUSH_MODEL, (IMPLICIT, EXPLICIT)),
    (PROCEDURE_STEP, (EXPLICIT,)),
)
OPEN = request(CONTEXTS)
_COMMITMENTS = tuple(requested_commitment(count) for count in (0, 1, 3, 200))
_STEPS = tuple(procedure_step(status) for status in ("IN PROGRESS", "COMPLETED", "DISCONTINUED", ""))
_FIELDS = (
    0x0001,
    0x0030,
    0x0FFF,
    0x0020,
    0x0010,
    0x0021,
    0x0100,
    0x0110,
    0x0120,
    0x0130,
    0x0140,
    0x8001,
    0x8100,
    0xFFFF,
)
_WIDTHS = (0, 1, 2, 3, 5, 6, 67, 68, 4096, 131072, 131073, 1 << 20, (1 << 20) + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_ITEMS = (0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x00, 0xFF)


def connection(dice: Dice) -> bytes:
    """Everything one peer sends, from its first byte to its last."""
    parts = [OPEN if dice.chance(80) else association_request(dice)]
    parts += [_pdu(dice) for _ in range(dice.few(6))]
    if dice.chance(30):
        parts.append(b"\5\0\0\0\0\4\0\0\0\0")
    raw = b"".join(parts)
    return damaged(dice, raw, (OPEN,)) if dice.chance(20) else raw


def normalized(dice: Dice) -> bytes:
    """Storage commitments and procedure steps whose data sets are damaged, deep, hostile or sound."""
    parts = [OPEN]
    for _ in range(dice.few(4)):
        commits = dice.chance(50)
        field = dice.pick((0x0130, 0x0130, 0x0100, 0x8100)) if commits else dice.pick((0x0140, 0x0140, 0x0120))
        words = _element(
            0x0002 if field in {0x0100, 0x8100, 0x0140} else 0x0003, _uid(PUSH_MODEL if commits else PROCEDURE_STEP)
        )
        words += _element(0x0100, struct.pack("<H", field)) + _element(0x0110, b"\7\0") + _element(0x0120, b"\1\0")
        words += _element(0x0800, b"\0\0") + _element(0x0900, b"\0\0")
        instance = PUSH_MODEL + ".1" if commits else dice.pick(("1.2.3.9", "1.2.3.10", ""))
        words += _element(0x1000 if field in {0x0100, 0x8100, 0x0140} else 0x1001, _uid(instance))
        words += _element(0x1002, struct.pack("<H", dice.pick((1, 2, 3)))) + _element(
            0x1008, struct.pack("<H", dice.pick((1, 1, 2)))
        )
        context = 7 if commits else 9
        parts.append(
            pdu(*_fragments(dice, context, words, COMMAND), *_fragments(dice, context, _information(dice, commits), 0))
        )
    return b"".join([*parts, b"\5\0\0\0\0\4\0\0\0\0"])


def _information(dice: Dice, commits: bool) -> bytes:  # noqa: FBT001 - which of two
    """What goes with them: Action Information in implicit VR, a procedure step in explicit VR."""
    kind = dice.below(6)
    if kind == 0:
        return data_set(dice)
    raw = dice.pick(_COMMITMENTS) if commits else dice.pick(_STEPS)
    return raw if kind == 1 else damaged(dice, raw, (*_COMMITMENTS, *_STEPS))


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, element, len(value)) + value


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def association_request(dice: Dice) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2) with items that are missing, repeated, empty, misplaced, or that lie."""
    if dice.chance(30):
        return damaged(dice, OPEN)
    body = OPEN[6:74] if dice.chance(80) else dice.bytes(dice.below(80))
    body += b"".join(_item(dice, depth=0) for _ in range(dice.below(12)))
    if dice.chance(10):
        body += _item(dice, depth=2) * dice.below(3000)
    return struct.pack(">BxL", dice.pick((1, 1, 1, 1, 2, 8)), dice.pick((len(body), len(body), *_WIDTHS))) + body


def _item(dice: Dice, depth: int) -> bytes:
    kind = dice.pick(_ITEMS)
    if depth < 2 and dice.chance(40):
        body = dice.bytes(4) if kind == 0x20 else b""
        body += b"".join(_item(dice, depth + 1) for _ in range(dice.below(6)))
    else:
        body = dice.pick((b"1.2.840.10008.1.2", VERIFICATION.encode(), b"", dice.bytes(dice.below(40)), hostile(dice)))
    length = len(body) if dice.chance(85) else dice.pick(_WIDTHS)
    return struct.pack(">BxH", kind, min(length, 0xFFFF)) + body[:0xFFFF]


def _pdu(dice: Dice) -> bytes:
    kind = dice.below(24)
    if kind == 0:
        return struct.pack(">BxL", dice.below(256), dice.pick(_WIDTHS)) + dice.bytes(dice.below(64))
    if kind == 1:
        return pdu(*(_pdv(dice) for _ in range(dice.below(5))), kind=dice.pick((4, 4, 4, 1, 2, 3, 5, 6, 7, 0)))
    if kind == 2:
        whole = pdu(_pdv(dice))
        return struct.pack(">BxL", 4, dice.pick(_WIDTHS)) + whole[6:]
    if kind == 3:
        return damaged(dice, message(dice))
    return message(dice)


def _pdv(dice: Dice) -> bytes:
    """A presentation data value: size, context, control byte, all of them free to lie."""
    body = command_set(dice) if dice.chance(50) else dice.bytes(dice.below(60))
    whole = pdv(dice.pick((1, 3, 5, 7, 2, 0, 255)), dice.pick((0, 1, 2, 3, 0xFC, 0xFF)), body)
    return whole if dice.chance(80) else struct.pack(">L", dice.pick(_WIDTHS)) + whole[4:]


def message(dice: Dice) -> bytes:
    """A command and, mostly, the data set that it announces or does not; in fragments and PDUs of any size."""
    context = dice.pick((1, 1, 1, 3, 5, 7))
    words = command_set(dice)
    parts = _fragments(dice, context, words, COMMAND)
    if dice.chance(75):
        parts += _fragments(dice, context, data_set(dice), 0)
    if dice.chance(10):
        parts.reverse()
    if dice.chance(10):
        parts.insert(dice.below(len(parts) + 1), pdv(context, dice.pick((0, 1, 2, 3)), b""))
    if dice.chance(50):
        return pdu(*parts)
    return b"".join(map(pdu, parts))


def _fragments(dice: Dice, context: int, raw: bytes, kind: int) -> list[bytes]:
    pieces = []
    step = max(len(raw) // dice.few(5), 1) if dice.chance(50) else len(raw) or 1
    for start in range(0, max(len(raw), 1), step):
        last = LAST if start + step >= len(raw) else 0
        pieces.append(pdv(context, kind | last, raw[start : start + step]))
    return pieces


def command_set(dice: Dice) -> bytes:
    """A command set with elements that are missing, doubled, of other groups, in other orders or in explicit VR."""
    instance = dice.pick(("1.2.3.1.1.1", "1.2.3.1.1.1", "", "1" * 65, "1.2.../etc", "\0"))
    sop_class = dice.pick((DX, DX, VERIFICATION, PUSH_MODEL, PROCEDURE_STEP, "", "1.2.3"))
    words = command(dice.pick(_FIELDS), sop_class=sop_class, instance=instance, data=dice.chance(70))
    kind = dice.below(20)
    if kind == 0:
        return damaged(dice, words)
    if kind == 1:  # an element twice
        return words + words[12 : 12 + 8 + struct.unpack_from("<L", words, 16)[0]]
    if kind == 2:  # elements of another group
        return words + struct.pack("<HHL", dice.pick((2, 8, 0xFFFE, 0x7FE0)), 0x10, 4) + dice.bytes(4)
    if kind == 3:  # explicit VR
        return struct.pack("<HH2sHH", 0, 0x100, b"US", 2, 1) + words
    if kind == 4:
        return words + b"".join(struct.pack("<HHL", 0, dice.below(65536), 0) for _ in range(dice.below(2000)))
    return words
