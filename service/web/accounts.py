"""The account of a day and the modalities that have fallen silent, for programs."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from service import clock
from service.db.reconciliation import Account, last_received, reconcile
from service.settings import SourceSettings
from service.web.services import services_of

router = APIRouter(tags=["account"])


@dataclass(frozen=True, slots=True)
class SourceView:
    """A sender of the settings: when it last sent an image, and whether that is longer ago than it should be."""

    ae_title: str
    last_received_at: datetime | None
    silent: bool


@dataclass(frozen=True, slots=True)
class DayAccount:
    """What was received from ``since`` to ``until``, and where it is now; ``balanced``: nothing is adrift."""

    since: datetime
    until: datetime
    balanced: bool
    account: Account
    sources: tuple[SourceView, ...]


Day = Annotated[date | None, Query(description="UTC, default today")]


@router.get("/api/reconciliation", summary="Received = analyzed or declined = reported = delivered, held or dead")
def get_reconciliation(request: Request, day: Day = None) -> DayAccount:
    """The account of one day."""
    services = services_of(request)
    since = datetime.combine(day or clock.now().date(), time(), UTC)
    until = since + timedelta(days=1)
    with services.db.session() as session:
        account = reconcile(session, since, until)
        sources = read_sources(session, services.settings.source, clock.now())
    return DayAccount(since, until, not account.adrift, account, sources)


def read_sources(session: Session, sources: tuple[SourceSettings, ...], now: datetime) -> tuple[SourceView, ...]:
    """Each sender of the settings. One that never sent is silent, too, if it should send."""
    heard = last_received(session)
    return tuple(_source(entry, heard.get(entry.ae_title), now) for entry in sources)


def _source(entry: SourceSettings, last: datetime | None, now: datetime) -> SourceView:
    patience = timedelta(hours=entry.silent_hours)
    return SourceView(entry.ae_title, last, silent=bool(patience) and (last is None or now - last > patience))
