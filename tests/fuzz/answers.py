"""What a record answers on its worst day: JSON of any shape under sound HTTP, and bodies that are not what they say."""

import gzip
import json

from tests.fhir_script import Answer, fhir, healthy
from tests.fuzz.dice import Dice, damaged, hostile

_VALUES: tuple[object, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    10**40,
    "",
    "x" * 5000,
    [],
    {},
    [[]],
    [None],
    "Patient/",
    "../..",
    "\x00\x1b",
    "4.0.1",
)
_STATUSES = (
    200,
    200,
    200,
    201,
    202,
    204,
    206,
    300,
    302,
    304,
    400,
    401,
    403,
    404,
    405,
    409,
    412,
    413,
    422,
    429,
    500,
    503,
    599,
)
_DEEP = b"[" * 100_000
_BOMB = gzip.compress(bytes(1 << 24))


def hostile_answer(dice: Dice, method: str, path: str, body: bytes) -> Answer:
    """The answer of a sound record, or what is left of it."""
    try:
        status, headers, content = healthy(method, path, body)
    except KeyError:  # not a transaction but a single resource: the sender has given up on transactions
        status, headers, content = fhir({"resourceType": "Observation", "id": "n1"}, 201)
    kind = dice.below(10)
    if kind < 4:
        return status, headers, content
    if kind < 7:
        content = json.dumps(_changed(dice, json.loads(content))).encode()
    elif kind == 7:
        content = damaged(dice, content)
    elif kind == 8:
        content = dice.pick(
            (_DEEP, b"", b"null", b"[]", b"NaN", b"\xff\xfe", b"<html>", content * 3, b'"' + b"9" * 9000)
        )
    elif dice.chance(50):
        headers = headers | {
            "Content-Encoding": dice.pick(("gzip", "gzip, gzip, gzip", "br", "identity, x", "deflate"))
        }
        content = dice.pick((_BOMB, gzip.compress(_BOMB), content))
    if dice.chance(30):
        name = dice.pick(("Retry-After", "Location", "ETag", "Content-Type", "Date"))
        value = dice.pick((b"9" * 5000, b"-1", b"Thu, 99 Foo 0000", b"W/", b"\xff", hostile(dice)))
        headers = headers | {name: value.decode("latin-1").replace("\r", " ").replace("\n", " ").replace("\0", " ")}
    return dice.pick(_STATUSES) if dice.chance(30) else status, headers, content


def _changed(dice: Dice, value: object) -> object:
    """The JSON with some of its values replaced, moved or gone."""
    if dice.chance(8):
        return dice.pick(_VALUES)
    if isinstance(value, dict):
        kept = {key: _changed(dice, each) for key, each in value.items() if not dice.chance(4)}
        return kept if dice.chance(97) else list(kept.values())
    if isinstance(value, list):
        changed = [_changed(dice, each) for each in value for _ in range(2 if dice.chance(4) else 1)]
        return changed if dice.chance(97) else {"0": changed}
    return value
