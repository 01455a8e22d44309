"""Targets: what destinations answer - HL7 acknowledgements, HTTP answers, DIMSE responses."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from service.domain.errors import Permanent, Transient
from service.export.mllp import Mllp
from service.settings import DestinationSettings
from tests.fuzz.dice import Dice, damaged, hostile
from tests.fuzz.memory import MemorySocket
from tests.fuzz.report import Target

if TYPE_CHECKING:
    from socket import socket

_MESSAGE = b"MSH|^~\\&|DENTGATE||||20260102030405+0000||ORU^R01^ORU_R01|abc123|P|2.5.1\rPID|1||P1\r"
ACK = b"\x0bMSH|^~\\&|EHR|HOSP|||20260102||ACK^R01|1|P|2.5.1\rMSA|AA|abc123\rERR|||207^x^HL70357|E||||away\r\x1c\r"
_SEGMENTS = (
    b"MSA|AE|abc123|no",
    b"MSA",
    b"MSA|",
    b"MSA|AA",
    b"ERR|||",
    b"ERR" + b"|" * 5000,
    b"MSA|" + b"A" * 9000,
    b"\r\r\r",
)


def targets() -> tuple[Target, ...]:
    """What is answered over MLLP."""
    destination = Mllp(DestinationSettings(name="ehr", url="mllp://127.0.0.1:9"), "CLINIC")
    return (Target("acknowledgement", _ack, lambda case: _send(destination, case), share=600),)


def _ack(dice: Dice) -> tuple[bytes, Iterator[int]]:
    kind = dice.below(6)
    if kind == 0:
        body = b"\r".join(dice.pick((*_SEGMENTS, hostile(dice))) for _ in range(dice.below(30)))
        raw = b"\x0b" + body + dice.pick((b"\x1c\r", b"\x1c", b"", b"\r\x1c\r\x0b"))
    elif kind == 1:
        raw = dice.bytes(dice.below(400)) * dice.few(4000)
    elif kind == 2:
        raw = ACK * dice.few(20)
    else:
        raw = damaged(dice, ACK)
    return raw, itertools.cycle([dice.pick((1, 3, 65536)), 65536] if len(raw) < 5000 else [65536])


def _send(destination: Mllp, case: tuple[bytes, Iterator[int]]) -> str:
    try:
        destination._send(cast("socket", MemorySocket(*case)), _MESSAGE)  # noqa: SLF001 - after the connection, before the record
    except (Transient, Permanent) as error:
        told = error
    else:
        return "accepted"
    assert str(told).isprintable()
    assert len(str(told)) < 1000
    return type(told).__name__
