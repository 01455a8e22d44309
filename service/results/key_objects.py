"""Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010): which images matter, and what was said about them."""

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    SegmentationStorage,
)

from service.domain.result import Result
from service.results.composite import (
    Sources,
    as_result,
    code_item,
    composite,
    date_content,
    images_of,
    warning_lines,
)
from service.results.content_items import Reference, evidence_item, observer, pointer, text_item
from service.results.evidence import unwarned
from service.results.identity import result_uid, series_uid
from service.results.segmentation import STRICT, segmented
from service.results.subject import Source, Subject

KIND = "key-objects"


@unwarned()
def write(subject: Subject) -> Sequence[Result]:
    """One selection for the study; none where nothing was found in any image.

    It refers to the images with findings, and to the SR and SEG of their analyses, whether or not the reader of the
    selection gets those, too.

    Raises:
        Permanent: the header lacks a UID that the selection must refer to.
    """
    images = [sources for sources in images_of(subject) if any(source.analysis.findings for source in sources)]
    if not images:
        return []
    shown = [source for sources in images for source in sources]
    ds = composite(subject, shown, KIND, (908, "AI: key images (unverified)"), KeyObjectSelectionDocumentStorage)
    date_content(ds, shown)
    ds.Modality, ds.ValueType, ds.ContinuityOfContent = "KO", "CONTAINER", "SEPARATE"
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.ConceptNameCodeSequence = [code_item("113000", "DCM", "Of Interest")]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    ds.ContentTemplateSequence = [template]
    references = [_image(sources) for sources in images]
    results = [each for source in shown for each in _results(subject, source)]
    ds.CurrentRequestedProcedureEvidenceSequence = [evidence_item(subject, [*references, *results])]
    ds.ContentSequence = [
        *observer(shown[0]),
        text_item(
            "113012",
            "Key Object Description",
            f"{' - '.join(warning_lines(shown))}: images in which something was found",
        ),
        *(_referring("IMAGE", reference) for reference in references),
        *(
            _referring("IMAGE" if reference[1] == SegmentationStorage else "COMPOSITE", reference)
            for reference in results
        ),
    ]
    return [as_result(ds, shown, KIND)]


def _image(sources: Sources) -> Reference:
    header = sources[0].header
    return str(header.SeriesInstanceUID), str(header.SOPClassUID), str(header.SOPInstanceUID)


def _results(subject: Subject, source: Source) -> list[Reference]:
    """The report, and the segmentation where there is one."""
    identity = subject.study_instance_uid, source.analysis.algorithm
    kinds = [("sr", Comprehensive3DSRStorage), *([(STRICT, SegmentationStorage)] if segmented(source) else [])]
    uid = source.analysis.sop_instance_uid
    return [
        (
            series_uid(*identity, kind, uid, source.edition),
            str(sop_class),
            result_uid(*identity, kind, uid, source.edition),
        )
        for kind, sop_class in kinds
    ]


def _referring(value_type: str, reference: Reference) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", value_type
    item.ReferencedSOPSequence = [pointer(reference)]
    return item
