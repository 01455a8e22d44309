"""The tooth chart as a picture: which teeth were found, and what was found of them; the patient's right at the left."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from service.domain.finding import UNCERTAIN, Finding
from service.domain.tooth import TEETH, chart_rows
from service.results.colours import Rgb, drawn_colour
from service.results.lettering import picture_font

_PLACES = 16  # of a row of permanent teeth
_MOST_MARKS = 4


@dataclass(frozen=True, slots=True)
class Style:
    """Colours of the chart on its ground."""

    ground: Rgb
    text: Rgb
    faint: Rgb


DARK = Style((18, 20, 24), (235, 235, 235), (105, 110, 118))
LIGHT = Style((255, 255, 255), (20, 20, 20), (150, 150, 150))


def is_dental(findings: Sequence[Finding]) -> bool:
    """Whether a chart says anything about them."""
    return any(finding.tooth in TEETH for finding in findings)


def draw_chart(findings: Sequence[Finding], width: int, style: Style) -> Picture.Image:
    """The chart: a filled cell is a tooth that was found, its number in FDI; squares below are what was found of it.

    Args:
        width: of the picture in pixels; the height follows.
    """
    rows = chart_rows(finding.tooth for finding in findings if finding.tooth is not None)
    side = width / (_PLACES + 2)
    cell_height = side * 0.8
    picture = Picture.new("RGB", (width, round(cell_height * (len(rows) + 0.2))), style.ground)
    draw = ImageDraw.Draw(picture)
    font = picture_font(max(round(side * 0.32), 9))
    of_tooth: dict[int | None, list[Finding]] = {}
    for finding in findings:
        of_tooth.setdefault(finding.tooth, []).append(finding)
    for number, row in enumerate(rows):
        top = cell_height * (number + 0.1)
        left = side + side * (_PLACES - len(row)) / 2
        for place, fdi in enumerate(row):
            box = (left + side * (place + 0.04), top, left + side * (place + 0.96), top + cell_height * 0.92)
            _draw_cell(draw, box, (fdi, of_tooth.get(fdi, []), findings), (style, font))
    middle = picture.height / 2
    for text, x in (("R", side / 2), ("L", width - side / 2)):
        draw.text((x, middle), text, fill=style.text, font=font, anchor="mm")
    return picture


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    cell: tuple[int, Sequence[Finding], Sequence[Finding]],
    drawn: tuple[Style, ImageFont.FreeTypeFont | ImageFont.ImageFont],
) -> None:
    """A cell: FDI number, what was found there, and everything that was found."""
    (fdi, findings, all_findings), (style, font) = cell, drawn
    x0, y0, x1, y1 = box
    radius = (x1 - x0) * 0.12
    teeth = [finding for finding in findings if finding.kind == "tooth"]
    others = [finding for finding in findings if finding.kind != "tooth"]
    text = str(fdi)
    if teeth:
        colour = drawn_colour(teeth[0], fdi, all_findings)
        draw.rounded_rectangle(box, radius, fill=colour)
        ink: Rgb = (0, 0, 0)
        text += "?" if any(UNCERTAIN in finding.flags for finding in teeth) else ""
    else:
        ink = style.text if others else style.faint
        draw.rounded_rectangle(box, radius, outline=ink)
    draw.text(((x0 + x1) / 2, y0 + (y1 - y0) * (0.34 if others else 0.5)), text, fill=ink, font=font, anchor="mm")
    marks = list({finding.kind: drawn_colour(finding, 0, others) for finding in others}.values())[:_MOST_MARKS]
    step = (x1 - x0) / (_MOST_MARKS + 0.5)
    for number, colour in enumerate(marks):
        left = x0 + step * (number + 0.35)
        square = (left, y0 + (y1 - y0) * 0.62, left + step * 0.8, y0 + (y1 - y0) * 0.62 + step * 0.8)
        draw.rectangle(square, fill=colour, outline=(0, 0, 0))
