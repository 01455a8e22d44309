"""For machines that watch: alive, ready, metrics. No patient data."""

from datetime import timedelta

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse

from service import clock
from service.db import overview
from service.db.backlog import waiting_studies
from service.db.queueing import longest_waits
from service.db.reconciliation import reconcile
from service.db.status import Condition
from service.web.accounts import read_sources
from service.web.services import WebServices, services_of

router = APIRouter(tags=["health"])
_UNDELIVERED = [condition for condition in Condition if condition is not Condition.DONE]


@router.get("/healthz", summary="Is the process alive")
def healthz() -> dict[str, str]:
    """Always 200 while the process answers."""
    return {"status": "ok"}


@router.get("/readyz", summary="Do database, storage, queue and broker work")
def readyz(request: Request) -> JSONResponse:
    """200 when everything works, 503 when not; names what fails."""
    items = services_of(request).ready()
    failing = [item.name for item in items if not item.ok]
    body = {
        "ready": not failing,
        "failing": failing,
        "checks": [{"name": item.name, "ok": item.ok, "detail": item.detail} for item in items],
    }
    return JSONResponse(body, 503 if failing else 200)


@router.get("/metrics", summary="Figures in Prometheus' text format")
def metrics(request: Request) -> PlainTextResponse:
    """Jobs by state, open studies, outbox rows, waits, undelivered rows by destination, account, silence, room."""
    services = services_of(request)
    with services.db.session() as session:
        now = clock.now()
        counts = overview.count_work(session, now)
        account = reconcile(session, now - timedelta(days=1), now)
        sources = read_sources(session, services.settings.source, now)
        waiting = waiting_studies(session)
        waits = longest_waits(session, now)
    lines = _metric(
        "dentgate_jobs", "Jobs by what is durably done.", {f'state="{k}"': v for k, v in counts.jobs.items()}
    )
    lines += _metric("dentgate_studies_open", "Studies that may still receive images.", {"": counts.open_studies})
    rows = {"due": counts.due, "retrying": counts.retrying, "dead": counts.dead, "held": counts.held}
    lines += _metric(
        "dentgate_outbox_rows",
        "Unfinished work; what is retrying counts as due, too.",
        {f'condition="{k}"': v for k, v in rows.items()},
    )
    lines += _metric(
        "dentgate_longest_wait_seconds",
        "Of the first in line: since its last image for the relay to close it, since it was due for a worker.",
        {f'step="{name}"': int(seconds) for name, seconds in waits.items()},
    )
    names = [destination.name for destination in services.settings.destination]
    undelivered = {(name, condition): 0 for name in names for condition in _UNDELIVERED} | counts.deliveries
    lines += _metric(
        "dentgate_deliveries",
        "Results that a destination does not have yet.",
        {f'destination="{name}",condition="{condition}"': number for (name, condition), number in undelivered.items()},
    )
    lines += _metric(
        "dentgate_adrift",
        "Studies and images of the last 24 hours that are in no step of the way; must be 0.",
        {"": len(account.adrift)},
    )
    lines += _metric(
        "dentgate_source_silent",
        "1 when a sender has sent nothing for longer than its silent_hours.",
        {f'source="{_label(source.ae_title)}"': int(source.silent) for source in sources},
    )
    lines += _refusals(services, waiting)
    lines += _metric("dentgate_storage_free_bytes", "Room left in storage.", {"": services.storage.free_bytes()})
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")


def _refusals(services: WebServices, waiting: int) -> list[str]:
    """Whether new images are refused, and why."""
    most, reserve = services.settings.listener.max_waiting_studies, services.settings.storage.reserve_mb << 20
    refusing = {"queue": bool(most) and waiting >= most, "storage": services.storage.free_bytes() < reserve}
    lines = _metric("dentgate_studies_waiting", "Studies that wait for images, analysis or report.", {"": waiting})
    return lines + _metric(
        "dentgate_refusing", "1 while new images are refused.", {f'reason="{k}"': int(v) for k, v in refusing.items()}
    )


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _metric(name: str, text: str, values: dict[str, int]) -> list[str]:
    samples = [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in values.items()]
    return [f"# HELP {name} {text}", f"# TYPE {name} gauge", *samples]
