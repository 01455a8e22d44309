"""What the status of a stored object means (PS3.4 B.2.3, PS3.7 Annex C), and a line on all objects of a delivery."""

from collections.abc import Sequence

from service.domain.errors import Permanent, Transient
from service.domain.sent import ObjectAnswer

SUCCESS = 0x0000
DUPLICATE = 0x0111  # PS3.7 C.4.1: the PACS has this instance; UIDs are derived from the job, so it is this very one
PROCESSING_FAILURE = 0x0110  # PACS send it when their database or disk fails, so it deserves another try
_WARNINGS = {0x0001, 0x0107, 0x0116}  # PS3.7 Annex C; the B000H family is added by its first digit


def is_transient(status: int) -> bool:
    """Out of resources (A7xxH, PS3.4 B.2.3) or a failure inside the PACS."""
    return status >> 8 == 0xA7 or status == PROCESSING_FAILURE  # noqa: PLR2004 - the status family


def is_warning(status: int) -> bool:
    """Stored, but not as sent."""
    return status >> 12 == 0xB or status in _WARNINGS  # noqa: PLR2004 - the status family


def summary(peer: str, answers: Sequence[ObjectAnswer]) -> str:
    """One line on what the PACS did with all objects.

    Args:
        peer: what it is called in messages.
        answers: of all objects.

    Raises:
        Transient: something is not stored, and some of it may be, later.
        Permanent: something is not stored, and never will be.
    """
    failed = [answer for answer in answers if not answer.stored]
    if failed:
        message = f"{peer} refuses " + "; ".join(map(_words, failed))
        raise Transient(message) if any(is_transient(answer.status) for answer in failed) else Permanent(message)
    there = sum(answer.status == DUPLICATE for answer in answers)
    line = f"{len(answers) - there} stored by {peer}"
    if there:
        line += f", {there} there already"
    warnings = [_words(answer) for answer in answers if is_warning(answer.status)]
    return line + (f"; warning {'; '.join(warnings)}" if warnings else "")


def _words(answer: ObjectAnswer) -> str:
    """In the PACS's own words."""
    return f"{answer.kind}: {answer.status:04X}H {answer.comment}".rstrip()
