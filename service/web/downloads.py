"""The results of a study as links: with several images each one says which image it was made from."""

import re
from collections import Counter
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
    "pdf": "Report on paper (DICOM PDF)",
    "key-objects": "Key images (DICOM KOS)",
    "rejection": "Note on results that no longer count (DICOM KOS)",
    "report": "Report (FHIR)",
    "oru": "Report (HL7 v2)",
}
_SHOWN_ELSEWHERE = {"preview", "analysis", "choices", "reported"}
_HEAD = 65536  # bytes; SR and SEG name their image (PS3.3 C.17.2 evidence, C.7.6.16 sources) before content and pixels
#: (0008,103E) LO in Explicit VR Little Endian, as all results are written
_SERIES_DESCRIPTION = re.compile(rb"\x08\x00\x3e\x10LO..AI: ([\x20-\x27\x2a-\x7e]{1,60}?) \(", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Download:
    """One result and what its link says."""

    artifact: ArtifactView
    label: str


def downloads_of(job: JobView, images: Sequence[str], storage: Storage) -> tuple[Download, ...]:
    """The results of a job in the order in which they were made; ``images`` are SOP Instance UIDs as the page shows.

    Results that would be called the same, those of several models, say what their series is called.
    """
    listed = [artifact for artifact in job.artifacts if artifact.kind not in _SHOWN_ELSEWHERE]
    heads = [_head(artifact, storage) for artifact in listed]
    labels = []
    for artifact, head in zip(listed, heads, strict=True):
        label = _NAMES.get(artifact.kind, artifact.kind)
        number = _image_number(head, images) if len(images) > 1 else None
        labels.append(label if number is None else f"{label}, image {number}")
    counts = Counter(labels)
    return tuple(
        Download(artifact, f"{label}: {_description(head)}" if counts[label] > 1 and _description(head) else label)
        for artifact, head, label in zip(listed, heads, labels, strict=True)
    )


def _head(artifact: ArtifactView, storage: Storage) -> bytes:
    """The beginning of a DICOM result; nothing of another, or where its file is lost."""
    if artifact.media_type != "application/dicom":
        return b""
    try:
        with storage.open(artifact.storage_key) as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def _image_number(head: bytes, images: Sequence[str]) -> int | None:
    """The one image that a DICOM result refers to; None for a result of all images."""
    uids = {match.decode("ascii") for match in re.findall(rb"[0-9.]+", head)}
    numbers = [number for number, uid in enumerate(images, start=1) if uid in uids]
    return numbers[0] if len(numbers) == 1 else None


def _description(head: bytes) -> str:
    """What the series is about: "tooth conditions" of "AI: tooth conditions (unverified), series 1 image 1"."""
    match = _SERIES_DESCRIPTION.search(head)
    return "" if match is None else match[1].decode()
