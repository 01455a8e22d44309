"""Results and their delivery, as the writers of results and the destinations both see them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.domain.sent import ObjectAnswer

#: Kinds of results that are DICOM objects.
DICOM_RESULTS = (
    "sr",
    "sr-text",
    "sr-comprehensive",
    "seg",
    "seg-plane",
    "seg-labelmap",
    "presentation-state",
    "secondary-capture",
    "pdf",
    "key-objects",
    "rejection",
)


@dataclass(frozen=True, slots=True)
class Result:
    """A finished result.

    Attributes:
        kind: one of ``DICOM_RESULTS``, report (FHIR) or oru (HL7 v2).
        name: SOP Instance UID, or the identifier of the report.
        media_type: application/dicom, application/fhir+json or application/hl7-v2.
        content: the bytes; equal whenever the same subject is written again.
    """

    kind: str
    name: str
    media_type: str
    content: bytes


def _unheard(_answer: ObjectAnswer) -> None:
    """Nobody keeps it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What goes to one destination in one attempt.

    Attributes:
        study_instance_uid: the study.
        revision: its revision, 1 for the first.
        results: what this destination wants, in the order in which it was made.
        attempt: 1 for the first; a later attempt MUST look whether an earlier one had arrived.
        note: is told what the peer said to each object, also when the delivery fails; what it has is not sent again.
    """

    study_instance_uid: str
    revision: int
    results: Sequence[Result]
    attempt: int
    note: Callable[[ObjectAnswer], None] = _unheard
