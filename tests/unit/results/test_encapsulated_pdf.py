"""The report on one page."""

import io
import re
import zlib
from base64 import a85decode
from dataclasses import replace

import pydicom
import pytest
from pydicom.dataset import Dataset

from service.domain.codes import FINDINGS
from service.domain.finding import Finding
from service.results import encapsulated_pdf
from service.results.report_page import draw_report
from service.results.subject import Subject
from tests.builders import analysis_of, header_of, xray
from tests.subjects import pictured, subject_of


def written(subject: Subject) -> Dataset:
    """The one document of a subject."""
    (result,) = encapsulated_pdf.write(subject)
    ds = pydicom.dcmread(io.BytesIO(result.content))
    assert (result.kind, result.name) == ("pdf", ds.SOPInstanceUID)
    return ds


def several(number: int, teeth: tuple[int, ...] = (36,)) -> Subject:
    """A study of several images."""
    first = subject_of(xray(seed="0"))
    images = [xray(seed=str(each), StudyInstanceUID=first.study_instance_uid) for each in range(number)]
    sources = [subject_of(ds, analysis_of(header_of(ds), teeth)).sources[0] for ds in images]
    return replace(first, sources=tuple(sources))


def test_it_holds_a_pdf_of_one_page() -> None:
    """The document is a PDF of one page, as long as it says, without the byte that makes its length even."""
    ds = written(pictured(subject_of(xray())))
    document = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
    assert document.startswith(b"%PDF-1.")
    assert document.rstrip().endswith(b"%%EOF")
    assert re.findall(rb"/Count (\d+)", document) == [b"1"]
    assert ds.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_it_says_what_it_is() -> None:
    """It is not verified, names its images and its algorithm, and admits that the patient stands in it."""
    subject = several(2)
    ds = written(subject)
    assert (ds.VerificationFlag, ds.BurnedInAnnotation) == ("UNVERIFIED", "YES")
    assert "not verified" in ds.DocumentTitle
    assert [item.ReferencedSOPInstanceUID for item in ds.SourceInstanceSequence] == [
        source.header.SOPInstanceUID for source in subject.sources
    ]
    assert ds.ContributingEquipmentSequence[0].ManufacturerModelName == "tooth-numbering"


def test_one_document_for_the_study() -> None:
    """Several images share a document; one image more makes another document, not another version of the first."""
    assert written(several(2)).SOPInstanceUID != written(several(3)).SOPInstanceUID
    assert encapsulated_pdf.write(replace(several(1), sources=())) == []


def test_the_picture_takes_room() -> None:
    """With a picture of the image the document is larger; without one it is made, too."""
    subject = subject_of(xray())
    assert draw_report(pictured(subject)).count(b"/Subtype /Image") > draw_report(subject).count(b"/Subtype /Image")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 9])
def test_many_images_stay_on_one_page(number: int) -> None:
    """Whatever there is to say, it is one page."""
    assert re.findall(rb"/Count (\d+)", draw_report(pictured(several(number)))) == [b"1"]


def test_very_long_reports_end_with_a_remark() -> None:
    """What does not fit is left out, and that is said: a page holds no more than its lines."""
    ds = xray()
    kinds = [kind for kind in FINDINGS if kind != "tooth"]
    found = tuple(Finding(kinds[place % len(kinds)], 11 + place % 8, 0.5) for place in range(800))
    drawn = page_content(subject_of(ds, replace(analysis_of(header_of(ds), ()), findings=found)))
    heights = [float(y) for y in re.findall(rb"1 0 0 1 [\d.]+ ([\d.]+) Tm", drawn)]
    assert 40 < len(heights) < 80
    assert min(heights) > 30


def page_content(subject: Subject) -> bytes:
    """The drawing instructions of the page."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", draw_report(subject), re.DOTALL)
    (drawn,) = (raw for raw in map(inflated, streams) if b" Tm" in raw)
    return drawn


def inflated(stream: bytes) -> bytes:
    """A stream as it was before it was packed; fonts and pictures give what they give."""
    try:
        return zlib.decompress(a85decode(stream.strip().removesuffix(b"~>")))
    except (ValueError, zlib.error):
        return b""


@pytest.mark.parametrize("name", ["山田^太郎", "Müller^Jörg", "", "A" * 64])
def test_any_name_of_a_patient_can_be_printed(name: str) -> None:
    """Names in other scripts are left out rather than misprinted, and never break the page."""
    assert draw_report(subject_of(xray(PatientName=name))).startswith(b"%PDF")


def test_writing_twice_is_byte_identical() -> None:
    """The same subject gives the same bytes: neither time nor chance stands in the file."""
    subject = pictured(subject_of(xray()))
    assert encapsulated_pdf.write(subject) == encapsulated_pdf.write(subject)
