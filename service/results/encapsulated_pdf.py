"""Encapsulated PDF (PS3.3 A.45.1): the report on paper, for archives and records that show documents."""

from collections.abc import Sequence

from pydicom.uid import EncapsulatedPDFStorage

from service.domain.codes import IMAGING_REPORT
from service.domain.result import Result
from service.results.composite import as_result, code_item, composite, date_content, images_of, reference_to
from service.results.evidence import short, unwarned
from service.results.report_page import draw_report
from service.results.subject import Subject
from service.results.verification import verdict

KIND = "pdf"


@unwarned()
def write(subject: Subject) -> Sequence[Result]:
    """One document for the whole study.

    Raises:
        Permanent: the header lacks a UID that the document must refer to.
    """
    if not subject.sources:
        return []
    sources = subject.sources
    ds = composite(subject, sources, KIND, (907, "AI: report as PDF (unverified)"), EncapsulatedPDFStorage)
    date_content(ds, sources)
    ds.Modality, ds.ConversionType = "DOC", "WSD"
    ds.AcquisitionDateTime, ds.BurnedInAnnotation = "", "YES"
    ds.DocumentTitle = short(f"AI result, {verdict(sources)}")
    ds.VerificationFlag = "UNVERIFIED" if subject.signature is None else "VERIFIED"
    ds.ConceptNameCodeSequence = [code_item(IMAGING_REPORT.value, IMAGING_REPORT.scheme, IMAGING_REPORT.meaning)]
    ds.SourceInstanceSequence = [reference_to(image[0].header) for image in images_of(subject)]
    document = draw_report(subject)
    ds.MIMETypeOfEncapsulatedDocument, ds.EncapsulatedDocumentLength = "application/pdf", len(document)
    ds.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return [as_result(ds, sources, KIND)]
