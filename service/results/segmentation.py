"""DICOM Segmentation: one segment for each region with a mask (PS3.3 A.51), one instance and series for each analysis.

Three forms, because no form serves every reader:
    seg          BINARY without geometry, which is all that a projection image can truthfully claim (PS3.3 C.8.20.2)
    seg-plane    the same with the plane of the detector as a frame of reference of its own: OHIF cannot draw the first
    seg-labelmap LABELMAP, a tenth of the size; where regions overlap, the smaller one is kept

highdicom makes everything but the pixel data, from an image of one pixel; the bits are packed here from run lengths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import highdicom as hd
import numpy as np
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from service.domain.codes import ARTIFICIAL_INTELLIGENCE, FINDINGS, PRIVATE_SCHEME, Code
from service.domain.finding import Finding, Region
from service.domain.result import Result
from service.results.colours import lab_of
from service.results.composite import numbers_of
from service.results.evidence import coded, common, declare_private_scheme, evidence_of, short, stamped, unwarned
from service.results.frames import labelled, packed
from service.results.identity import derived_uid, tracking_label, tracking_uid
from service.results.regions import mask_of
from service.results.sites import region_of, sites_of
from service.results.subject import Source, Subject
from service.results.verification import verdict

STRICT, PLANE, LABELMAP = "seg", "seg-plane", "seg-labelmap"
_FORMS = {STRICT: (900, ""), PLANE: (902, " with detector plane"), LABELMAP: (903, " as label map")}
_PIXEL_DATA = b"\xe0\x7f\x10\x00OB\x00\x00"  # tag and VR in Explicit VR Little Endian; the length follows (PS3.5 7.1.2)
_UNKNOWN_SPACING = (1.0, 1.0)


def write(subject: Subject, form: str = STRICT) -> Sequence[Result]:
    """One uncompressed SEG for each analysis with masks; none for one without. A box without mask is no segment.

    Raises:
        Permanent: the header lacks a UID, or a mask does not fit its box.
    """
    return [result for source in subject.sources for result in _write(subject, source, form)]


write_plane = partial(write, form=PLANE)
write_labelmap = partial(write, form=LABELMAP)


@dataclass(frozen=True, slots=True)
class Segment:
    """A finding that becomes a segment, its mask, and its number among the findings with the same label."""

    finding: Finding
    region: Region
    number: int


def segmented(source: Source) -> list[Segment]:
    """The findings that become segments, in their order: those whose mask holds a pixel of the image."""
    analysis = source.analysis
    return [
        Segment(finding, finding.region, number)
        for finding, number in source.counted
        if finding.region is not None
        and finding.region.runs
        and _visible(finding.region, analysis.rows, analysis.columns)
    ]


def _visible(region: Region, rows: int, columns: int) -> bool:
    x0, y0, x1, y1 = region.box
    if x0 >= 0 and y0 >= 0 and x1 <= columns and y1 <= rows:
        return any(region.runs[1::2])
    return bool(mask_of(region, rows, columns).any())


@unwarned()
def _write(subject: Subject, source: Source, form: str) -> list[Result]:
    segments = segmented(source)
    if not segments:
        return []
    analysis = source.analysis
    evidence = evidence_of(source)
    seg = _without_pixels(subject, source, evidence, segments, form)
    seg.Rows, seg.Columns = analysis.rows, analysis.columns
    if form == PLANE:
        _lay_in_plane(seg, source)
    regions = [segment.region for segment in segments]
    if form == LABELMAP:
        frames = labelled(regions, analysis.rows, analysis.columns).ravel()
        frames = np.pad(frames, (0, frames.size % 2))
    else:
        frames = packed(regions, analysis.rows, analysis.columns)
    if any(code.scheme == PRIVATE_SCHEME for segment in segments for code in _codes(segment.finding, source)):
        declare_private_scheme(seg)
    head = stamped(seg, source, form)
    # Joined rather than written by pydicom, which would hold the frames three times more.
    content = b"".join((head.content, _PIXEL_DATA, frames.size.to_bytes(4, "little"), frames.data))
    return [replace(head, content=content)]


def _without_pixels(
    subject: Subject, source: Source, evidence: Dataset, segments: Sequence[Segment], form: str
) -> Dataset:
    """The whole object for an image of one pixel, without its pixel data."""
    number, remark = _FORMS[form]
    research = source.analysis.algorithm.research
    small = Dataset()
    small.update(evidence)
    small.Rows = small.Columns = 1
    shape = (1, 1, 1) if form == LABELMAP else (1, 1, 1, len(segments))
    kinds, shared = hd.seg.SegmentationTypeValues, _Shared(source)
    seg: Dataset = hd.seg.Segmentation(
        source_images=[small],
        pixel_array=np.zeros(shape, np.uint8),
        segmentation_type=kinds.LABELMAP if form == LABELMAP else kinds.BINARY,
        segment_descriptions=[
            _described(each, segment, subject, source, shared) for each, segment in enumerate(segments, start=1)
        ],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=False,
        content_label="AI_RESULT",
        content_description=short(f"AI {'research model' if research else 'segmentation'}, {verdict([source])}"),
        **common(subject, source, form, number, f"AI: {_content(segments)} segmentation{remark} (unverified)"),
    )
    del seg.PixelData
    _repair(seg, evidence)
    return seg


def _codes(finding: Finding, source: Source) -> Iterator[Code]:
    """Every code of its segment that depends on the finding."""
    concepts = FINDINGS[finding.kind]
    yield from (concepts.category, concepts.finding, region_of(finding, source.header))
    yield from sites_of(finding, source.header)


def _content(segments: Sequence[Segment]) -> str:
    return "teeth" if all(segment.finding.kind == "tooth" for segment in segments) else "findings"


class _Shared:
    """Parts that the segments of one object have in common: made once, not 32 times."""

    def __init__(self, source: Source) -> None:
        algorithm = source.analysis.algorithm
        self.algorithm = hd.AlgorithmIdentificationSequence(
            name=short(algorithm.name), family=coded(ARTIFICIAL_INTELLIGENCE), version=short(algorithm.version)
        )
        self._concepts = dict[Code, CodedConcept]()

    def concept(self, code: Code) -> CodedConcept:
        """The code as an item of a sequence."""
        if code not in self._concepts:
            self._concepts[code] = CodedConcept.from_code(coded(code))
        return self._concepts[code]


def _described(
    place: int, segment: Segment, subject: Subject, source: Source, shared: _Shared
) -> hd.seg.SegmentDescription:
    analysis, algorithm, finding = source.analysis, source.analysis.algorithm, segment.finding
    concepts, kinds = FINDINGS[finding.kind], hd.seg.SegmentAlgorithmTypeValues
    uid = tracking_uid(subject.study_instance_uid, algorithm, analysis.sop_instance_uid, finding, segment.number)
    return hd.seg.SegmentDescription(
        segment_number=place,
        segment_label=short(segment_label(finding)),
        segmented_property_category=shared.concept(concepts.category),
        segmented_property_type=shared.concept(concepts.finding),
        algorithm_type=kinds.SEMIAUTOMATIC if finding.by_person else kinds.AUTOMATIC,
        algorithm_identification=shared.algorithm,
        tracking_uid=uid,
        tracking_id=short(tracking_label(finding, segment.number)),
        anatomic_regions=[shared.concept(region_of(finding, source.header))],
        primary_anatomic_structures=[shared.concept(site) for site in sites_of(finding, source.header)]
        if _is_placed(finding)
        else None,
        display_color=hd.color.CIELabColor(*lab_of(finding, place)),
    )


def _is_placed(finding: Finding) -> bool:
    return finding.tooth is not None or bool(finding.site)


def segment_label(finding: Finding) -> str:
    """How a viewer lists it: "FDI 36", "FDI 36 Dental caries", "T12 Vertebra"; "Tooth" where nobody knows which."""
    place = finding.site if finding.tooth is None else f"FDI {finding.tooth}"
    if finding.kind == "tooth" and place:
        return place
    return f"{place} {FINDINGS[finding.kind].finding.meaning}".strip()


def _lay_in_plane(seg: Dataset, source: Source) -> None:
    """Geometry of the detector: a frame of reference that belongs to this object alone, its origin the first pixel.

    It says where the pixels lie on the detector, nothing about the patient; the spacing is that at the detector, or
    1 mm where the image does not tell (PS3.3 C.7.6.16.2.1, C.7.6.16.2.3, C.7.6.16.2.4).
    """
    seg.FrameOfReferenceUID = derived_uid("detector", str(seg.SOPInstanceUID))
    seg.PositionReferenceIndicator = ""
    orientation, measures, position = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = list(_spacing(source.header)), 1
    position.ImagePositionPatient = [0, 0, 0]
    shared = seg.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence = [position]


def _spacing(header: Dataset) -> tuple[float, float]:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        numbers = numbers_of(header, keyword)
        if len(numbers) == len(_UNKNOWN_SPACING) and min(numbers) > 0:
            return numbers[0], numbers[1]
    return _UNKNOWN_SPACING


def _repair(seg: Dataset, evidence: Dataset) -> None:
    """What highdicom leaves out or makes at random."""
    seg.PatientOrientation = list(evidence.get("PatientOrientation") or []) or None  # General Image, Type 2C
    if "StudyDescription" in evidence:
        seg.StudyDescription = evidence.StudyDescription
    dimensions = derived_uid("dimensions", str(seg.SOPInstanceUID))
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
