"""What results are made from, built from test data; apart from ``builders`` because it loads the writers of results."""

import io
from dataclasses import replace

from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.domain.finding import Analysis
from service.domain.result import DICOM_RESULTS, Result
from service.results import WRITERS
from service.results.subject import Source, Subject
from tests.builders import analysis_of, header_of, uid_of, xray


def subject_of(ds: Dataset, *analyses: Analysis, revision: int = 1) -> Subject:
    """One image and its analyses as the writers see them; without an analysis: ``analysis_of`` with its defaults."""
    header = header_of(ds)
    found = analyses or (analysis_of(header),)
    return Subject(str(header.StudyInstanceUID), revision, tuple(Source(header, analysis) for analysis in found))


def pictured(subject: Subject, grey: int = 60) -> Subject:
    """The subject with a picture of each image: an even grey of half its size, so that all else was drawn."""
    sources = []
    for source in subject.sources:
        buffer = io.BytesIO()
        Picture.new("L", (source.analysis.columns // 2, source.analysis.rows // 2), grey).save(buffer, "PNG")
        sources.append(replace(source, picture=buffer.getvalue()))
    return replace(subject, sources=tuple(sources))


def every_object(seed: str) -> list[Result]:
    """Every kind of DICOM object, of an image in which teeth were found and of one of the same study with nothing.

    Not the label map, whose SOP class archives of 2022 do not know, and not the rejection note, which needs a review.
    """
    kinds = [kind for kind in DICOM_RESULTS if kind not in {"seg-labelmap", "rejection"}]
    made: dict[str, Result] = {}  # a report of regions is the same object as "sr" and as "sr-text"
    for teeth in ((36, 11, 48), ()):
        ds = xray(seed=f"{seed} {len(teeth)}", StudyInstanceUID=uid_of(seed, "study"))
        subject = pictured(subject_of(ds, analysis_of(header_of(ds), teeth)))
        made |= {result.name: result for kind in kinds for result in WRITERS[kind](subject)}
    return list(made.values())


def content_of(raw: bytes) -> bytes:
    """The data set of a file, without the meta information before it, whose length stands at 140 (PS3.10 7.1)."""
    return raw[144 + int.from_bytes(raw[140:144], "little") :]
