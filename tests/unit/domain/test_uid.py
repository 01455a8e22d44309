"""One rule for UIDs, from the socket to the folder."""

import pytest

from service.domain.uid import is_uid


@pytest.mark.parametrize("uid", ["1.2", "1.2.840.10008.1.1", "2.25." + "9" * 39, "1.2.03.4", "1." + "2" * 62])
def test_uids(uid: str) -> None:
    """Digits between dots, up to 64 characters, also with leading zeros."""
    assert is_uid(uid)


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.", ".1", "1..2", "1.2a", "1.2/3", "../1.2", "1.2\\n", "1.2\n", "a.2", "1.\u0662", "1." + "2" * 63],
)
def test_no_uids(text: str) -> None:
    """Empty parts, anything but digits and dots, paths, foreign digits, too long."""
    assert not is_uid(text)
