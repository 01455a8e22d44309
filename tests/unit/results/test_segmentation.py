"""What a segmentation says, and that it says it the same way every time."""

import io
from dataclasses import replace
from itertools import pairwise

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.finding import Finding, Region
from service.domain.tooth import PERMANENT, tooth_of
from service.results import segmentation
from service.results.identity import device_uid, tracking_uid
from service.results.subject import Subject
from tests.builders import ALGORITHM, analysis_of, ellipse, header_of, runs_of, xray
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


def test_writing_twice_is_byte_identical() -> None:
    """The same subject gives the same bytes."""
    assert segmentation.write(subject_of(xray())) == segmentation.write(subject_of(xray()))


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
    assert f"{seg.ContentDate} {seg.ContentTime}" == "20250115 103000"
