"""The pages: list of studies, study, upload."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service.domain.review import apply
from service.web.analyses import found_in_short, summarize, teeth_by_image
from service.web.api import RowId
from service.web.downloads import downloads_of
from service.web.figures import figures_of
from service.web.reading import read_page, read_review, read_study
from service.web.services import services_of, shelf_of
from service.web.templating import render

router = APIRouter(include_in_schema=False)
_PAGE = 50


@router.get("/")
def studies(request: Request, page: Annotated[int, Query(ge=1, le=2**24)] = 1) -> HTMLResponse:
    """The list of studies."""
    listed = read_page(request, _PAGE, (page - 1) * _PAGE)
    pages = max(1, -(-listed.total // _PAGE))
    context = {"listed": listed, "page": page, "pages": pages, "settings": services_of(request).settings}
    return render(request, "studies.html", context)


@router.get("/studies/{study_instance_uid}")
def study(request: Request, study_instance_uid: str) -> HTMLResponse:
    """A study: images with what was found in them, and where the results went."""
    found, instances = read_study(request, study_instance_uid)
    shelf = shelf_of(request)
    shown = found.analyzed_job
    entries = read_review(request, study_instance_uid)
    standing = (lambda analyses: apply(study_instance_uid, analyses, entries)) if entries else tuple
    films = {instance.sop_instance_uid for instance in instances if instance.modality == "IO"}
    figures = () if shown is None else figures_of(shown, shelf, standing, films)
    in_short = [summarize(analysis) for figure in figures for analysis in figure.analyses]
    images = [figure.sop_instance_uid for figure in figures]
    context = {
        "study": found,
        "teeth": teeth_by_image(in_short),
        "found": found_in_short(in_short),
        "reason": next((entry.reason for entry in reversed(entries) if entry.reason), ""),
        "instances": instances,
        "job": found.jobs[0] if found.jobs else None,
        "shown": shown,
        "figures": figures,
        "research": any(analysis.algorithm.research for figure in figures for analysis in figure.analyses),
        "downloads": () if shown is None else downloads_of(shown, images, services_of(request).storage),
        "settings": services_of(request).settings,
    }
    return render(request, "study.html", context)


@router.post("/studies/{study_instance_uid}/jobs/{job_id}/retry")
def retry(request: Request, study_instance_uid: str, job_id: RowId) -> Response:
    """The button "Try again": back to the study, whatever there was to do."""
    found, _ = read_study(request, study_instance_uid)
    if job_id not in {job.id for job in found.jobs}:
        raise HTTPException(404, "There is no such job in this study.")
    services_of(request).retry(job_id)
    return RedirectResponse(f"/studies/{study_instance_uid}", 303)


@router.get("/upload")
def upload_form(request: Request) -> HTMLResponse:
    """The form for pictures and DICOM files."""
    return render(request, "upload.html", {"settings": services_of(request).settings})
