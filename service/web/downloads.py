"""The results of a study as links: with several images each one says which image it was made from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.db.overview import ArtifactView, JobView
from service.storage import Storage

_NAMES = {
    "sr": "Structured report (DICOM SR)",
    "sr-text": "Structured report, the rest in words (DICOM SR)",
    "seg": "Segmentation (DICOM SEG)",
    "seg-plane": "Segmentation with detector plane (DICOM SEG)",
    "sr-comprehensive": "Structured report as Comprehensive SR (DICOM SR)",
    "seg-labelmap": "Segmentation as label map (DICOM SEG)",
    "presentation-state": "Outlines and numbers (DICOM GSPS)",
    "secondary-capture": "Picture of the result (DICOM SC)",
    "pdf": "Report on one page (DICOM PDF)",
    "key-objects": "Key images (DICOM KOS)",
    "report": "Report (FHIR)",
}
_SHOWN_ELSEWHERE = {"preview", "analysis", "choices", "reported"}
_HEAD = 65536  # bytes; SR and SEG name their image (PS3.3 C.17.2 evidence, C.7.6.16 sources) before content and pixels


@dataclass(frozen=True, slots=True)
class Download:
    """One result and what its link says."""

    artifact: ArtifactView
    label: str


def downloads_of(job: JobView, images: Sequence[str], storage: Storage) -> tuple[Download, ...]:
    """The results of a job in the order in which they were made; ``images`` are SOP Instance UIDs as the page shows."""
    found = []
    for artifact in job.artifacts:
        if artifact.kind not in _SHOWN_ELSEWHERE:
            label = _NAMES.get(artifact.kind, artifact.kind)
            number = _image_number(artifact, images, storage) if len(images) > 1 else None
            found.append(Download(artifact, label if number is None else f"{label}, image {number}"))
    return tuple(found)


def _image_number(artifact: ArtifactView, images: Sequence[str], storage: Storage) -> int | None:
    """The one image that a DICOM result refers to; None for a result of all images, or where its file is lost."""
    if artifact.media_type != "application/dicom":
        return None
    try:
        with storage.open(artifact.storage_key) as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    uids = {match.decode("ascii") for match in re.findall(rb"[0-9.]+", head)}
    numbers = [number for number, uid in enumerate(images, start=1) if uid in uids]
    return numbers[0] if len(numbers) == 1 else None
