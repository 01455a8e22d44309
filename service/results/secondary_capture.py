"""Secondary Capture (PS3.3 A.8.1): the image with everything drawn over it, for viewers that show nothing else.

Warning, image, legend of the findings and tooth chart in one RGB picture. Nothing in it names the patient.
"""

from collections.abc import Sequence

from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from service.domain.result import Result
from service.results.composite import (
    Sources,
    as_result,
    code_item,
    composite,
    date_content,
    findings_of,
    images_of,
    place_body_part,
    reference_to,
    warning_lines,
)
from service.results.evidence import unwarned
from service.results.legend import Line, legend_of
from service.results.lettering import legible, picture_font
from service.results.odontogram import DARK, draw_chart, is_dental
from service.results.overlay import draw_overlay
from service.results.subject import Subject
from service.results.verification import verdict

KIND = "secondary-capture"
_WIDTH, _MOST_HEIGHT = 1600, 1500  # pixels of the picture of the image: every viewer and archive takes that
_LEAST_LETTERS = 10  # pixels
_WARNING, _BAR = (255, 214, 92), (74, 44, 0)


def write(subject: Subject) -> Sequence[Result]:
    """One picture for each image of which a preview was kept; also where nothing was found: it says so.

    Raises:
        Permanent: the header lacks a UID that the picture must refer to.
    """
    return [result for sources in images_of(subject) for result in _write(subject, sources)]


@unwarned()
def _write(subject: Subject, sources: Sources) -> list[Result]:
    picture = draw_page(sources)
    if picture is None:
        return []
    header = sources[0].header
    ds = composite(
        subject, sources, KIND, (906, "AI: picture of the result (unverified)"), SecondaryCaptureImageStorage
    )
    date_content(ds, sources)
    ds.Modality, ds.ConversionType = "OT", "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.BurnedInAnnotation, ds.RecognizableVisualFeatures, ds.LossyImageCompression = "YES", "NO", "00"
    ds.DerivationDescription = f"AI findings drawn over the image, {verdict(sources)}"
    source_image = reference_to(header)
    source_image.PurposeOfReferenceCodeSequence = [
        code_item("121322", "DCM", "Source image for image processing operation")
    ]
    ds.SourceImageSequence = [source_image]
    ds.PatientOrientation = None  # Type 2C; letters, legend and chart have none
    place_body_part(ds, header)
    _put_pixels(ds, picture)
    return [as_result(ds, sources, KIND)]


def _put_pixels(ds: Dataset, picture: Picture.Image) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = picture.height, picture.width
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    raw = picture.tobytes()
    ds.PixelData = raw + b"\0" * (len(raw) % 2)
    ds["PixelData"].VR = "OB"


def draw_page(sources: Sources) -> Picture.Image | None:
    """Warning, image, legend and chart below each other (RGB); None if no picture of the image was kept."""
    image = draw_overlay(sources, _WIDTH, _MOST_HEIGHT, least_width=_WIDTH)
    if image is None:
        return None
    findings = findings_of(sources)
    text = _WIDTH / 58
    parts = [_draw_warning(sources, text), image, _draw_legend(legend_of(sources), text)]
    if is_dental(findings):
        parts.append(draw_chart(findings, _WIDTH, DARK))
    page = Picture.new("RGB", (_WIDTH, sum(part.height for part in parts)), DARK.ground)
    top = 0
    for part in parts:
        page.paste(part, ((_WIDTH - part.width) // 2, top))
        top += part.height
    return page


def _draw_warning(sources: Sources, text: float) -> Picture.Image:
    bar = Picture.new("RGB", (_WIDTH, round(text * 1.9)), _BAR)
    draw = ImageDraw.Draw(bar)
    words = legible("   |   ".join(warning_lines(sources)))
    height = round(text)
    while height > _LEAST_LETTERS and picture_font(height).getlength(words) > _WIDTH - 2 * text:
        height -= 1
    draw.text((_WIDTH / 2, bar.height / 2), words, fill=_WARNING, font=picture_font(height), anchor="mm")
    return bar


def _draw_legend(lines: Sequence[Line], text: float) -> Picture.Image:
    """A line for each kind of finding: its colour, its name, where and how certain; long lines go on below."""
    font = picture_font(round(text * 0.82))
    margin, indent, step = text, text * 1.5, text * 1.15
    rows: list[tuple[Line | None, str]] = []
    for line in lines:
        wrapped = _wrapped(legible(line.text), font, _WIDTH - 2 * margin - indent)
        rows += [(line if number == 0 else None, part) for number, part in enumerate(wrapped)]
    picture = Picture.new("RGB", (_WIDTH, round(step * (len(rows) + 0.8))), DARK.ground)
    draw = ImageDraw.Draw(picture)
    for number, (begun, part) in enumerate(rows):
        y = step * (number + 0.9)
        if begun is not None and begun.colour is not None:
            draw.rectangle((margin, y - text * 0.35, margin + text * 0.7, y + text * 0.35), fill=begun.colour)
        draw.text((margin + indent, y), part, fill=DARK.text, font=font, anchor="lm")
    return picture


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    rows = [""]
    for word in text.split():
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and font.getlength(longer) > width:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows
