"""Rejection note (IHE RAD Imaging Object Change Management): a Key Object Selection of what no longer counts.

After a signature it names the unverified or earlier objects that the signed ones take the place of ("Rejected for
Quality Reasons": an archive that knows IOCM hides them, and may show them again); after a withdrawal everything
that was made of the study ("Rejected for Patient Safety Reasons"). The first is sent only where ``results`` names
it, the second to every archive.
"""

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import (
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from service.domain.result import Result
from service.results.composite import as_result, code_item, composite, date_content
from service.results.content_items import evidence_item, pointer, text_item
from service.results.evidence import unwarned
from service.results.subject import Subject
from service.results.verification import person_observer, said_of

KIND = "rejection"
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage
_IMAGES = {SegmentationStorage, SecondaryCaptureImageStorage, _LABEL_MAP}
_QUALITY = code_item("113001", "DCM", "Rejected for Quality Reasons")  # CID 7010
_SAFETY = code_item("113037", "DCM", "Rejected for Patient Safety Reasons")


@unwarned()
def write(subject: Subject) -> Sequence[Result]:
    """One note; none where nobody signed, or nothing was made before.

    Raises:
        Permanent: the header lacks a UID that the note must refer to.
    """
    signature = subject.signature
    references = [each for each in subject.earlier if each.kind != KIND]
    if signature is None or not references:
        return []
    sources = subject.sources
    ds = composite(subject, sources, KIND, (910, "AI: results that no longer count"), KeyObjectSelectionDocumentStorage)
    date_content(ds, sources)
    ds.Modality, ds.ValueType, ds.ContinuityOfContent = "KO", "CONTAINER", "SEPARATE"
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.ConceptNameCodeSequence = [_SAFETY if signature.withdrawn else _QUALITY]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    ds.ContentTemplateSequence = [template]
    pointers = [(each.series_uid, each.sop_class_uid, each.sop_instance_uid) for each in references]
    ds.CurrentRequestedProcedureEvidenceSequence = [evidence_item(subject, pointers)]
    words = "Results" if signature.withdrawn else "Superseded by the results"
    ds.ContentSequence = [
        *person_observer(signature),
        text_item("113012", "Key Object Description", f"{words} {said_of(signature)}"),
        *(_referring(*each) for each in pointers),
    ]
    return [as_result(ds, sources, KIND)]


def _referring(series_uid: str, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE" if sop_class_uid in _IMAGES else "COMPOSITE"
    item.ReferencedSOPSequence = [pointer((series_uid, sop_class_uid, sop_instance_uid))]
    return item
