"""Softcopy Presentation State: outlines, FDI numbers, names of findings and "AI RESULT - NOT VERIFIED" over each image.

Grayscale (PS3.3 A.33.1) for one sample per pixel, Color (A.33.2) for photographs. A state replaces the image's own
window and rescaling, so they are copied into it: left out would mean identity.
"""

import struct
from collections.abc import Iterator, Sequence

import highdicom as hd
from PIL import ImageCms
from pydicom.dataset import Dataset
from pydicom.uid import ColorSoftcopyPresentationStateStorage, GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import format_number_as_ds

from service.domain.finding import Finding, Region
from service.domain.result import Result
from service.results.composite import (
    Sources,
    as_result,
    composite,
    findings_of,
    images_of,
    numbers_of,
    place_body_part,
    reference_to,
    warning_lines,
)
from service.results.evidence import copied, short, unwarned
from service.results.labels import drawn_label, finding_label, sureness
from service.results.subject import Subject
from service.results.verification import verdict

KIND = "presentation-state"
_TEETH, _FINDINGS, _NOTES = "AI_TEETH", "AI_FINDINGS", "AI_NOTES"
_LAYERS = (  # name, description, CIELab
    (_TEETH, "AI teeth", (85.0, -45.0, 30.0)),
    (_FINDINGS, "AI findings", (62.0, 60.0, 55.0)),
    (_NOTES, "AI remarks", (90.0, -5.0, 80.0)),
)
_LINE_HEIGHT = 0.035  # of the displayed area, for a line of text
_MOST_LINES = 12


def write(subject: Subject) -> Sequence[Result]:
    """One state for each image. Also for one without findings: it says so.

    Raises:
        Permanent: the header lacks a UID that the state must refer to.
    """
    return [_write(subject, sources) for sources in images_of(subject)]


@unwarned()
def _write(subject: Subject, sources: Sources) -> Result:
    header = sources[0].header
    colour = int(header.get("SamplesPerPixel") or 1) > 1
    sop_class = ColorSoftcopyPresentationStateStorage if colour else GrayscaleSoftcopyPresentationStateStorage
    series = (905, "AI: outlines and numbers (unverified)")
    ds = composite(subject, sources, KIND, series, sop_class)
    ds.Modality = "PR"
    said_at = sources[0].said_at
    ds.PresentationCreationDate, ds.PresentationCreationTime = f"{said_at:%Y%m%d}", f"{said_at:%H%M%S}"
    ds.ContentLabel, ds.ContentDescription = "AI_RESULT", short(f"AI result, {verdict(sources)}")
    ds.ContentCreatorName = "AI^Dentgate"
    ds.ReferencedSeriesSequence = [_referenced_series(header)]
    ds.DisplayedAreaSelectionSequence = [_displayed_area(sources)]
    _describe_display(ds, header, colour=colour)
    layers = list(_annotations(sources))
    ds.GraphicAnnotationSequence = layers
    ds.GraphicLayerSequence = _graphic_layers({layer.GraphicLayer for layer in layers})
    place_body_part(ds, header)
    return as_result(ds, sources, KIND)


def _referenced_series(header: Dataset) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = str(header.SeriesInstanceUID)
    item.ReferencedImageSequence = [reference_to(header)]
    return item


def _displayed_area(sources: Sources) -> Dataset:
    """The whole image; the one place in DICOM that counts pixels from 1 (PS3.3 C.10.4)."""
    analysis = sources[0].analysis
    item = Dataset()
    item.ReferencedImageSequence = [reference_to(sources[0].header)]
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [analysis.columns, analysis.rows]
    item.PresentationSizeMode, item.PresentationPixelAspectRatio = "SCALE TO FIT", [1, 1]
    return item


def _describe_display(ds: Dataset, header: Dataset, *, colour: bool) -> None:
    if colour:
        ds.ICCProfile = _srgb_profile()
        return
    _copy(header, ds, ("ModalityLUTSequence",) if "ModalityLUTSequence" in header else ("RescaleIntercept",))
    if "RescaleIntercept" in ds:
        _copy(header, ds, ("RescaleSlope", "RescaleType"))
        ds.RescaleSlope, ds.RescaleType = ds.get("RescaleSlope", 1), ds.get("RescaleType") or "US"
    voi = _voi_of(header)
    if voi is not None:
        ds.SoftcopyVOILUTSequence = [voi]
    inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"


def _voi_of(header: Dataset) -> Dataset | None:
    """The image's VOI LUT, else its windows; None where they make no sense."""
    voi = Dataset()
    if "VOILUTSequence" in header:
        _copy(header, voi, ("VOILUTSequence",))
        return voi if "VOILUTSequence" in voi else None
    centers, widths = numbers_of(header, "WindowCenter"), numbers_of(header, "WindowWidth")
    if not centers or len(centers) != len(widths) or min(widths) <= 0:
        return None
    voi.WindowCenter = [format_number_as_ds(value) for value in centers]
    voi.WindowWidth = [format_number_as_ds(value) for value in widths]
    _copy(header, voi, ("VOILUTFunction",))
    return voi


def _copy(source: Dataset, target: Dataset, keywords: Sequence[str]) -> None:
    for keyword in keywords:
        element = copied(source, keyword)
        if element is not None and not element.is_empty:
            target.add(element)


def _annotations(sources: Sources) -> Iterator[Dataset]:
    """One item for each layer that has something on it."""
    found = findings_of(sources)
    placed = [(finding, finding.region) for finding in found if finding.region is not None]
    for layer, wanted in ((_TEETH, True), (_FINDINGS, False)):
        shown = [(finding, region) for finding, region in placed if (finding.kind == "tooth") == wanted]
        if shown:
            item = _layer_item(sources, layer)
            item.GraphicObjectSequence = [_outline(region) for _, region in shown]
            item.TextObjectSequence = [_text_beside(finding, region) for finding, region in shown]
            yield item
    notes = _layer_item(sources, _NOTES)
    notes.TextObjectSequence = [_line(number, text) for number, text in enumerate(_remarks(sources))]
    yield notes


def _layer_item(sources: Sources, layer: str) -> Dataset:
    item = Dataset()
    item.ReferencedImageSequence, item.GraphicLayer = [reference_to(sources[0].header)], layer
    return item


def _outline(region: Region) -> Dataset:
    """The closed outline in pixels, (0, 0) the top left corner of the first one (PS3.3 C.10.5.1.2)."""
    x0, y0, x1, y1 = region.box
    points = region.outline or ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    closed = [*points, points[0]]
    item = Dataset()
    item.GraphicAnnotationUnits, item.GraphicDimensions, item.NumberOfGraphicPoints = "PIXEL", 2, len(closed)
    # pydicom writes FL in 32 bits: the same number now as after reading
    item.GraphicData = [struct.unpack("<f", struct.pack("<f", value))[0] for point in closed for value in point]
    item.GraphicType, item.GraphicFilled = "POLYLINE", "N"
    return item


def _text_beside(finding: Finding, region: Region) -> Dataset:
    """The number of a tooth in its middle, the name of a finding above its region."""
    x0, y0, x1, y1 = region.box
    item = Dataset()
    item.AnchorPointAnnotationUnits, item.AnchorPointVisibility = "PIXEL", "N"
    tooth = finding.kind == "tooth"
    item.AnchorPoint = [(x0 + x1) / 2, (y0 + y1) / 2 if tooth else y0]
    item.UnformattedTextValue = drawn_label(finding)
    return item


def _remarks(sources: Sources) -> list[str]:
    """The warning, then what belongs to no place in the image."""
    lines = warning_lines(sources)
    for source in sources:
        analysis = source.analysis
        whole = [finding for finding in analysis.findings if finding.region is None]
        lines += [" ".join((finding_label(finding), *sureness(finding))) for finding in whole]
        if analysis.refused:
            lines.append(f"{analysis.algorithm.name}: not read: {analysis.refused}")
        elif not analysis.findings:
            lines.append(f"{analysis.algorithm.name}: no finding")
    return lines[:_MOST_LINES]


def _line(number: int, text: str) -> Dataset:
    """A line of text at the top left of the displayed area, whatever part of the image is shown."""
    top = 0.01 + number * _LINE_HEIGHT
    item = Dataset()
    item.BoundingBoxAnnotationUnits = "DISPLAY"
    item.BoundingBoxTopLeftHandCorner = [0.01, top]
    item.BoundingBoxBottomRightHandCorner = [0.6, top + _LINE_HEIGHT]
    item.BoundingBoxTextHorizontalJustification = "LEFT"
    item.UnformattedTextValue = text
    return item


def _graphic_layers(used: set[str]) -> list[Dataset]:
    items: list[Dataset] = []
    for name, description, lab in _LAYERS:
        if name in used:
            item = Dataset()
            item.GraphicLayer, item.GraphicLayerOrder, item.GraphicLayerDescription = name, len(items) + 1, description
            item.GraphicLayerRecommendedDisplayCIELabValue = list(hd.color.CIELabColor(*lab).value)
            items.append(item)
    return items


def _srgb_profile() -> bytes:
    """An sRGB profile; its header says that it was made in 2000, so that the same is made twice (ICC.1 7.2)."""
    raw: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return raw[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + raw[36:]
