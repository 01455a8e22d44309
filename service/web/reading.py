"""Reading a study for a request; what is not there is answered with 404."""

from fastapi import HTTPException, Request

from service import clock
from service.db import overview, reviews
from service.db.overview import ArtifactView, InstanceView, StudyView
from service.domain.review import Entry
from service.domain.uid import is_uid
from service.web.services import services_of, shelf_of
from service.web.views import StudyPage, summary_of

NO_STUDY = "There is no such study here."


def read_page(request: Request, limit: int, offset: int) -> StudyPage:
    """A page of the list of studies."""
    shelf = shelf_of(request)
    with services_of(request).db.session() as session:
        studies, total = overview.list_studies(session, limit, offset, clock.now())
    return StudyPage(total, limit, offset, tuple(summary_of(study, shelf) for study in studies))


def read_study(request: Request, study_instance_uid: str) -> tuple[StudyView, tuple[InstanceView, ...]]:
    """A study and its instances. Raises HTTPException 404, also for what cannot be a UID (PS3.5 section 9.1)."""
    if not is_uid(study_instance_uid):
        raise HTTPException(404, NO_STUDY)
    with services_of(request).db.session() as session:
        study = overview.find_study(session, study_instance_uid, clock.now())
        if study is None:
            raise HTTPException(404, NO_STUDY)
        return study, overview.list_instances(session, study_instance_uid)


def read_review(request: Request, study_instance_uid: str) -> tuple[Entry, ...]:
    """What people have said of a study, the oldest first."""
    with services_of(request).db.session() as session:
        seen = reviews.find_seen(session, study_instance_uid)
    return () if seen is None else seen.entries


def read_artifact(request: Request, study_instance_uid: str, artifact_id: int) -> tuple[ArtifactView, bytes]:
    """An artifact of a study and its bytes. Raises HTTPException 404."""
    services = services_of(request)
    artifact = None
    if is_uid(study_instance_uid):
        with services.db.session() as session:
            artifact = overview.find_artifact(session, study_instance_uid, artifact_id)
    if artifact is None:
        raise HTTPException(404, "There is no such result in this study.")
    try:
        with services.storage.open(artifact.storage_key) as file:
            return artifact, file.read()
    except FileNotFoundError:
        raise HTTPException(404, "The file of this result has vanished from storage.") from None
