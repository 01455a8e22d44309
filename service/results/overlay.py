"""The image as it is looked at, with what was found drawn over it: outlines, FDI numbers, names, heat maps."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from pydicom.dataset import Dataset

from service.domain.finding import LANDMARKS, Finding, HeatMap, Region
from service.results.colours import Rgb, drawn_colour
from service.results.composite import Sources, findings_of
from service.results.labels import drawn_label
from service.results.lettering import legible, picture_font

_MOST_NAMES = 8  # more names than this hide the image; then colours and the legend speak
_STACKED = {"vertebra", "scoliosis"}  # one below the other: words above or below would cover the next
_FILL = 45  # of 255: the image stays visible below
_DARK: Rgb = (0, 0, 0)
_HEAT_STOPS = ((0, (0, 0, 80)), (96, (0, 150, 200)), (160, (250, 220, 0)), (255, (255, 30, 0)))
_LEAST_HEAT, _MOST_HEAT = 48, 150  # below the first nothing is drawn; opacity of the hottest, of 255
Box = tuple[float, float, float, float]


def draw_overlay(sources: Sources, most_width: int, most_height: int, least_width: int = 0) -> Picture.Image | None:
    """The picture (RGB) with everything that all analyses of one image found; None if no picture of it was kept.

    Args:
        sources: all analyses of one image.
        most_width, most_height: it fits into this many pixels.
        least_width: a smaller picture is enlarged to this, unless that makes it too high.
    """
    raw = sources[0].picture
    if not raw:
        return None
    with Picture.open(io.BytesIO(raw)) as opened:
        picture = opened.convert("RGB")
    wanted = min(max(picture.width, least_width), most_width, most_height * picture.width / picture.height)
    size = (max(round(wanted), 1), max(round(wanted * picture.height / picture.width), 1))
    if size != picture.size:
        picture = picture.resize(size, Picture.Resampling.LANCZOS)
    _Drawing(picture, sources).draw()
    return picture


class _Drawing:
    """One picture while it is drawn on."""

    def __init__(self, picture: Picture.Image, sources: Sources) -> None:
        analysis = sources[0].analysis
        self._picture = picture
        self._findings = findings_of(sources)
        self._sides = sides_of(sources[0].header)
        self._scale = picture.width / analysis.columns, picture.height / analysis.rows
        # by the side at which a page shrinks it: panoramics are wide, films as high as wide, spines much higher
        self._text = max(picture.width / 75, picture.height / 48, 11.0)
        self._stroke = max(round(max(picture.width, picture.height) / 700), 1)
        self._taken: list[Box] = []

    def draw(self) -> None:
        """Heat below, then outlines, then words, so that no outline crosses a word."""
        heats = [finding for finding in self._findings if finding.heat is not None]
        if heats:
            hottest = max(heats, key=lambda finding: finding.certainty)
            assert hottest.heat is not None  # noqa: S101 - chosen for having one
            _lay_heat(self._picture, hottest.heat)
        placed = [(finding, finding.region) for finding in self._findings if finding.region is not None]
        self._draw_outlines(placed)
        draw = ImageDraw.Draw(self._picture)
        font = picture_font(round(self._text * 0.9))
        self._write_sides(draw, font)
        named = sum(finding.kind not in LANDMARKS for finding, _ in placed) <= _MOST_NAMES
        for number, (finding, region) in enumerate(placed):
            if finding.kind in LANDMARKS or named:
                self._write(draw, font, drawn_label(finding), (self._box(region), finding, number))

    def _draw_outlines(self, placed: Sequence[tuple[Finding, Region]]) -> None:
        layer = Picture.new("RGBA", self._picture.size)
        draw = ImageDraw.Draw(layer)
        for number, (finding, region) in enumerate(placed):
            colour = drawn_colour(finding, number, self._findings)
            points = self._points(region)
            tooth = finding.kind == "tooth"
            draw.polygon(points, fill=(*colour, _FILL if tooth else 0))
            draw.line(
                [*points, points[0]], fill=(*colour, 255), width=self._stroke * (1 if tooth else 2), joint="curve"
            )
        self._picture.paste(layer, mask=layer)

    def _write_sides(self, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont) -> None:
        """The patient's sides at the edges: this picture goes where nothing else tells them."""
        height = self._text * 1.15
        top, width = (self._picture.height - height) / 2, self._text * 1.15
        for side, left in zip(self._sides, (0.0, self._picture.width - width), strict=False):
            box = (left, top, left + width, top + height)
            self._taken.append(box)
            draw.rectangle(box, fill=_DARK)
            middle = left + width / 2, top + height / 2
            draw.text(middle, side, fill=(255, 255, 255), font=font, anchor="mm")

    def _points(self, region: Region) -> list[tuple[float, float]]:
        x0, y0, x1, y1 = region.box
        across, down = self._scale
        points = region.outline or ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        return [(x * across, y * down) for x, y in points]

    def _box(self, region: Region) -> Box:
        x0, y0, x1, y1 = region.box
        across, down = self._scale
        return x0 * across, y0 * down, x1 * across, y1 * down

    def _write(
        self,
        draw: ImageDraw.ImageDraw,
        font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
        text: str,
        place: tuple[Box, Finding, int],
    ) -> None:
        """Words on a dark ground, at a finding; moved aside where words stand."""
        (x0, y0, x1, y1), finding, number = place
        text = legible(text.replace(" degrees", "°"))
        width, height = draw.textlength(text, font=font) + self._text * 0.4, self._text * 1.15
        beside = finding.kind in _STACKED
        left = x1 + self._text / 2 if beside else (x0 + x1 - width) / 2
        left = min(max(left, 0), max(self._picture.width - width, 0))
        boxes = [(left, top, left + width, top + height) for top in _tops(finding, (y0, y1), height)]
        inside = [box for box in boxes if box[1] >= 0 and box[3] <= self._picture.height] or boxes[2:3]
        box = next((each for each in inside if not any(_overlap(each, other) for other in self._taken)), inside[0])
        self._taken.append(box)
        colour = drawn_colour(finding, number, self._findings)
        draw.rounded_rectangle(box, height * 0.2, fill=_DARK, outline=colour)
        draw.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), text, fill=(255, 255, 255), font=font, anchor="mm")


def sides_of(header: Dataset) -> tuple[str, ...]:
    """The patient's sides at the left and the right edge of an image, where Patient Orientation names them.

    Its first value is the direction of the rows (PS3.3 C.7.6.1.1.1): "L" where the patient's right is at the left.
    """
    try:
        direction = str(next(iter(header.get("PatientOrientation") or ()), ""))
    except Exception:  # noqa: BLE001 - malformed elements make pydicom raise nearly anything, and many lack it
        return ()
    return {"L": ("R", "L"), "R": ("L", "R")}.get(direction, ())


def _tops(finding: Finding, span: tuple[float, float], height: float) -> list[float]:
    """Where the words of a finding may begin, the best first: the root end of a tooth, above other findings."""
    y0, y1 = span
    middle = (y0 + y1 - height) / 2
    if finding.kind in _STACKED:
        return [middle + step * height / 2 for step in (0, 1, -1, 2, -2, 3, -3, 4, -4)]
    lower = finding.kind == "tooth" and finding.tooth is not None and finding.tooth // 10 in {3, 4, 7, 8}
    ends = [y1 + 2, y0 - height - 2] if lower else [y0 - height - 2, y1 + 2]
    return [*ends, *(middle + step * height for step in (0, 1, -1, 2, -2))]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _lay_heat(picture: Picture.Image, heat: HeatMap) -> None:
    """Colours over the image where much spoke for the finding; the rest stays as it is."""
    grid = np.array(heat.values, np.uint8).reshape(heat.rows, heat.columns)
    smooth = np.asarray(Picture.fromarray(grid).resize(picture.size, Picture.Resampling.BICUBIC))
    at = [stop for stop, _ in _HEAT_STOPS]
    channels = [np.interp(np.arange(256), at, [colour[each] for _, colour in _HEAT_STOPS]) for each in range(3)]
    opacity = np.interp(np.arange(256), (_LEAST_HEAT, 255), (0, _MOST_HEAT))
    table = np.stack([*channels, opacity], -1).round().astype(np.uint8)
    layer = Picture.fromarray(table[smooth])
    picture.paste(layer, mask=layer)
