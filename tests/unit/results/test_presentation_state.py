"""What a presentation state shows, and over which image."""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from service.domain.finding import Finding, Region
from service.results import presentation_state
from service.results.subject import Subject
from tests.builders import analysis_of, header_of, xray
from tests.subjects import subject_of


def written(subject: Subject) -> Dataset:
    """The one state of a subject."""
    (result,) = presentation_state.write(subject)
    ds = pydicom.dcmread(io.BytesIO(result.content))
    assert (result.kind, result.name) == ("presentation-state", ds.SOPInstanceUID)
    return ds


def layer(ds: Dataset, name: str) -> Dataset:
    """The annotations of one graphic layer."""
    found: list[Dataset] = [each for each in ds.GraphicAnnotationSequence if each.GraphicLayer == name]
    (item,) = found
    return item


def texts(item: Dataset) -> list[str]:
    """The words of a layer."""
    return [text.UnformattedTextValue for text in item.TextObjectSequence]


def test_teeth_are_outlined_and_numbered() -> None:
    """Each tooth has its closed outline in pixels, and its FDI number within its box."""
    ds = xray()
    subject = subject_of(ds)
    findings = subject.sources[0].analysis.findings
    item = layer(written(subject), "AI_TEETH")
    assert texts(item) == ["36", "37", "46"]
    for finding, graphic, text in zip(findings, item.GraphicObjectSequence, item.TextObjectSequence, strict=True):
        assert finding.region is not None
        points = np.array(graphic.GraphicData).reshape(-1, 2)
        assert len(points) == graphic.NumberOfGraphicPoints
        np.testing.assert_array_equal(points[0], points[-1])
        np.testing.assert_allclose(points[:-1], finding.region.outline, atol=1e-3)
        x, y = text.AnchorPoint
        x0, y0, x1, y1 = finding.region.box
        assert x0 < x < x1
        assert y0 < y < y1


def test_findings_have_a_layer_of_their_own() -> None:
    """What was found of teeth can be switched off apart from the teeth; a box serves where there is no outline."""
    ds = xray()
    analysis = analysis_of(header_of(ds))
    caries = Finding("caries", 36, 0.8, Region((10, 20, 30, 50)))
    state = written(subject_of(ds, replace(analysis, findings=(*analysis.findings, caries))))
    item = layer(state, "AI_FINDINGS")
    assert texts(item) == ["36 Caries"]
    assert list(item.GraphicObjectSequence[0].GraphicData) == [10, 20, 30, 20, 30, 50, 10, 50, 10, 20]
    assert [each.GraphicLayer for each in state.GraphicLayerSequence] == ["AI_TEETH", "AI_FINDINGS", "AI_NOTES"]


def test_several_analyses_share_one_state() -> None:
    """An image that two models read has one state, with the equipment of both, and another UID than with one."""
    ds = xray()
    teeth = analysis_of(header_of(ds))
    other = replace(teeth, algorithm=replace(teeth.algorithm, name="conditions"), findings=())
    both, one = written(subject_of(ds, teeth, other)), written(subject_of(ds, teeth))
    assert both.SOPInstanceUID != one.SOPInstanceUID
    assert [item.ManufacturerModelName for item in both.ContributingEquipmentSequence] == [
        "tooth-numbering",
        "conditions",
    ]


def test_the_warning_is_always_there() -> None:
    """Also a state without findings says that it is AI, not verified, and that nothing was found."""
    ds = xray()
    state = written(subject_of(ds, analysis_of(header_of(ds), ())))
    (item,) = state.GraphicAnnotationSequence
    assert texts(item) == [
        "AI RESULT - NOT VERIFIED", "RESEARCH MODEL - NOT FOR DIAGNOSIS", "tooth-numbering: no finding",
    ]  # fmt: skip
    assert "unverified" in state.SeriesDescription


def test_findings_of_the_whole_image_are_told() -> None:
    """A finding without place stands in words; so does the reason of a refusal."""
    ds = xray()
    none = analysis_of(header_of(ds), ())
    told = texts(
        layer(written(subject_of(ds, replace(none, findings=(Finding("fracture", None, 0.913),)))), "AI_NOTES")
    )
    assert told[-1] == "Fracture 91 %"
    told = texts(layer(written(subject_of(ds, replace(none, refused="too dark"))), "AI_NOTES"))
    assert told[-1] == "tooth-numbering: not read: too dark"


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_the_display_of_the_image_is_kept(photometric: str, shape: str) -> None:
    """Window, rescaling and inversion are those of the image: a state without them would mean identity."""
    ds = xray(photometric=photometric, WindowCenter=["1500", "900"], WindowWidth=["800", "300"])
    state = written(subject_of(ds))
    assert state.PresentationLUTShape == shape
    (voi,) = state.SoftcopyVOILUTSequence
    assert list(voi.WindowCenter) == [1500, 900]
    assert (state.RescaleSlope, state.RescaleIntercept, state.RescaleType) == (1, 0, "US")
    (area,) = state.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [ds.Columns, ds.Rows]


def test_it_refers_to_its_image() -> None:
    """The state belongs to the study of the image and names it."""
    ds = xray()
    state = written(subject_of(ds))
    (series,) = state.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == ds.SeriesInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == ds.SOPInstanceUID
    assert (state.StudyInstanceUID, state.PatientID) == (ds.StudyInstanceUID, ds.PatientID)


def test_a_photograph_gets_a_colour_state() -> None:
    """Colour images need the Color Softcopy Presentation State with a profile, and no grey display at all."""
    photo = xray(np.zeros((20, 30, 3), np.uint8), modality="XC", photometric="RGB", bits=8)
    state = written(subject_of(photo))
    assert state.SOPClassUID == "1.2.840.10008.5.1.4.1.1.11.2"
    assert state.ICCProfile[36:40] == b"acsp"
    assert "PresentationLUTShape" not in state


def test_a_broken_header_is_not_in_the_way() -> None:
    """A window, a side and a body part that make no sense are left out."""
    subject = subject_of(xray())
    header = subject.sources[0].header
    for keyword in ("WindowCenter", "BodyPartExamined", "ImageLaterality"):
        del header[keyword]
    header.add_new("WindowCenter", "LO", "nonsense")
    header.add_new("BodyPartExamined", "US", 7)
    state = written(subject)
    assert "SoftcopyVOILUTSequence" not in state
    assert state.Laterality == ""
