"""HTTP requests that are broken: heads, multipart bodies (RFC 7578), files that are not what they say."""

import struct

from tests.fuzz import datasets, images
from tests.fuzz.dice import Dice, damaged, hostile

_SOUND = images.pictures()
_FIELDS = (b"kind", b"patient_id", b"family_name", b"given_name", b"birth_date", b"files", b"", b"x" * 3000)
_TYPES = (
    b"multipart/form-data; boundary=b", b"multipart/form-data", b"multipart/form-data; boundary=", b"application/json",
    b"multipart/mixed; boundary=b", b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=" + b"b" * 4000,
)  # fmt: skip
_PATHS = (
    b"/api/studies", b"/api/studies", b"/api/studies", b"/upload", b"/api/studies/%00/review", b"/api/jobs/9e9/retry",
    b"/%ff%fe",
)  # fmt: skip
_ENDS = (b"--b--\r\n", b"--b--\r\n", b"--b--\r\n", b"", b"--b")
_ODD_LINES = (
    b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Content-Length: 5", b"X: " + b"y" * 70000, b"Origin: http://[",
    b"Sec-Fetch-Site: cross-site", b"Content-Encoding: gzip", b"Content-Length: " + b"9" * 5000,
)  # fmt: skip


def upload(dice: Dice) -> bytes:
    """A whole request that sends files, or nearly."""
    body = b"".join(_part(dice) for _ in range(dice.few(8))) + dice.pick(_ENDS)
    if dice.chance(30):  # a form that is filled in
        label = b'--b\r\nContent-Disposition: form-data; name="patient_id"\r\n\r\nP1\r\n'
        file = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n' + _content(dice, b"files")
        return _head(dice, _TYPES[0], len(label + file) + 9) + label + file + b"\r\n--b--\r\n"
    if dice.chance(25):
        body = damaged(dice, body)
    head = _head(dice, dice.pick(_TYPES) if dice.chance(20) else _TYPES[0], len(body))
    raw = head + body
    return damaged(dice, raw) if dice.chance(10) else raw


def _part(dice: Dice) -> bytes:
    name = dice.pick(_FIELDS) if dice.chance(60) else hostile(dice)
    head = b'--b\r\nContent-Disposition: form-data; name="' + name + b'"'
    if name == b"files" or dice.chance(30):
        head += b'; filename="' + dice.pick((b"x.dcm", b"..\\..\\x", b"", hostile(dice))) + b'"'
    if dice.chance(20):
        head += b"\r\nContent-Type: " + dice.pick((b"image/png", b"text/plain; charset=hex", b"x" * 9000))
    return head + b"\r\n\r\n" + _content(dice, name) + b"\r\n"


def _content(dice: Dice, name: bytes) -> bytes:
    if name == b"kind":
        return dice.pick((b"automatic", b"panoramic", b"photograph", hostile(dice)))
    if name == b"files":
        kind = dice.below(4)
        return (
            datasets.file(dice) if kind == 0 else damaged(dice, dice.pick(_SOUND)) if kind == 1 else dice.pick(_SOUND)
        )
    if name == b"birth_date":
        return dice.pick((b"1980-01-01", b"19800101", b"0000-00-00", hostile(dice)))
    return dice.pick((b"P1", hostile(dice)))


def _head(dice: Dice, kind: bytes, length: int) -> bytes:
    if dice.chance(10):
        length = dice.pick((0, length - 1, length + 1, 1 << 40))
    lines = [
        dice.pick((b"POST", b"POST", b"POST", b"PUT", b"GET", b"X" * 500)) + b" " + dice.pick(_PATHS) + b" HTTP/1.1",
        b"Host: 127.0.0.1" if dice.chance(90) else b"Host: " + hostile(dice).replace(b"\r\n", b" "),
        b"Content-Type: " + kind,
        b"Content-Length: " + str(max(length, 0)).encode(),
        b"Connection: close",
    ]
    if dice.chance(10):
        lines.insert(dice.below(5), dice.pick((*_ODD_LINES, hostile(dice))))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def junk(dice: Dice) -> bytes:
    """No HTTP at all."""
    return struct.pack(">L", dice.below(1 << 32)) + dice.bytes(dice.below(3000))
