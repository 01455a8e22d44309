"""Uploads: JPEG and PNG pictures are wrapped as DICOM; all files take the way of a modality, as calling AE "WEB"."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from http import HTTPStatus
from io import BytesIO
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, File, Form, HTTPException, Request, UploadFile
from starlette.responses import RedirectResponse, Response

from service import clock
from service.domain.errors import NotUnderstood, Refused
from service.web.failures import status_of
from service.web.pictures import PictureKind, is_picture
from service.web.services import intake_of, wrapping_of
from service.web.wrapping import PictureLabel, wrap_picture

router = APIRouter(tags=["uploads"])
CALLING_AE = "WEB"
_HEAD = 16
_NO_DICOM = "not a DICOM file"  # what the intake says of a file of another kind


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one uploaded file; either ``study_instance_uid`` or ``error`` is set.

    Attributes:
        recorded: new, same (it was here already) or conflict (another object under the same UID; kept and flagged).
        sentence: the error with the file's name, to be shown as it is.
    """

    name: str
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    recorded: str = ""
    error: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class UploadOutcome:
    """What became of an upload: the studies that now hold the files, and each file."""

    study_instance_uids: tuple[str, ...]
    files: tuple[FileOutcome, ...]


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    message: str


def picture_label(
    kind: Annotated[PictureKind, Form(description="what the pictures show")] = PictureKind.AUTOMATIC,
    patient_id: Annotated[str, Form(max_length=64, description="needed for pictures")] = "",
    family_name: Annotated[str, Form(max_length=64)] = "",
    given_name: Annotated[str, Form(max_length=64)] = "",
    birth_date: Annotated[str, Form(max_length=10, description="YYYY-MM-DD or YYYYMMDD")] = "",
) -> PictureLabel:
    """The fields that go with pictures; DICOM files need none of them, they say themselves whose they are."""
    return PictureLabel(
        kind=kind,
        patient_id=patient_id.strip(),
        family_name=family_name.strip(),
        given_name=given_name.strip(),
        birth_date=birth_date.strip(),
        study_instance_uid=clock.fresh_uid(),
        series_instance_uid=clock.fresh_uid(),
    )


Label = Annotated[PictureLabel, Depends(picture_label)]
Files = Annotated[list[UploadFile], File(description="one or more files")]


@router.post("/api/studies", status_code=201, summary="Upload JPEG, PNG or DICOM files")
def upload(request: Request, label: Label, files: Files) -> UploadOutcome:
    """Take the files in; 201 when at least one was accepted, with what became of each."""
    return _take_all(request, label, files)


@router.post("/upload", include_in_schema=False)
def upload_page(request: Request, label: Label, files: Files) -> Response:
    """The same for a browser without scripts: on to the study, or a page that says what was wrong."""
    outcome = _take_all(request, label, files)
    return RedirectResponse(f"/studies/{outcome.study_instance_uids[0]}", 303)


def _take_all(request: Request, label: PictureLabel, files: Sequence[UploadFile]) -> UploadOutcome:
    """Raises HTTPException when not one file was accepted: 400 what was sent is wrong, 429 or 507 no room now."""
    outcomes: list[FileOutcome] = []
    first: _Refusal | None = None
    for number, file in enumerate(files, start=1):
        try:
            outcomes.append(_take(request, replace(label, instance_number=number), file))
        except (Refused, OSError) as error:
            status, message = status_of(error)
            if status == HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            outcomes.append(_refused(file.filename or "", message))
            first = first or _Refusal(status, outcomes[-1].sentence)
    uids = tuple(dict.fromkeys(outcome.study_instance_uid for outcome in outcomes if outcome.study_instance_uid))
    if first is not None and not uids:
        raise HTTPException(first.status, first.message)
    return UploadOutcome(uids, tuple(outcomes))


def _refused(name: str, message: str) -> FileOutcome:
    """The intake knows DICOM only; the sender of an upload must hear of pictures, too."""
    if message == _NO_DICOM:
        message = "not a JPEG, PNG or DICOM file"
        return FileOutcome(name, error=message, sentence=f"{name or 'the file'} is {message}")
    return FileOutcome(name, error=message, sentence=f"{name or 'file'}: {message}")


def _take(request: Request, label: PictureLabel, file: UploadFile) -> FileOutcome:
    source: BinaryIO = file.file
    head = source.read(_HEAD)
    source.seek(0)
    if not head:
        raise NotUnderstood("the file is empty")
    if is_picture(head):
        _check_label(label)
        with wrapping_of(request):
            source = BytesIO(wrap_picture(source.read(), label))
    instance, recorded = intake_of(request).accept_file(source, CALLING_AE)
    return FileOutcome(
        name=file.filename or "",
        study_instance_uid=instance.study_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        recorded=recorded,
    )


def _check_label(label: PictureLabel) -> None:
    """A picture without a patient would be a result that nobody can file."""
    if not label.patient_id:
        raise NotUnderstood("a picture needs a patient ID")
    if not label.birth_date:
        return
    try:
        born = date.fromisoformat(label.birth_date)
    except ValueError:
        raise NotUnderstood("the birth date is not a date; write it as YYYY-MM-DD") from None
    if born > clock.now().date():
        raise NotUnderstood("the birth date lies in the future")
