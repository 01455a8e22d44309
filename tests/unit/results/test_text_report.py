"""The reports for viewers that cannot show a measurement report without regions."""

import io
from dataclasses import replace

import pydicom
from pydicom.dataset import Dataset

from service.domain.finding import Finding
from service.results import measurement_report, text_report, wording
from service.results.subject import Subject
from tests.builders import analysis_of, header_of, xray
from tests.subjects import subject_of

BASIC_TEXT = "1.2.840.10008.5.1.4.1.1.88.11"


def written(subject: Subject) -> Dataset:
    """The one text report of a subject."""
    results = text_report.write(subject)
    assert {result.kind for result in results} == {"sr-text"}
    (ds,) = (
        each for each in (pydicom.dcmread(io.BytesIO(r.content)) for r in results) if each.SOPClassUID == BASIC_TEXT
    )
    return ds


def lines(ds: Dataset) -> list[str]:
    """The texts of its one section."""
    (section,) = (item for item in ds.ContentSequence if item.ValueType == "CONTAINER")
    return [item.TextValue for item in section.ContentSequence]


def test_findings_with_a_region_stay_measurements() -> None:
    """The report of regions is the very object that other destinations get, so that two archives agree."""
    subject = subject_of(xray())
    (mine,), (other,) = text_report.write(subject), measurement_report.write(subject)
    assert (mine.name, mine.content) == (other.name, other.content)


def test_nothing_found_is_said_in_words() -> None:
    """Where nothing was found the report is text, with every sentence of the conclusion."""
    ds = xray()
    subject = subject_of(ds, analysis_of(header_of(ds), ()))
    assert lines(written(subject)) == wording.sentences(subject.sources)


def test_findings_of_the_whole_image_are_said_in_words() -> None:
    """A finding without region stands in the text with its certainty, beside the report of the regions."""
    ds = xray()
    analysis = analysis_of(header_of(ds))
    subject = subject_of(ds, replace(analysis, findings=(*analysis.findings, Finding("fracture", None, 0.913))))
    assert len(text_report.write(subject)) == 2
    assert lines(written(subject))[-1] == "Fracture: 91 % certain."


def test_it_is_preliminary_and_refers_to_its_image() -> None:
    """Nobody has verified it; its evidence is the image."""
    ds = xray()
    report = written(subject_of(ds, analysis_of(header_of(ds), ())))
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == ds.SOPInstanceUID
