"""The picture of a result: what is drawn where, and what it says of itself."""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from service.domain.finding import Finding, HeatMap, Region
from service.results import secondary_capture
from service.results.colours import lab_of, rgb_of
from service.results.lettering import is_legible, legible, picture_font
from service.results.overlay import sides_of
from service.results.subject import Subject
from tests.builders import analysis_of, header_of, xray
from tests.subjects import pictured, subject_of

GREY = 60


def written(subject: Subject) -> Dataset:
    """The one picture of a subject, with its pixels."""
    (result,) = secondary_capture.write(subject)
    ds = pydicom.dcmread(io.BytesIO(result.content))
    assert (result.kind, result.name) == ("secondary-capture", ds.SOPInstanceUID)
    return ds


def image_part(ds: Dataset, subject: Subject) -> NDArray[np.int16]:
    """The pixels (rows, columns, 3) that show the image itself: below the warning, above the legend."""
    analysis = subject.sources[0].analysis
    pixels = ds.pixel_array.astype(np.int16)
    height = round(pixels.shape[1] * analysis.rows / analysis.columns)
    return pixels[52 : 52 + height]


def coloured(pixels: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Where a picture (rows, columns, 3) is neither grey nor black nor white."""
    mask: NDArray[np.bool_] = pixels.max(-1) - pixels.min(-1) > 8
    return mask


def test_teeth_are_drawn_in_their_place() -> None:
    """Each tooth is tinted with its own colour within its outline, and nothing is coloured far from all teeth."""
    subject = pictured(subject_of(xray()), GREY)
    shown = image_part(written(subject), subject)
    analysis = subject.sources[0].analysis
    scale = shown.shape[1] / analysis.columns
    far = np.ones(shown.shape[:2], bool)
    for finding in analysis.findings:
        assert finding.region is not None
        x0, y0, x1, y1 = (round(edge * scale) for edge in finding.region.box)
        inside = shown[(y0 + y1) // 2, (x0 + x1) // 2] - GREY
        wanted = np.array(rgb_of(lab_of(finding, 0))) - GREY
        assert np.corrcoef(inside, wanted)[0, 1] > 0.9
        far[max(y0 - 60, 0) : y1 + 60, max(x0 - 60, 0) : x1 + 60] = False
    assert not coloured(shown)[far].any()


def test_findings_stand_out_against_teeth() -> None:
    """Where something was found of a tooth the outline has the colour of the finding, and other teeth are grey."""
    ds = xray()
    analysis = analysis_of(header_of(ds))
    caries = replace(analysis.findings[0], kind="caries")
    subject = pictured(subject_of(ds, replace(analysis, findings=(*analysis.findings, caries))), GREY)
    shown = image_part(written(subject), subject)
    scale = shown.shape[1] / analysis.columns
    assert caries.region is not None
    x0, y0, x1, y1 = (round(edge * scale) for edge in caries.region.box)
    edge = shown[(y0 + y1) // 2, x0 - 3 : x0 + 8]
    assert np.abs(edge - rgb_of(lab_of(caries, 0))).sum(-1).min() < 40
    other = analysis.findings[2].region
    assert other is not None
    x0, y0, x1, y1 = (round(edge * scale) for edge in other.box)
    assert np.ptp(shown[(y0 + y1) // 2, (x0 + x1) // 2]) < 12


def test_heat_is_where_it_was() -> None:
    """A heat map warms the part of the image that it names, and leaves the rest as it was."""
    ds = xray()
    heat = HeatMap(2, 4, (0, 0, 0, 0, 0, 0, 0, 255))
    found = replace(analysis_of(header_of(ds), ()), findings=(Finding("fracture", None, 0.9, heat=heat),))
    subject = pictured(subject_of(ds, found), GREY)
    shown = image_part(written(subject), subject)
    rows, columns = shown.shape[:2]
    red, green, blue = shown[int(rows * 0.9), int(columns * 0.95)]
    assert red > green + 40
    assert red > blue + 40
    assert (shown[: rows // 4, : columns // 2] == GREY).all()


def test_nothing_found_is_a_picture_too() -> None:
    """The image stays as it is, and the warning stands above it."""
    ds = xray()
    subject = pictured(subject_of(ds, analysis_of(header_of(ds), ())), GREY)
    picture = written(subject)
    assert (image_part(picture, subject)[10:-10, 80:-80] == GREY).all()
    assert coloured(picture.pixel_array[:50].astype(np.int16)).any()


@pytest.mark.parametrize(
    ("orientation", "sides"),
    [(["L", "F"], ("R", "L")), (["R", "F"], ("L", "R")), (["A", "F"], ()), (None, ()), (["L"], ("R", "L"))],
)
def test_the_sides_of_the_patient_stand_at_the_edges(orientation: list[str] | None, sides: tuple[str, ...]) -> None:
    """A picture has no orientation that a viewer could show, so letters stand in it; where nobody knows, none."""
    ds = xray(PatientOrientation=orientation)
    subject = pictured(subject_of(ds, analysis_of(header_of(ds), ())), GREY)
    assert sides_of(subject.sources[0].header) == sides
    shown = image_part(written(subject), subject)
    middle = shown[shown.shape[0] // 2 - 10 : shown.shape[0] // 2 + 10]
    assert [bool((part != GREY).any()) for part in (middle[:, :20], middle[:, -20:])] == [bool(sides)] * 2


def test_names_of_reviewers_can_be_read() -> None:
    """Letters with marks are drawn, not boxes: those of the name differ from those of a letter that no font has."""
    assert picture_font(30).getmask("É").getbbox() != picture_font(30).getmask(chr(0x10FFFF)).getbbox()
    assert legible("Dr. Béla Őry") == "Dr. Béla Ory"
    assert is_legible("Łukasz Nguyễn")
    assert not is_legible("山田")


def test_it_says_what_it_is() -> None:
    """It is derived, has words burned in, names its source, and nobody has verified it."""
    subject = pictured(subject_of(xray()))
    ds = written(subject)
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY"]
    assert (ds.BurnedInAnnotation, ds.Modality, ds.ConversionType) == ("YES", "OT", "WSD")
    assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == subject.sources[0].header.SOPInstanceUID
    assert "unverified" in ds.SeriesDescription
    assert "not verified" in ds.DerivationDescription
    assert ds.StudyInstanceUID == subject.study_instance_uid
    assert ds.SeriesInstanceUID != subject.sources[0].header.SeriesInstanceUID


def test_without_a_picture_there_is_none() -> None:
    """An image of which no preview was kept gets no picture."""
    assert secondary_capture.write(subject_of(xray())) == []


def test_patient_data_take_no_part() -> None:
    """Whoever the patient is, the pixels are the same."""
    pixels = [written(pictured(subject_of(xray(PatientName=name, PatientID=name)))).PixelData for name in ("A", "B")]
    assert pixels[0] == pixels[1]


@pytest.mark.parametrize("size", [(40, 4000), (4000, 40), (3, 3)])
def test_odd_sizes_fit_a_screen(size: tuple[int, int]) -> None:
    """A picture stays below 2000 pixels in width and 4000 in height, whatever the image is; regions may stick out."""
    rows, columns = size
    ds = xray(np.zeros(size, np.uint16))
    finding = Finding("tooth", 36, 0.9, Region((-5, -5, columns + 5, rows + 5)))
    found = replace(analysis_of(header_of(ds), ()), findings=(finding,))
    picture = written(pictured(subject_of(ds, found)))
    assert picture.Columns < 2000
    assert picture.Rows < 4000
