"""Which of two versions of a report stands: the one in the record or ours. A person's word is never lost."""

import re
from datetime import UTC, datetime

from service.domain.codes import REVISION_SYSTEM
from service.domain.errors import Held
from service.export.fhir_record import Json, identifier_of

#: Nobody has taken responsibility: the AI may replace its own words.
UNREAD = frozenset({"registered", "partial", "preliminary"})
WITHDRAWN = "entered-in-error"
SAME = "is there already"
#: "2/ab12" of an algorithm alone, "2/ab12/review/5" or "2.5/ab12" under the fifth entry of a review.
_REVISION = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?")
_SIGNATURE = re.compile(r"review/(\d{1,9})")


def status_of(resource: Json) -> str:
    """What a report or document is, in the words of diagnostic-report-status."""
    if resource["resourceType"] == "DocumentReference":
        return WITHDRAWN if resource.get("status") == WITHDRAWN else str(resource.get("docStatus") or "final")
    return str(resource.get("status"))


def standing(there: Json, ours: Json) -> str:
    """Why nothing needs to be sent, empty if what is there is to be replaced.

    Raises:
        Held: a person read or withdrew what is there, and ours is something else.
    """
    our_revision, their_revision = identifier_of(ours, REVISION_SYSTEM), identifier_of(there, REVISION_SYSTEM)
    if our_revision == their_revision:
        return SAME
    status = status_of(there)
    if status_of(ours) == WITHDRAWN:
        return f"is there already, {WITHDRAWN}" if status == WITHDRAWN else ""
    (our_signature, our_number), (their_signature, their_number) = _numbers(our_revision), _numbers(their_revision)
    if their_signature > our_signature and (our_signature or their_number >= our_number):
        return f"is there already, {status}"
    if their_signature == our_signature and (our_number, _issued(ours)) < (their_number, _issued(there)):
        return "is there already in a newer revision"
    signed_here = their_signature and our_signature and status != WITHDRAWN  # both times in Dentgate
    if status not in UNREAD and not signed_here:
        what = "AI result" if status_of(ours) in UNREAD else "report"
        message = f"the report in the record is {status}; a dentist must decide on the newer {what}"
        raise Held(message)
    return ""


def _numbers(revision: str) -> tuple[int, int]:
    """Number of the signature, 0 where nobody signed, and revision of the study."""
    number = _REVISION.match(revision)
    signature = _SIGNATURE.search(revision)
    if number is None:
        return 0, 0
    return int(signature[1]) if signature else int(number[2] or 0), int(number[1])


def _issued(resource: Json) -> datetime:
    try:
        moment = datetime.fromisoformat(str(resource.get("issued") or resource.get("date")))
    except ValueError:
        moment = datetime.fromtimestamp(0, UTC)
    return moment.replace(tzinfo=moment.tzinfo or UTC)
