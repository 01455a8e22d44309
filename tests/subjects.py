"""What results are made from, built from test data; apart from ``builders`` because it loads the writers of results."""

from pydicom.dataset import Dataset

from service.domain.finding import Analysis
from service.results.subject import Source, Subject
from tests.builders import analysis_of, header_of


def subject_of(ds: Dataset, *analyses: Analysis, revision: int = 1) -> Subject:
    """One image and its analyses as the writers see them; without an analysis: ``analysis_of`` with its defaults."""
    header = header_of(ds)
    found = analyses or (analysis_of(header),)
    return Subject(str(header.StudyInstanceUID), revision, tuple(Source(header, analysis) for analysis in found))
