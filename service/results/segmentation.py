"""DICOM Segmentation: one segment for each tooth with a region (PS3.3 A.51), one instance and series for each image."""

import math
from collections.abc import Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from service.domain.codes import ANATOMICAL_STRUCTURE, ARTIFICIAL_INTELLIGENCE, JAW_REGION, TOOTH, Code
from service.domain.finding import Finding
from service.domain.result import Result
from service.domain.tooth import tooth_of
from service.results.evidence import coded, common, evidence_of, finished, short, unwarned
from service.results.identity import derived_uid, tracking_uid
from service.results.regions import mask_of
from service.results.subject import Source, Subject

Masks = Sequence[tuple[Finding, NDArray[np.bool_]]]
_GOLDEN_ANGLE = 137.508  # degrees; turning the hue by it keeps neighbours in a row far apart
_LIGHTNESS, _CHROMA = 65.0, 60.0


def write(subject: Subject) -> Sequence[Result]:
    """One BINARY, uncompressed SEG for each image with segmented teeth; none for an image without.

    Without plane geometry: projection images have none (PS3.3 C.8.20.2). A finding whose mask is empty gets no segment.

    Raises:
        Permanent: the header lacks a UID, or a mask does not fit its box.
    """
    return [result for source in subject.sources for result in _write(subject, source)]


@unwarned()
def _write(subject: Subject, source: Source) -> list[Result]:
    analysis = source.analysis
    masks = [
        (finding, mask)
        for finding in analysis.findings
        if finding.kind == "tooth" and finding.region is not None
        if (mask := mask_of(finding.region, analysis.rows, analysis.columns)).any()
    ]
    if not masks:
        return []
    evidence = evidence_of(source)
    details = common(subject, source, "seg", 900, "AI: teeth segmentation (unverified)")
    seg = hd.seg.Segmentation(
        source_images=[evidence],
        pixel_array=_pixels(masks),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(number, finding, subject, source) for number, (finding, _) in enumerate(masks, start=1)
        ],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=False,
        content_label="AI_TEETH",
        content_description="AI tooth segmentation, not verified",
        **details,
    )
    _repair(seg, evidence)
    return [finished(seg, source, "seg")]


def _pixels(masks: Masks) -> NDArray[np.uint8]:
    """A label map (1, rows, columns) if no masks overlap, which highdicom packs four times as fast; else a stack."""
    count = np.sum([mask for _, mask in masks], axis=0, dtype=np.uint8)
    if count.max() <= 1:
        labels = np.zeros((1, *count.shape), np.uint8)
        for number, (_, mask) in enumerate(masks, start=1):
            labels[0][mask] = number
        return labels
    planes = np.stack([mask for _, mask in masks]).astype(np.uint8)
    return np.moveaxis(planes, 0, -1)[None]  # a view: segments stay contiguous in memory


def _segment(number: int, finding: Finding, subject: Subject, source: Source) -> hd.seg.SegmentDescription:
    algorithm = source.analysis.algorithm
    tooth = None if finding.tooth is None else tooth_of(finding.tooth)
    uid = tracking_uid(subject.study_instance_uid, algorithm, source.analysis.sop_instance_uid, finding)
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label="Tooth" if tooth is None else f"FDI {tooth.fdi}",
        segmented_property_category=coded(ANATOMICAL_STRUCTURE),
        segmented_property_type=coded(TOOTH),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=short(algorithm.name), family=coded(ARTIFICIAL_INTELLIGENCE), version=short(algorithm.version)
        ),
        tracking_uid=uid,
        tracking_id=short(finding.label or "Tooth"),
        anatomic_regions=[coded(JAW_REGION)],
        primary_anatomic_structures=None if tooth is None else [coded(Code(tooth.snomed, "SCT", tooth.meaning))],
        display_color=_colour(finding.tooth or number),
    )


def _colour(number: int) -> hd.color.CIELabColor:
    """A colour that depends on the tooth only and differs from those of its neighbours and antagonists."""
    hue = math.radians(number * _GOLDEN_ANGLE)
    return hd.color.CIELabColor(_LIGHTNESS, _CHROMA * math.cos(hue), _CHROMA * math.sin(hue))


def _repair(seg: Dataset, evidence: Dataset) -> None:
    """What highdicom leaves out or makes at random."""
    seg.PatientOrientation = list(evidence.get("PatientOrientation") or []) or None  # General Image, Type 2C
    if "StudyDescription" in evidence:
        seg.StudyDescription = evidence.StudyDescription
    dimensions = derived_uid("dimensions", str(seg.SOPInstanceUID))
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
