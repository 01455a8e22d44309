"""Findings -> artifact, without network. A new result is one module here and one line in WRITERS."""

from collections.abc import Sequence
from typing import Protocol

from service.domain.result import Result
from service.results import (
    comprehensive_report,
    diagnostic_report,
    encapsulated_pdf,
    key_objects,
    measurement_report,
    oru_message,
    presentation_state,
    rejection,
    secondary_capture,
    segmentation,
    text_report,
)
from service.results.subject import Subject


class Writer(Protocol):
    """Makes the results of one kind. MUST be a pure function of the subject: no clock, no random UID, no network."""

    def __call__(self, subject: Subject) -> Sequence[Result]:
        """The results: one for each source, one for all of them, or none.

        Raises:
            Permanent: the result cannot be made from this study; the message says why.
        """


#: Kind of result -> its writer, in the order in which they are made. Adding one is one line.
WRITERS: dict[str, Writer] = {
    "seg": segmentation.write,
    "seg-plane": segmentation.write_plane,
    "seg-labelmap": segmentation.write_labelmap,
    "sr": measurement_report.write,
    "sr-text": text_report.write,
    "sr-comprehensive": comprehensive_report.write,
    "presentation-state": presentation_state.write,
    "secondary-capture": secondary_capture.write,
    "pdf": encapsulated_pdf.write,
    "key-objects": key_objects.write,
    "rejection": rejection.write,
    "report": diagnostic_report.write,
    "oru": oru_message.write,
}
