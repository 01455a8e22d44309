"""The measurement reports as Comprehensive SR (PS3.3 A.35.3), for archives that do not take Comprehensive 3D SR.

Our regions are coordinates of an image, so the content is allowed in both classes and stays as it is; class, instance
and series are others, and so are those of the reports that it takes the place of.
"""

import io
from collections.abc import Iterator, Sequence

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage

from service.domain.result import Result
from service.results import measurement_report
from service.results.evidence import unwarned
from service.results.identity import derived_uid
from service.results.subject import Subject

KIND = "sr-comprehensive"


@unwarned()
def write(subject: Subject) -> Sequence[Result]:
    """Each measurement report of the subject as Comprehensive SR.

    Raises:
        Permanent: as ``measurement_report.write``.
    """
    return [_converted(result) for result in measurement_report.write(subject)]


def _converted(report: Result) -> Result:
    ds = pydicom.dcmread(io.BytesIO(report.content))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(ComprehensiveSRStorage)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(_instead_of(ds.SOPInstanceUID))
    ds.SeriesInstanceUID = _instead_of(ds.SeriesInstanceUID)
    for series, instance in _predecessors(ds):
        if instance.ReferencedSOPClassUID == Comprehensive3DSRStorage:
            instance.ReferencedSOPClassUID = ComprehensiveSRStorage
            instance.ReferencedSOPInstanceUID = _instead_of(instance.ReferencedSOPInstanceUID)
            series.SeriesInstanceUID = _instead_of(series.SeriesInstanceUID)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return Result(KIND, str(ds.SOPInstanceUID), report.media_type, buffer.getvalue())


def _predecessors(ds: Dataset) -> Iterator[tuple[Dataset, Dataset]]:
    """Series and instance items of Predecessor Documents Sequence (PS3.3 C.17.2.3)."""
    for study in ds.get("PredecessorDocumentsSequence") or ():
        for series in study.ReferencedSeriesSequence:
            for instance in series.ReferencedSOPSequence:
                yield series, instance


def _instead_of(uid: str) -> str:
    return derived_uid(KIND, str(uid))
