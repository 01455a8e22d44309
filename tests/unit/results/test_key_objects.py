"""Which images and results a key object selection points at."""

import io
from dataclasses import replace

import pydicom
from pydicom.dataset import Dataset

from service.results import key_objects, measurement_report, segmentation
from service.results.subject import Subject
from tests.builders import analysis_of, header_of, xray
from tests.subjects import subject_of


def written(subject: Subject) -> Dataset:
    """The one selection of a subject."""
    (result,) = key_objects.write(subject)
    ds = pydicom.dcmread(io.BytesIO(result.content))
    assert (result.kind, result.name) == ("key-objects", ds.SOPInstanceUID)
    return ds


def referenced(ds: Dataset) -> list[tuple[str, str]]:
    """Value type and SOP Instance UID of everything that the selection points at."""
    return [
        (item.ValueType, item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in ds.ContentSequence
        if item.ValueType in {"IMAGE", "COMPOSITE"}
    ]


def two_images() -> Subject:
    """A study of an image with teeth and one without any finding."""
    first = subject_of(xray(seed="a"))
    ds = xray(seed="b", StudyInstanceUID=first.study_instance_uid)
    (empty,) = subject_of(ds, analysis_of(header_of(ds), ())).sources
    return replace(first, sources=(*first.sources, empty))


def test_only_images_with_findings_matter() -> None:
    """The image with teeth is in it with its SR and SEG as they are really written; the one without is not."""
    subject = two_images()
    own = replace(subject, sources=subject.sources[:1])
    (sr,), (seg,) = measurement_report.write(own), segmentation.write(own)
    assert referenced(written(subject)) == [
        ("IMAGE", subject.sources[0].header.SOPInstanceUID),
        ("COMPOSITE", sr.name),
        ("IMAGE", seg.name),
    ]


def test_evidence_holds_every_reference() -> None:
    """What the content points at stands in the evidence with its series, once each (PS3.3 C.17.6.2)."""
    ds = written(two_images())
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == ds.StudyInstanceUID
    listed = [
        each.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for each in series.ReferencedSOPSequence
    ]
    assert sorted(listed) == sorted(uid for _, uid in referenced(ds))


def test_without_findings_there_is_none() -> None:
    """A study in which nothing was found has no key objects."""
    ds = xray()
    assert key_objects.write(subject_of(ds, analysis_of(header_of(ds), ()))) == []


def test_it_says_who_chose_and_that_nobody_verified_it() -> None:
    """The observer is a device, and the description warns."""
    ds = written(two_images())
    texts = {
        item.ConceptNameCodeSequence[0].CodeValue: item.get("TextValue")
        for item in ds.ContentSequence
        if "ConceptNameCodeSequence" in item
    }
    assert texts["113012"].startswith("AI RESULT - NOT VERIFIED - RESEARCH MODEL - NOT FOR DIAGNOSIS: ")
    assert texts["121013"] == "Dentgate tooth-numbering 1.0.0"
    assert ds.ConceptNameCodeSequence[0].CodeValue == "113000"
