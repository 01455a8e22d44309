"""The one door to time, randomness and fresh UIDs (ruff's banned-api guards it)."""

import secrets
import uuid
from datetime import UTC, datetime


def now() -> datetime:
    """The current time in UTC, with its zone."""
    return datetime.now(UTC)  # noqa: TID251 - this is the door


def local(moment: datetime) -> datetime:
    """The same moment by the clinic's own clock: in the time zone of this machine (of a container, TZ)."""
    return moment.astimezone()


def token() -> str:
    """A random token of 128 bits, for leases."""
    return secrets.token_hex(16)


def jitter() -> float:
    """A random number from 0 to 1, so that many do not knock at the same moment."""
    return secrets.randbelow(1_000_000) / 1_000_000


def fresh_uid() -> str:
    """A new DICOM UID below 2.25 (PS3.5 B.2), for objects that Dentgate itself brings into being, such as uploads."""
    return f"2.25.{uuid.uuid4().int}"  # noqa: TID251 - this is the door
