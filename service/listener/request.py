"""The outside of an association request, looked at before it is taken apart (PS3.8 9.3.2 and Annex D, PS3.7 Annex D).

Taking an item apart costs some thirty microseconds and a kilobyte, so a request of one megabyte that holds a quarter of
a million empty items would keep the processor for seconds. What an honest request can hold is bounded by the standard:
128 presentation contexts, one context name, one list of user information.
"""

from service.listener.wire import Malformed

_HEAD = 74  # PDU type and length, protocol version, titles, reserved
_CONTEXT, _USER_INFORMATION = 0x20, 0x50
_MOST_CONTEXTS = 128  # the IDs are the odd numbers below 256
_MOST_ITEMS = _MOST_CONTEXTS + 8
#: the abstract syntax and every transfer syntax there is, twice
_MOST_IN_CONTEXT = 128
#: a role and an extended negotiation for each of more SOP classes than there are contexts
_MOST_IN_USER_INFORMATION = 1024
_PLACE_OF_ITEMS = {_CONTEXT: 4, _USER_INFORMATION: 0}


def check_request(raw: bytes) -> None:
    """Raise Malformed if a request holds more than an honest one can, or an item that is longer than what it lies in.

    Args:
        raw: the whole A-ASSOCIATE-RQ.
    """
    items = _items(raw, _HEAD, len(raw), _MOST_ITEMS)
    kinds = [kind for kind, _, _ in items]
    if kinds.count(_CONTEXT) > _MOST_CONTEXTS or kinds.count(_USER_INFORMATION) > 1:
        message = "more presentation contexts or user information than a request may have"
        raise Malformed(message)
    for kind, start, end in items:
        if kind in _PLACE_OF_ITEMS:
            most = _MOST_IN_CONTEXT if kind == _CONTEXT else _MOST_IN_USER_INFORMATION
            _items(raw, start + _PLACE_OF_ITEMS[kind], end, most)


def _items(raw: bytes, start: int, end: int, most: int) -> list[tuple[int, int, int]]:
    """Type, start and end of each item between two offsets."""
    found = []
    while start < end:
        length = int.from_bytes(raw[start + 2 : start + 4], "big")
        body = start + 4
        if body + length > end:
            message = "an item of the request is longer than the request"
            raise Malformed(message)
        found.append((raw[start], body, body + length))
        start = body + length
        if len(found) > most:
            message = f"more than {most} items in one place of the request"
            raise Malformed(message)
    return found
