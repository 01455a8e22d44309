"""What the API answers: typed, so that the OpenAPI description names every field."""

from dataclasses import dataclass
from datetime import datetime

from service.db.overview import InstanceView, JobView, StudyView
from service.db.reviews import ReviewLine
from service.db.status import Status
from service.web.analyses import (
    AnalysisShelf,
    ImageChoices,
    ImageFindings,
    count_teeth,
    found_in_short,
    teeth_by_image,
)


@dataclass(frozen=True, slots=True)
class StudySummary:
    """One line of the list of studies.

    Attributes:
        state: what is durably done for the newest revision, "receiving" before the first.
        status: the same in words, with what is being done or what failed.
        teeth_found: different teeth in all images together; null if no image was read for teeth yet.
        teeth_per_image: teeth in each image that was read for teeth, in the order of the study page.
        found: what else was found, in short.
        review: where the review by a person stands; ``reviewed`` says it in words.
    """

    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    study_date: str
    description: str
    calling_ae: str
    received_at: datetime
    images: int
    conflicts: int
    revision: int
    state: str
    status: Status
    teeth_found: int | None
    teeth_per_image: tuple[int, ...]
    found: str
    review: ReviewLine
    reviewed: str


@dataclass(frozen=True, slots=True)
class StudyPage:
    """A page of the list of studies, the newest first."""

    total: int
    limit: int
    offset: int
    studies: tuple[StudySummary, ...]


@dataclass(frozen=True, slots=True)
class StudyDetail:
    """A study with its jobs (the newest revision first), stages, deliveries, artifacts and findings in short.

    Attributes:
        findings: one entry for each model and image.
        choices: why each model was, or was not, run on each image.
    """

    study: StudySummary
    jobs: tuple[JobView, ...]
    instances: tuple[InstanceView, ...]
    findings: tuple[ImageFindings, ...]
    choices: tuple[ImageChoices, ...]


@dataclass(frozen=True, slots=True)
class Retried:
    """How many stages or deliveries were made due again; 0 when there was nothing to do."""

    retried: int


def summary_of(study: StudyView, shelf: AnalysisShelf) -> StudySummary:
    """A study as a line of the list."""
    findings = shelf.of_study(study)
    return StudySummary(
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        patient_name=study.patient_name,
        patient_birth_date=study.patient_birth_date,
        study_date=study.study_date,
        description=study.description,
        calling_ae=study.calling_ae,
        received_at=study.received_at,
        images=study.images,
        conflicts=study.conflicts,
        revision=study.jobs[0].revision if study.jobs else 0,
        state=study.jobs[0].state if study.jobs else "receiving",
        status=study.status,
        teeth_found=count_teeth(findings),
        teeth_per_image=teeth_by_image(findings),
        found=found_in_short(findings),
        review=study.review,
        reviewed=study.review.words,
    )


def detail_of(study: StudyView, instances: tuple[InstanceView, ...], shelf: AnalysisShelf) -> StudyDetail:
    """A study with everything that is known of it."""
    job = study.analyzed_job or (study.jobs[0] if study.jobs else None)
    choices = () if job is None else shelf.choices(job)
    return StudyDetail(summary_of(study, shelf), study.jobs, instances, shelf.of_study(study), choices)
