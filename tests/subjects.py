"""What results are made from, built from test data; apart from ``builders`` because it loads the writers of results."""

import io
from dataclasses import replace

from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.domain.finding import Analysis
from service.results.subject import Source, Subject
from tests.builders import analysis_of, header_of


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
