"""Command sets that say too little or something else are malformed, each with what is wrong."""

import struct

import pytest

from service.listener.command import parse_command
from service.listener.wire import Malformed

CLASS, FIELD, MESSAGE, DATA_SET = 0x0002, 0x0100, 0x0110, 0x0800


def element(number: int, value: bytes, group: int = 0) -> bytes:
    """An element of a command set: Implicit VR Little Endian (PS3.7 6.3.1)."""
    return struct.pack("<HHL", group, number, len(value)) + value


SHORT = struct.pack("<H", 0x0030)
ECHO = element(CLASS, b"1.2.840.10008.1.1\0") + element(FIELD, SHORT) + element(MESSAGE, b"\x07\0")
WHOLE = ECHO + element(DATA_SET, b"\x01\x01")


def test_a_whole_one_is_read() -> None:
    """What the others lack or have otherwise is all that is wrong with them."""
    command = parse_command(WHOLE)
    assert (command.field, command.message_id, command.has_data_set) == (0x0030, 7, False)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (WHOLE + b"\0\0\0\1", "ends within an element"),
        (WHOLE[:-1], "is damaged"),
        (WHOLE + element(0x0010, b"PATIENT ", group=0x0010), "is damaged"),
        (ECHO, "lacks"),
        (WHOLE.replace(element(FIELD, SHORT), b""), "lacks"),
        (ECHO + element(DATA_SET, b"\x01"), "lacks"),
        (ECHO + element(DATA_SET, b"\x01\x01\0\0"), "lacks"),
    ],
)
def test_what_is_wrong_is_told(raw: bytes, words: str) -> None:
    """Cut short, elements of another group, no command or no word on a data set, numbers of another length."""
    with pytest.raises(Malformed, match=words):
        parse_command(raw)
