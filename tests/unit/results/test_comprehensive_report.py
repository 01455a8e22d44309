"""Comprehensive SR says what the Comprehensive 3D SR says, under a class that older archives take."""

import io
from dataclasses import replace

import highdicom as hd
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from service.domain.result import Result
from service.results import comprehensive_report, measurement_report
from service.results.comprehensive_report import _converted
from tests.builders import analysis_of, header_of, xray
from tests.subjects import subject_of

OWN = {"SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "PredecessorDocumentsSequence"}


def read(result: Result) -> Dataset:
    """Its data set."""
    return pydicom.dcmread(io.BytesIO(result.content))


def test_the_same_content_under_another_class() -> None:
    """Reports with many regions, and one of nothing found: all but class, instance and series is the same."""
    ds = xray()
    for teeth in ((36, 37, 46), ()):
        subject = subject_of(ds, analysis_of(header_of(ds), teeth))
        (three_d,), (plain,) = measurement_report.write(subject), comprehensive_report.write(subject)
        assert plain.kind == "sr-comprehensive"
        one, other = read(three_d), read(plain)
        assert other.SOPClassUID == other.file_meta.MediaStorageSOPClassUID == ComprehensiveSRStorage
        assert plain.name == other.SOPInstanceUID == other.file_meta.MediaStorageSOPInstanceUID != one.SOPInstanceUID
        assert other.SeriesInstanceUID != one.SeriesInstanceUID
        assert [e for e in one if e.keyword not in OWN] == [e for e in other if e.keyword not in OWN]
        groups = hd.sr.srread(io.BytesIO(plain.content)).content.get_planar_roi_measurement_groups()  # type: ignore[attr-defined]
        assert len(groups) == len(teeth)


def test_its_predecessor_is_of_its_kind() -> None:
    """Where a report takes the place of another, so does its Comprehensive SR of the other's Comprehensive SR."""
    (before,), (after,) = (measurement_report.write(subject_of(xray(seed=seed))) for seed in "ab")
    old, new = read(before), read(after)
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = Comprehensive3DSRStorage, old.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = old.SeriesInstanceUID, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = old.StudyInstanceUID, [series]
    new.PredecessorDocumentsSequence = [study]
    buffer = io.BytesIO()
    new.save_as(buffer)
    converted = read(_converted(replace(after, content=buffer.getvalue())))
    named = converted.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    expected = read(_converted(before))
    assert named.SeriesInstanceUID == expected.SeriesInstanceUID
    assert named.ReferencedSOPSequence[0].ReferencedSOPClassUID == ComprehensiveSRStorage
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == expected.SOPInstanceUID
