"""The web application: pages for people, JSON for programs, one process for any number of browsers.

Handlers are plain functions; FastAPI runs them in threads, so a slow disk never stops the event loop.
"""

import threading
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from service.signing import KeySet
from service.web import accounts, api, failures, health, pages, review, uploads, well_known
from service.web.analyses import AnalysisShelf
from service.web.guard import BodyLimit, CrowdLimit, HostCheck, OriginCheck, SecurityHeaders, UserCheck
from service.web.services import Intake, ReadinessItem, WebServices

__all__ = ["Intake", "ReadinessItem", "WebServices", "create_app"]

_STATIC = Path(__file__).parent / "static"
_MEGABYTE = 1024 * 1024
_MOST_UPLOADS = 8  # at a time
_FORM_ALLOWANCE = 64 * 1024  # fields and boundaries around the files


def create_app(services: WebServices, intake: Intake) -> FastAPI:
    """Put the application together.

    Args:
        services: record, storage, settings and the two actions of the pages.
        intake: the way in for uploads, the same that a modality takes.
    """
    app = FastAPI(
        title="Dentgate",
        description="State of every study, job and delivery; uploads; results.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    web = services.settings.web
    app.state.services = services
    app.state.intake = intake
    app.state.wrapping = threading.Lock()
    app.state.shelf = AnalysisShelf(services.storage)
    app.state.key_set = KeySet(services.settings.destination)
    parts = (health, well_known, api, review, accounts, uploads, pages)
    for part in parts:
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    failures.install(app)
    # The last one added is the first to see a request.
    app.add_middleware(CrowdLimit, most=_MOST_UPLOADS)
    app.add_middleware(BodyLimit, limit=web.max_upload_mb * _MEGABYTE + _FORM_ALLOWANCE)
    app.add_middleware(UserCheck, header=web.user_header)
    app.add_middleware(OriginCheck, public=web.public_hosts)
    app.add_middleware(HostCheck, host=web.host, public=web.public_hosts)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(failures.LastResort)
    return app
