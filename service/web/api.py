"""The API for programs: the state of every study, job and delivery, and the results themselves."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request
from starlette.responses import HTMLResponse, Response

from service.db import overview
from service.web.reading import read_artifact, read_page, read_study
from service.web.services import services_of, shelf_of
from service.web.templating import render
from service.web.views import Retried, StudyDetail, StudyPage, detail_of

router = APIRouter(tags=["studies"])
Limit = Annotated[int, Query(ge=1, le=500, description="studies on a page")]
Offset = Annotated[int, Query(ge=0, le=2**31, description="studies to skip")]
RowId = Annotated[int, Path(ge=1, le=2**31 - 1)]
_SUFFIXES = {
    "application/dicom": "dcm",
    "application/fhir+json": "json",
    "application/hl7-v2": "hl7",
    "application/json": "json",
    "image/png": "png",
}


@router.get("/api/studies", summary="List studies, the newest first")
def list_studies(request: Request, limit: Limit = 50, offset: Offset = 0) -> StudyPage:
    """A page of the list, with the number of all studies."""
    return read_page(request, limit, offset)


@router.get("/api/studies/{study_instance_uid}", summary="One study: jobs, stages, deliveries, artifacts, findings")
def get_study(request: Request, study_instance_uid: str) -> StudyDetail:
    """Everything known of a study; 404 if it is not here."""
    study, instances = read_study(request, study_instance_uid)
    return detail_of(study, instances, shelf_of(request))


@router.get(
    "/api/studies/{study_instance_uid}/artifacts/{artifact_id}",
    summary="Download an SR, SEG, report, preview or analysis",
    response_class=Response,
)
def get_artifact(request: Request, study_instance_uid: str, artifact_id: RowId) -> Response:
    """The bytes as they were made and delivered."""
    artifact, content = read_artifact(request, study_instance_uid, artifact_id)
    suffix = _SUFFIXES.get(artifact.media_type, "bin")
    disposition = "inline" if artifact.media_type == "image/png" else "attachment"
    headers = {"Content-Disposition": f'{disposition}; filename="{artifact.kind}-{artifact.id}.{suffix}"'}
    return Response(content, media_type=artifact.media_type, headers=headers)


@router.post("/api/jobs/{job_id}/retry", summary="Do what failed or was held again; safe to press twice")
def retry_job(request: Request, job_id: RowId) -> Retried:
    """Make the dead and held rows of a job due again."""
    services = services_of(request)
    with services.db.session() as session:
        known = overview.find_job(session, job_id) is not None
    if not known:
        raise HTTPException(404, "There is no such job.")
    return Retried(services.retry(job_id))


@router.get("/api/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """The operations, from the OpenAPI description; loads nothing from elsewhere."""
    description = request.app.openapi()
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    return render(request, "docs.html", {"operations": operations, "schemas": description["components"]["schemas"]})
