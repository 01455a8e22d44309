"""What a review means for the stages: whose findings a report holds, and what may still be sent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.db import reviews
from service.db.jobs import Work
from service.db.outbox import Claim
from service.domain.errors import Waiting
from service.domain.finding import Analysis
from service.domain.result import DICOM_RESULTS
from service.domain.review import Signature, apply, signature_of
from service.results.subject import Reference, Subject
from workers import pixels
from workers.app import Context

REJECTION = "rejection"
RECORD_KINDS = ("report", "oru")  # a record holds one report of a study, the newest; an archive keeps all objects
WAITS_FOR_REVIEW = (
    "the report that a person signed stays; the newer AI findings wait for review (POST /api/studies/UID/review)"
)
_WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Review:
    """The review that a report is made from.

    Attributes:
        analyses: as the person let them stand.
    """

    signature: Signature
    analyses: Sequence[Analysis]

    def kinds(self, wanted: set[str]) -> set[str]:
        """Kinds of results to write: after a withdrawal only those that take back."""
        return wanted & set(RECORD_KINDS) | {REJECTION} if self.signature.withdrawn else wanted

    def sign(self, context: Context, work: Work, subject: Subject) -> Subject:
        """The subject under the person's name, with all that was made of the study before."""
        sources = tuple(replace(source, signature=self.signature) for source in subject.sources)
        return replace(subject, sources=sources, earlier=tuple(_earlier(context, work)))


def review_of(context: Context, work: Work, analyses: Sequence[Analysis]) -> Review | None:
    """The review of a job that a signature brought about; None for a job that images brought about."""
    entries = reviews.load_context(context.services.db, work.job_id).entries
    signature = signature_of(entries)
    if signature is None:
        return None
    return Review(signature, apply(work.study_instance_uid, analyses, entries))


@dataclass(frozen=True, slots=True)
class Allowed:
    """What of a job may go to a destination now.

    Attributes:
        kinds: of results.
        note: what is said of those that may not; empty = nothing is kept back.
        waits: that a person has to review first.
        takes_back: the job withdraws what was sent before; nothing may keep that from its way.
    """

    kinds: tuple[str, ...]
    note: str = ""
    waits: bool = False
    takes_back: bool = False


def allowed_kinds(context: Context, taken: Claim, work: Work, kinds: Sequence[str], takes: Sequence[str]) -> Allowed:
    """What may be sent, in view of all reviews of the study that are recorded at this moment.

    Args:
        context: of the worker.
        taken: the claim on the delivery; it was made before this is asked, so that a signature that comes later waits.
        work: the job.
        kinds: what the destination gets.
        takes: what it could get.

    Raises:
        Waiting: an earlier report of the study is being delivered there at this moment.
    """
    db = context.services.db
    review = reviews.load_context(db, work.job_id)
    if review.newest is None:
        return Allowed(tuple(kinds))
    if review.newest == work.job_id:
        if reviews.earlier_in_hand(db, work.job_id, taken.destination):
            message = "waits for an earlier report of the study that is under way to this destination"
            raise Waiting(message, _WAIT_SECONDS)
        more = (REJECTION,) if review.withdrawn and REJECTION in takes else ()
        return Allowed(tuple(dict.fromkeys((*kinds, *more))), takes_back=review.withdrawn)
    if review.withdrawn:
        return Allowed((), "not sent: a person withdrew the reports of this study")
    rest = tuple(kind for kind in kinds if kind not in RECORD_KINDS)
    if len(rest) == len(kinds):
        return Allowed(rest)
    if work.revision > review.signed_revision and not review.entries:
        return Allowed(rest, WAITS_FOR_REVIEW, waits=True)
    return Allowed(rest, "the report itself was not sent: one that a person signed later takes its place")


def is_taken_back(context: Context, work: Work, kinds: Sequence[str]) -> bool:
    """Whether a rejection note told the archive to drop what a job sent there: it must not be sent once more.

    Args:
        context: of the worker.
        work: the job.
        kinds: what the destination gets; a note goes out for a withdrawal, and on signing where they name it.
    """
    review = reviews.load_context(context.services.db, work.job_id)
    return review.newest not in {None, work.job_id} and (review.withdrawn or REJECTION in kinds)


def _earlier(context: Context, work: Work) -> list[Reference]:
    """Every DICOM object of earlier revisions that some destination takes; a file that was removed is left out."""
    services = context.services
    kinds = {kind for _, taken in services.destinations.values() for kind in taken if kind in DICOM_RESULTS}
    references = dict[str, Reference]()
    for kind, key in reviews.earlier_results(services.db, work.job_id, kinds):
        try:
            with services.storage.open(key) as file:
                header = pixels.read_header(file)
        except FileNotFoundError:
            continue
        uid = str(header.SOPInstanceUID)
        references.setdefault(uid, Reference(kind, str(header.SeriesInstanceUID), str(header.SOPClassUID), uid))
    return list(references.values())
