"""The report on paper."""

import io
import re
import subprocess
import zlib
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
from tests.validators import tool


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


@pytest.mark.parametrize(("number", "pages"), [(1, 1), (2, 1), (4, 1), (9, 2)])
def test_what_fits_stays_on_one_page(number: int, pages: int) -> None:
    """A page or two, with the pictures of the first four images; how many are not shown is said."""
    subject = pictured(several(number))
    assert re.findall(rb"/Count (\d+)", draw_report(subject)) == [str(pages).encode()]
    assert ("Drawn above: the first 4 of 9 images." in words_of(subject)) is (number > 4)


def conditions(number: int) -> Subject:
    """A panoramic with all its teeth and that many conditions, each with a remark of its own."""
    ds = xray()
    kinds = [kind for kind in FINDINGS if kind != "tooth"]
    found = tuple(
        Finding(kinds[place % len(kinds)], 11 + place % 8, 0.5, flags=(f"remark{place:03}",)) for place in range(number)
    )
    analysis = analysis_of(header_of(ds), range(11, 19))
    return subject_of(ds, replace(analysis, findings=(*analysis.findings, *found)))


def test_long_reports_go_on_and_name_the_patient_on_every_page() -> None:
    """Nothing is left out of a report because a page is full: whoever has only this sheet must have all of it."""
    subject = conditions(250)
    words = words_of(subject)
    pages = int(re.findall(rb"/Count (\d+)", draw_report(subject))[0])
    assert pages > 1
    for place in range(250):
        assert f"remark{place:03}" in words
    assert words.count("Patient Probe Dental, ID PROBE-1") == pages
    assert words.count("AI RESULT - NOT VERIFIED - RESEARCH MODEL") == pages
    assert [f"Page {number} of {pages}" in words for number in range(1, pages + 1)] == [True] * pages


def test_very_long_reports_end_with_a_remark() -> None:
    """What does not fit six pages is left out, and that is said; no line stands below the edge of its page."""
    drawn = page_content(conditions(3000))
    heights = [float(y) for y in re.findall(rb"1 0 0 1 [\d.]+ ([\d.]+) Tm", drawn)]
    assert 200 < len(heights) < 480
    assert min(heights) > 30
    assert re.search(r"and \d+ more lines, in the structured report", words_of(conditions(3000)))


def test_pictures_are_not_written_as_letters() -> None:
    """No stream is in ASCII85, which makes it a quarter larger and takes longer than all the rest of the page."""
    assert b"ASCII85" not in draw_report(pictured(subject_of(xray())))


def words_of(subject: Subject) -> str:
    """The words of all pages, as a reader program sees them."""
    read = subprocess.run(
        [tool("pdftotext"), "-", "-"], input=draw_report(subject), stdout=subprocess.PIPE, timeout=60, check=True
    )
    return " ".join(read.stdout.decode().split())


def page_content(subject: Subject) -> bytes:
    """The drawing instructions of all pages."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", draw_report(subject), re.DOTALL)
    return b"".join(raw for raw in map(inflated, streams) if b" Tm" in raw)


def inflated(stream: bytes) -> bytes:
    """A stream as it was before it was packed; fonts and pictures give what they give."""
    try:
        return zlib.decompressobj().decompress(stream)  # the line's end after it is none of it
    except zlib.error:
        return b""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Müller^Jörg", "Patient Müller Jörg, ID PROBE-1"),
        ("Őry^Łucja", "Patient Ory Łucja, ID PROBE-1"),
        ("Yamada^Tarou=山田^太郎", "Patient Yamada Tarou, ID"),
        ("=山田^太郎", "Patient with a name in letters that this page cannot show, ID PROBE-1"),
        ("Παπαδόπουλος^Γιώργος", "Patient with a name in letters that this page cannot show, ID PROBE-1"),
        ("", "Patient without a name, ID PROBE-1"),
        ("A" * 64, "Patient " + "A" * 64),
    ],
)
def test_a_page_never_loses_its_patient_in_silence(name: str, shown: str) -> None:
    """A name in letters that the page has, without their marks, or a word that there is one, and always the number."""
    assert shown in words_of(subject_of(xray(PatientName=name)))


def test_a_page_without_patient_or_number_says_so() -> None:
    """Numbers in another script are said to be there, and missing ones to be missing."""
    assert "Patient without a name, no ID" in words_of(subject_of(xray(PatientName="", PatientID="")))
    words = words_of(subject_of(xray(PatientID="Α-17", StudyDescription="Панорамный")))  # noqa: RUF001 - Greek, Russian
    assert "ID (in letters that this page cannot show)" in words
    assert "Examination (in letters that this page cannot show)" in words
