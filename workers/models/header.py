"""Reading of header values that may be odd: whatever pydicom raises, a judgement goes on."""

import struct
import warnings
from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException

#: What pydicom raises for a value that it cannot convert: an unknown VR, a wrong length, no number, a broken sequence.
UNREADABLE = (
    NotImplementedError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, EOFError, OSError,
    BytesLengthException, struct.error,
)  # fmt: skip


def text(header: Dataset, keyword: str) -> str:
    """A value in capitals without blanks at its ends; empty where there is none or it cannot be read."""
    try:
        value = header.get(keyword)
        return "" if value is None else str(value).strip().upper()
    except UNREADABLE:
        return ""


def number(header: Dataset, keyword: str, default: int = 0) -> int:
    """A whole number; ``default`` where there is none. Raises one of UNREADABLE."""
    value = header.get(keyword)
    return default if value is None or value == "" else int(value)


def items(header: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; none where it is missing or cannot be read."""
    try:
        return list(header.get(keyword) or ())
    except UNREADABLE:
        return []


def codes(header: Dataset, keyword: str) -> list[tuple[str, str]]:
    """Code value and scheme, in capitals, of the items of a coded sequence; codes of any length (PS3.3 8.8)."""
    return [
        (text(item, "CodeValue") or text(item, "LongCodeValue"), text(item, "CodingSchemeDesignator"))
        for item in items(header, keyword)
    ]


def unreadable(header: Dataset, keywords: Iterable[str], numbers: Iterable[str]) -> list[str]:
    """Which of the keywords hold values that cannot be read; those in ``numbers`` must be whole numbers."""
    whole = frozenset(numbers)
    return [keyword for keyword in keywords if not _readable(header, keyword, whole=keyword in whole)]


def _readable(header: Dataset, keyword: str, *, whole: bool) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = header.get(keyword)
            if whole and value not in {None, ""}:
                int(value)
        except UNREADABLE:
            return False
    return True
