"""What the pages need from the rest of the service."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from fastapi import Request
from sqlalchemy.orm import Session

from service.db.reviews import Request as ReviewRequest
from service.domain.study import ReceivedInstance, Recorded
from service.settings import Settings
from service.storage import Storage
from service.web.analyses import AnalysisShelf


class Record(Protocol):
    """The database, as far as reading goes."""

    def session(self) -> AbstractContextManager[Session]:
        """A session for reading."""


class Intake(Protocol):
    """The way in that uploads share with every modality."""

    def accept_file(self, file: BinaryIO, calling_ae: str) -> tuple[ReceivedInstance, Recorded]:
        """Store and record a DICOM file; on return it is durable.

        Raises:
            Refused: the file is no valid DICOM object, contradicts itself, or there is no room.
        """


@dataclass(frozen=True, slots=True)
class ReadinessItem:
    """One part that must work: its name, whether it does, and one line on what is wrong."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class WebServices:
    """What the web application works with.

    Attributes:
        db: the record.
        storage: instances and artifacts.
        settings: the settings of this installation.
        retry: makes the dead and held rows of a job (its id) due again; returns their number.
        review: adds a request of a reviewer to the record of a study (its UID); False if it was there already.
        ready: asks database, broker and storage whether they work.
    """

    db: Record
    storage: Storage
    settings: Settings
    retry: Callable[[int], int]
    review: Callable[[str, ReviewRequest], bool]
    ready: Callable[[], Sequence[ReadinessItem]]


def services_of(request: Request) -> WebServices:
    """The services of the application that serves this request."""
    services: WebServices = request.app.state.services
    return services


def intake_of(request: Request) -> Intake:
    """The way in for uploads."""
    intake: Intake = request.app.state.intake
    return intake


def wrapping_of(request: Request) -> threading.Lock:
    """Held while a picture is taken apart: 40 megapixels take some 0.7 GB, so it is one at a time."""
    lock: threading.Lock = request.app.state.wrapping
    return lock


def shelf_of(request: Request) -> AnalysisShelf:
    """The analyses that were read lately."""
    shelf: AnalysisShelf = request.app.state.shelf
    return shelf
