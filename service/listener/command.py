"""DIMSE command sets (PS3.7 section 6.3 and Annex E): group 0000, always implicit VR little endian."""

import struct
from dataclasses import dataclass
from enum import IntEnum

from service.listener.wire import Malformed

C_STORE, C_ECHO, C_CANCEL = 0x0001, 0x0030, 0x0FFF
N_EVENT_REPORT, N_SET, N_ACTION, N_CREATE = 0x0100, 0x0120, 0x0130, 0x0140
RESPONSE = 0x8000
_NO_DATA_SET = 0x0101
_COMMENT_LENGTH = 64  # LO
_CLASS, _FIELD, _MESSAGE, _ANSWERED, _DATA_SET, _STATUS, _COMMENT, _INSTANCE, _EVENT, _ACTION = (
    0x0002, 0x0100, 0x0110, 0x0120, 0x0800, 0x0900, 0x0902, 0x1000, 0x1002, 0x1008,
)  # fmt: skip


class Status(IntEnum):
    """Statuses that we answer (PS3.4 B.2.3, PS3.7 Annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_INSTANCE = 0x0111
    NO_SUCH_INSTANCE = 0x0112
    INVALID_ARGUMENT = 0x0115
    INVALID_INSTANCE = 0x0117
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    BUSY = 0xA702
    NOT_MATCHING = 0xA900
    NOT_UNDERSTOOD = 0xC000


@dataclass(frozen=True, slots=True)
class Command:
    """A request, or the peer's response to one of ours.

    Attributes:
        field: which operation, for example C_STORE.
        message_id: the sender's number of it; of a response, our number of what it answers.
        sop_class_uid, sop_instance_uid: affected (or requested) SOP class and instance, as sent but without padding.
        has_data_set: True if a data set follows.
        action: Action Type ID of an N-ACTION, 0 otherwise.
        status: of a response, 0 otherwise.
    """

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool
    action: int = 0
    status: int = 0


def parse_command(raw: bytes) -> Command:
    """Read a command set. Raises Malformed."""
    values: dict[int, bytes] = {}
    position = 0
    while position < len(raw):
        if position + 8 > len(raw):
            message = "command set ends within an element"
            raise Malformed(message)
        group, element, length = struct.unpack_from("<HHL", raw, position)
        position += 8
        if group or position + length > len(raw):
            message = "command set is damaged"
            raise Malformed(message)
        values[element] = raw[position : position + length]
        position += length
    try:
        return Command(
            field=_number(values[_FIELD]),
            message_id=_number(values.get(_MESSAGE) or values.get(_ANSWERED, b"\0\0")),
            sop_class_uid=_uid(values.get(_CLASS) or values.get(0x0003, b"")),
            sop_instance_uid=_uid(values.get(_INSTANCE) or values.get(0x1001, b"")),
            has_data_set=_number(values[_DATA_SET]) != _NO_DATA_SET,
            action=_number(values.get(_ACTION, b"\0\0")),
            status=_number(values.get(_STATUS, b"\0\0")),
        )
    except (KeyError, struct.error):
        message = "command set lacks what every command has"
        raise Malformed(message) from None


def response(command: Command, status: Status, comment: str = "") -> bytes:
    """The command set that answers; ``comment`` says why it was refused."""
    body = _element(_CLASS, _padded(command.sop_class_uid)) if command.sop_class_uid else b""
    body += _element(_FIELD, struct.pack("<H", command.field | RESPONSE))
    body += _element(_ANSWERED, struct.pack("<H", command.message_id))
    body += _element(_DATA_SET, struct.pack("<H", _NO_DATA_SET))
    body += _element(_STATUS, struct.pack("<H", status))
    if comment:
        text = comment.replace("\\", "/").encode("ascii", "replace")[:_COMMENT_LENGTH]
        body += _element(_COMMENT, text + b" " * (len(text) % 2))
    if command.sop_instance_uid:
        body += _element(_INSTANCE, _padded(command.sop_instance_uid))
    if command.action:
        body += _element(_ACTION, struct.pack("<H", command.action))
    return _element(0, struct.pack("<L", len(body))) + body


def event_report(message_id: int, sop_class_uid: str, sop_instance_uid: str, event: int) -> bytes:
    """The command set of an N-EVENT-REPORT request with a data set (PS3.7 10.3.1)."""
    body = _element(_CLASS, _padded(sop_class_uid))
    body += _element(_FIELD, struct.pack("<H", N_EVENT_REPORT))
    body += _element(_MESSAGE, struct.pack("<H", message_id))
    body += _element(_DATA_SET, struct.pack("<H", _NO_DATA_SET - 1))
    body += _element(_INSTANCE, _padded(sop_instance_uid))
    body += _element(_EVENT, struct.pack("<H", event))
    return _element(0, struct.pack("<L", len(body))) + body


def _number(value: bytes) -> int:
    return int(struct.unpack("<H", value)[0])


def _uid(value: bytes) -> str:
    return value.decode("ascii", "replace").rstrip("\0 ")


def _padded(uid: str) -> bytes:
    raw = uid.encode("ascii", "replace")[:_COMMENT_LENGTH]
    return raw + b"\0" * (len(raw) % 2)


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, element, len(value)) + value
