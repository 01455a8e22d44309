"""What counts as a UID: one rule for receiving, reporting and delivering, so that what is accepted can be reported."""

import re

_LONGEST = 64
_UID = re.compile(r"[0-9]+(\.[0-9]+)+", re.ASCII)


def is_uid(value: str) -> bool:
    """Digits in components between dots, at most 64 characters (PS3.5 section 9); so it can be no path.

    Leading zeros in a component are let through although the standard forbids them: field devices write them,
    every PACS takes them, and nothing here computes with UIDs.
    """
    return len(value) <= _LONGEST and _UID.fullmatch(value) is not None
