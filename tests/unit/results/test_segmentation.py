"""What a segmentation says, and that it says it the same way every time."""

import dataclasses
import io
from dataclasses import replace
from itertools import pairwise

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from service import clock
from service.domain.finding import Finding, Region
from service.domain.tooth import PERMANENT, tooth_of
from service.results import segmentation
from service.results.evidence import evidence_of
from service.results.identity import device_uid, tracking_uid
from service.results.regions import mask_of
from service.results.subject import Subject
from tests.builders import ALGORITHM, STARTED_AT, analysis_of, ellipse, header_of, runs_of, xray
from tests.subjects import subject_of


def written(subject: Subject) -> hd.seg.Segmentation:
    """The one segmentation of a subject."""
    (result,) = segmentation.write(subject)
    assert (result.kind, result.media_type) == ("seg", "application/dicom")
    seg = hd.seg.segread(io.BytesIO(result.content))
    assert result.name == seg.SOPInstanceUID
    return seg


def masks(seg: hd.seg.Segmentation) -> NDArray[np.bool_]:
    """The masks (segments, rows, columns)."""
    frames: NDArray[np.bool_] = seg.get_frames().astype(bool)
    return frames if frames.ndim == 3 else frames[None]


def test_the_masks_are_those_of_the_findings() -> None:
    """Each tooth is one segment and one frame, in the order of the findings, with its very mask."""
    ds = xray()
    analysis = analysis_of(header_of(ds), PERMANENT)
    frames = masks(written(subject_of(ds, analysis)))
    assert len(frames) == 32
    for finding, frame in zip(analysis.findings, frames, strict=True):
        assert finding.region is not None
        x0, y0, x1, y1 = finding.region.box
        np.testing.assert_array_equal(frame[y0:y1, x0:x1], ellipse(finding.region.box))
        assert frame.sum() == ellipse(finding.region.box).sum()


def test_overlapping_masks_are_both_kept() -> None:
    """Where two teeth overlap, both masks keep all their pixels."""
    ds = xray()
    boxes = {36: (10, 10, 40, 60), 37: (30, 10, 60, 60)}
    frames = masks(written(subject_of(ds, analysis_of(header_of(ds), boxes))))
    assert [frame.sum() for frame in frames] == [ellipse(box).sum() for box in boxes.values()]
    assert (frames[0] & frames[1]).any()


def test_a_segment_names_its_tooth() -> None:
    """Category, type, region, tooth code, FDI number and algorithm of a segment are those of the finding."""
    subject = subject_of(xray())
    segment = written(subject).get_segment_description(1)
    assert segment.segment_label == "FDI 36"
    assert segment.segmented_property_category.value == "91723000"
    assert segment.segmented_property_type.value == "38199008"
    assert [code.value for code in segment.anatomic_regions or ()] == ["661005"]
    assert [code.value for code in segment.primary_anatomic_structures or ()] == [tooth_of(36).snomed]
    assert segment.algorithm_identification is not None
    assert (segment.algorithm_identification.name, segment.algorithm_identification.version) == (
        ALGORITHM.name,
        ALGORITHM.version,
    )
    source = subject.sources[0]
    assert segment.tracking_id == "FDI36"
    assert segment.tracking_uid == tracking_uid(
        subject.study_instance_uid, ALGORITHM, source.analysis.sop_instance_uid, source.analysis.findings[0]
    )


def test_a_tooth_of_unknown_number_has_no_tooth_code() -> None:
    """A tooth whose number nobody knows is segmented as a tooth, without a number."""
    ds = xray()
    box = (10, 10, 40, 60)
    unknown = Finding("tooth", None, 0.6, Region(box, runs_of(ellipse(box))))
    analysis = replace(analysis_of(header_of(ds)), findings=(unknown,))
    segment = written(subject_of(ds, analysis)).get_segment_description(1)
    assert segment.segment_label == "Tooth"
    assert not segment.primary_anatomic_structures


def test_neighbouring_teeth_differ_in_colour() -> None:
    """The colours of neighbours in a row are far apart (more than 40 units of CIELab)."""
    ds = xray()
    seg = written(subject_of(ds, analysis_of(header_of(ds), PERMANENT)))
    colours = {
        item.SegmentLabel: np.array(item.RecommendedDisplayCIELabValue) / 65535 * [100, 255, 255]
        for item in seg.SegmentSequence
    }
    row = [18, 17, 16, 15, 14, 13, 12, 11, 21, 22, 23, 24, 25, 26, 27, 28]
    for upper, lower in zip(row, (48, 47, 46, 45, 44, 43, 42, 41, 31, 32, 33, 34, 35, 36, 37, 38), strict=True):
        assert np.linalg.norm(colours[f"FDI {upper}"] - colours[f"FDI {lower}"]) > 10
    for left, right in pairwise(row):
        assert np.linalg.norm(colours[f"FDI {left}"] - colours[f"FDI {right}"]) > 40


def test_without_teeth_there_is_no_segmentation() -> None:
    """No tooth, teeth without region and empty masks give no object rather than an empty one."""
    ds = xray()
    header = header_of(ds)
    assert segmentation.write(subject_of(ds, analysis_of(header, ()))) == []
    assert segmentation.write(subject_of(ds, analysis_of(header, {36: (900, 900, 920, 930)}))) == []


def test_two_images_give_two_series() -> None:
    """Each image has a segmentation and a series of its own."""
    first = subject_of(xray(seed="a"))
    second = subject_of(xray(seed="b", StudyInstanceUID=first.study_instance_uid))
    both = Subject(first.study_instance_uid, 1, (*first.sources, *second.sources))
    segs = [hd.seg.segread(io.BytesIO(result.content)) for result in segmentation.write(both)]
    assert len({seg.SeriesInstanceUID for seg in segs}) == len({seg.SOPInstanceUID for seg in segs}) == 2
    assert {seg.StudyInstanceUID for seg in segs} == {first.study_instance_uid}


@pytest.mark.parametrize("spacing", [None, ["0.1", "0.1"]])
def test_no_geometry_is_claimed(spacing: list[str] | None) -> None:
    """A projection image has no plane: neither frame of reference nor spacing nor position, whatever the image says."""
    seg = written(subject_of(xray(PixelSpacing=spacing, FrameOfReferenceUID="1.2.3" if spacing else None)))
    assert "FrameOfReferenceUID" not in seg
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert "PixelMeasuresSequence" not in shared
    assert "PlaneOrientationSequence" not in shared
    assert list(seg.PatientOrientation) == ["L", "F"]


def test_it_says_who_made_it_and_that_nobody_verified_it() -> None:
    """Manufacturer is ours, the series is marked AI and unverified, the algorithm stands in the equipment."""
    seg = written(subject_of(xray()))
    assert seg.Manufacturer == "Dentgate"
    assert seg.SeriesDescription == "AI: teeth segmentation (unverified), series 1 image 1"
    equipment = {item.ManufacturerModelName: item for item in seg.ContributingEquipmentSequence}
    assert equipment[ALGORITHM.name].DeviceUID == device_uid(ALGORITHM)
    assert equipment["Probe"].Manufacturer == "ProbeVendor"
    assert f"{seg.ContentDate} {seg.ContentTime}" == f"{clock.local(STARTED_AT):%Y%m%d %H%M%S}"


@pytest.mark.parametrize("research", [True, False])
def test_a_research_model_is_called_one(*, research: bool) -> None:
    """Whoever has nothing but the segmentation reads what kind of model made it."""
    ds = xray()
    algorithm = dataclasses.replace(ALGORITHM, research=research)
    seg = written(subject_of(ds, analysis_of(header_of(ds), algorithm=algorithm)))
    assert seg.ContentDescription == f"AI {'research model' if research else 'segmentation'}, not verified"


def test_pixel_data_are_those_of_highdicom() -> None:
    """The packed bits are byte for byte what highdicom makes of the masks, also where frames begin within a byte."""
    ds = xray(np.zeros((101, 203), np.uint16))
    subject = subject_of(ds, analysis_of(header_of(ds), PERMANENT))
    (result,) = segmentation.write(subject)
    seg = pydicom.dcmread(io.BytesIO(result.content))
    stack = np.stack([mask_of(each.region, 101, 203) for each in segmentation.segmented(subject.sources[0])], -1)
    theirs = hd.seg.Segmentation(
        source_images=[evidence_of(subject.sources[0])],
        pixel_array=stack[None].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=list(hd.seg.segread(io.BytesIO(result.content)).SegmentSequence),
        omit_empty_frames=False,
        series_instance_uid="1.2.3",
        series_number=1,
        sop_instance_uid="1.2.4",
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="x",
        device_serial_number="x",
    )
    assert (seg.Rows, seg.Columns, seg.NumberOfFrames) == (101, 203, 32)
    assert seg.PixelData == theirs.PixelData


def test_a_box_without_mask_is_no_segment() -> None:
    """Only masks become segments: a box says where to look, not what belongs to it."""
    ds = xray()
    boxed = Finding("caries", 36, 0.8, Region((10, 10, 40, 60)))
    assert segmentation.write(subject_of(ds, replace(analysis_of(header_of(ds)), findings=(boxed,)))) == []


def test_findings_of_one_kind_on_one_tooth_are_told_apart() -> None:
    """Two findings with the same label have their own tracking UID, and the code of what they are."""
    ds = xray()
    caries = [
        Finding("caries", 36, 0.8, Region(box, runs_of(ellipse(box)))) for box in ((5, 5, 20, 20), (30, 5, 50, 20))
    ]
    seg = written(subject_of(ds, replace(analysis_of(header_of(ds)), findings=tuple(caries))))
    segments = [seg.get_segment_description(number) for number in (1, 2)]
    assert [segment.segmented_property_type.value for segment in segments] == ["80967001"] * 2
    assert [segment.segment_label for segment in segments] == ["FDI 36 Dental caries"] * 2
    assert (
        len({segment.tracking_uid for segment in segments}) == len({segment.tracking_id for segment in segments}) == 2
    )


@pytest.mark.parametrize(
    ("spacing", "expected"), [(None, [1, 1]), (["0.12", "0.15"], [0.12, 0.15]), (["0", "x"], [1, 1])]
)
def test_the_plane_is_that_of_the_detector(spacing: list[str] | None, expected: list[float]) -> None:
    """The form for OHIF has a frame of reference of its own, the spacing at the detector, and the same pixels."""
    subject = subject_of(xray())
    header = subject.sources[0].header
    del header["ImagerPixelSpacing"]
    if spacing:
        header.add_new("ImagerPixelSpacing", "LO", spacing)
    (result,), (strict,) = segmentation.write_plane(subject), segmentation.write(subject)
    seg, plain = (pydicom.dcmread(io.BytesIO(each.content)) for each in (result, strict))
    assert result.kind == "seg-plane"
    assert seg.PixelData == plain.PixelData
    assert seg.SOPInstanceUID != plain.SOPInstanceUID
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == expected
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert {tuple(f.PlanePositionSequence[0].ImagePositionPatient) for f in seg.PerFrameFunctionalGroupsSequence} == {
        (0, 0, 0)
    }
    assert seg.FrameOfReferenceUID.startswith("2.25.")


def test_a_label_map_holds_all_teeth_in_one_frame() -> None:
    """In the label map each pixel says which segment it belongs to."""
    ds = xray()
    analysis = analysis_of(header_of(ds), PERMANENT)
    (result,) = segmentation.write_labelmap(subject_of(ds, analysis))
    seg = hd.seg.segread(io.BytesIO(result.content))
    assert (result.kind, seg.SegmentationType) == ("seg-labelmap", "LABELMAP")
    labels = seg.pixel_array
    for number, finding in enumerate(analysis.findings, start=1):
        assert finding.region is not None
        assert (labels == number).sum() == ellipse(finding.region.box).sum()
