"""Random choices from a seed, many of them for each draw of the generator; and bytes damaged by them."""

import struct
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_POOL = 512  # bytes drawn at a time: a call of the generator costs more than the bytes
_LENGTHS = (0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000)
_LONGS = (*_LENGTHS, 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFEE000, 0xE000FFFE, 0xFFFEE0DD, 0x7FE00010)
_HOSTILE = (
    b"\0", b"\xff", b"\\", b"^", b"=", b"\x1b$B", b"\x1b(I", b"../", b"%00", b"\r\n", b"\xe2\x80\xae", b"\xed\xa0\x80",
    b"'--", b"<script>", b"${x}", b"{0}", b"%s", b"\x7f", b"9" * 80, b"1." * 40, b"NaN", b"1e999", b"-0", b"\n" * 8,
)  # fmt: skip


class Dice:
    """The choices of one input. The same numbers give the same input, whatever was drawn before it."""

    def __init__(self, *numbers: int) -> None:
        """Take a seed and the number of the input."""
        self._rng = np.random.default_rng(numbers)
        self._pool = b""
        self._at = 0

    def bytes(self, count: int) -> bytes:
        """That many random bytes."""
        if count > _POOL:
            return self._rng.bytes(count)
        if self._at + count > len(self._pool):
            self._pool, self._at = self._rng.bytes(_POOL), 0
        piece = self._pool[self._at : self._at + count]
        self._at += count
        return piece

    def below(self, limit: int) -> int:
        """0 to ``limit`` - 1; the slight bias of the remainder does no harm here."""
        return int.from_bytes(self.bytes(4), "little") % limit if limit > 1 else 0

    def chance(self, percent: int) -> bool:
        """True so often in a hundred."""
        return self.below(100) < percent

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[self.below(len(choices))]

    def few(self, most: int) -> int:
        """1 to ``most``, small numbers far more often."""
        count = 1
        while count < most and self.chance(55):
            count += 1
        return count


def damaged(dice: Dice, whole: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The bytes after a few of the things that go wrong: bits, lengths, cuts, repeats, pieces of something else."""
    raw = bytearray(whole)
    for _ in range(dice.few(8)):
        _damage(dice, raw, others)
    return bytes(raw)


def _damage(dice: Dice, raw: bytearray, others: Sequence[bytes]) -> None:
    at = dice.below(len(raw) + 1)
    kind = dice.below(10)
    if kind == 0 and at < len(raw):
        raw[at] ^= 1 << dice.below(8)
    elif kind == 1:
        raw[at : at + 1] = dice.bytes(1)
    elif kind == 2:
        del raw[at : at + 1 + dice.below(64)]
    elif kind == 3:
        raw[at:at] = dice.bytes(dice.below(32))
    elif kind == 4:
        raw[at : at + 4] = struct.pack(dice.pick(("<L", ">L")), dice.pick(_LONGS))
    elif kind == 5:
        raw[at : at + 2] = struct.pack(dice.pick(("<H", ">H")), dice.pick(_LENGTHS) & 0xFFFF)
    elif kind == 6:
        piece = raw[at : at + 1 + dice.below(128)]
        raw[at:at] = piece * (1 + dice.below(8))
    elif kind == 7:
        raw[at:at] = dice.pick(_HOSTILE)
    elif kind == 8 and others:
        other = dice.pick(others)
        start = dice.below(len(other) + 1)
        raw[at : at + dice.below(64)] = other[start : start + 256]
    else:
        del raw[at:]


def hostile(dice: Dice) -> bytes:
    """A value that nobody expects."""
    if dice.chance(50):
        return dice.pick(_HOSTILE) * dice.few(40)
    return dice.bytes(dice.below(80))
