"""The result on paper (PDF, A4): who, what, the drawn image, the tooth chart, the findings in words.

One page where it fits, and as many more as the findings need: whoever has only this must have all of it. Every page
names the patient, as every sheet in a record does; the picture in it does not.
"""

import io

from PIL import Image as Picture
from pydicom.dataset import Dataset
from reportlab import rl_config
from reportlab.lib.utils import ImageReader, simpleSplit
from reportlab.pdfgen.canvas import Canvas

from service import clock
from service.results import lettering, wording
from service.results.composite import findings_of, images_of, warning_lines
from service.results.evidence import MANUFACTURER, evidence_of
from service.results.legend import legend_of
from service.results.lettering import BOLD, PLAIN, is_legible, legible
from service.results.odontogram import LIGHT, draw_chart, is_dental
from service.results.overlay import draw_overlay
from service.results.subject import Subject
from service.results.verification import headline, opening, verdict

_WIDTH, _HEIGHT = 595.0, 842.0  # A4 in points
_MARGIN = 42.0
_INNER = _WIDTH - 2 * _MARGIN
_FOOT = 70.0
_LETTERS, _LEADING = 8.5, 1.45  # height of the letters of the findings in points, of a line in letters
_CAPTION = 10.0  # points below each of several pictures
_MOST_PICTURES = 4
_MOST_PAGES = 6
_UNSHOWN = "in letters that this page cannot show"
_PICTURE_WIDTH = 1400  # pixels


def draw_report(subject: Subject) -> bytes:
    """The PDF; equal for equal subjects. What does not fit six pages is left out, and that is said.

    Raises:
        Permanent: the header lacks a UID.
    """
    lettering.register()
    rl_config.useA85 = 0  # pictures as bytes, not as letters: the file a fifth smaller, the page twice as quick
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(_WIDTH, _HEIGHT), invariant=1)
    canvas.setTitle(f"AI result, {verdict(subject.sources)}")
    canvas.setAuthor(MANUFACTURER)
    _Page(canvas, subject).draw()
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


class _Page:
    """A page while it is filled from top to bottom, and those after it."""

    def __init__(self, canvas: Canvas, subject: Subject) -> None:
        self._canvas, self._subject = canvas, subject
        self._images = images_of(subject)
        self._clean = evidence_of(self._images[0][0])
        self._y = _HEIGHT - _MARGIN

    def draw(self) -> None:
        """Everything in its order."""
        self._draw_head()
        if self._subject.signature is not None and self._subject.signature.withdrawn:
            self._write(opening(self._subject.sources), PLAIN, 11)  # what was said of another patient is not repeated
            return
        self._draw_pictures()
        self._draw_chart()
        self._y -= 6
        rows = [row for text in self._paragraphs() for row in simpleSplit(legible(text), PLAIN, _LETTERS, _INNER)]
        pages = self._divided(rows)
        for number, of_page in enumerate(pages, start=1):
            if number > 1:
                self._canvas.showPage()
                self._y = _HEIGHT - _MARGIN
                self._draw_head()
            for row in of_page:
                self._write(row, PLAIN, _LETTERS)
            self._draw_foot(number, len(pages))

    def _draw_head(self) -> None:
        """What stands on every page: whose it is, and that it must be checked."""
        self._write("AI analysis of dental and X-ray images", BOLD, 15)
        self._write(_patient_line(self._clean), PLAIN, 9)
        self._write(_study_line(self._clean), PLAIN, 9)
        self._draw_warning()

    def _divided(self, rows: list[str]) -> list[list[str]]:
        """The rows of each page, the first of them what room is left on this one."""
        step = _LETTERS * _LEADING
        room, whole = max(int((self._y - _FOOT) / step), 0), int((_HEIGHT - _MARGIN - 110 - _FOOT) / step)
        most = room + (_MOST_PAGES - 1) * whole
        if len(rows) > most:
            left = len(rows) - most + 1
            rows = [*rows[: most - 1], f"... and {left} more lines, in the structured report"]
        return [rows[:room], *(rows[start : start + whole] for start in range(room, len(rows), whole))]

    def _write(self, text: str, font: str, size: float) -> None:
        """A paragraph."""
        self._canvas.setFillGray(0)
        self._canvas.setFont(font, size)
        for row in simpleSplit(legible(text), font, size, _INNER):
            self._y -= size * _LEADING
            self._canvas.drawString(_MARGIN, self._y, row)

    def _draw_warning(self) -> None:
        words = " - ".join(dict.fromkeys(line for sources in self._images for line in warning_lines(sources)))
        size = 10.0
        while size > _LETTERS / 2 and self._canvas.stringWidth(legible(words), BOLD, size) > _INNER - 8:
            size -= 0.5
        self._y -= 28
        self._canvas.setFillColorRGB(1.0, 0.93, 0.75)
        self._canvas.rect(_MARGIN, self._y, _INNER, 20, stroke=0, fill=1)
        self._canvas.setFillColorRGB(0.45, 0.25, 0)
        self._canvas.setFont(BOLD, size)
        self._canvas.drawCentredString(_WIDTH / 2, self._y + 6.5, legible(words))
        self._y -= 8

    def _draw_pictures(self) -> None:
        """One picture over the whole width, several in two columns."""
        drawn = [draw_overlay(sources, _PICTURE_WIDTH, _PICTURE_WIDTH) for sources in self._images[:_MOST_PICTURES]]
        pictures = [picture for picture in drawn if picture is not None]
        columns = min(len(pictures), 2)
        if not pictures:
            return
        width = (_INNER - 8 * (columns - 1)) / columns
        most = 300.0 if len(pictures) <= columns else 150.0
        for start in range(0, len(pictures), columns):
            row = pictures[start : start + columns]
            height = max(min(width * picture.height / picture.width, most) for picture in row)
            self._y -= height
            for place, picture in enumerate(row):
                self._put(picture, (_MARGIN + place * (width + 8), self._y), (width, height))
            if len(pictures) > 1:
                self._y -= _CAPTION
                self._canvas.setFont(PLAIN, 7)
                for place in range(len(row)):
                    left = _MARGIN + place * (width + 8)
                    self._canvas.drawString(left, self._y + 2, f"Image {start + place + 1}")
            self._y -= 8

    def _put(self, picture: Picture.Image, corner: tuple[float, float], room: tuple[float, float]) -> None:
        scale = min(room[0] / picture.width, room[1] / picture.height)
        size = picture.width * scale, picture.height * scale
        left = corner[0] + (room[0] - size[0]) / 2
        raw = io.BytesIO()
        picture.save(raw, "JPEG", quality=88)
        self._canvas.drawImage(ImageReader(raw), left, corner[1] + room[1] - size[1], *size)

    def _draw_chart(self) -> None:
        """The chart of a single image: of several images each has its own teeth, which a sum would mix."""
        if len(self._images) > 1 or not is_dental(findings_of(self._images[0])):
            return
        chart = draw_chart(findings_of(self._images[0]), _PICTURE_WIDTH, LIGHT)
        height = _INNER * chart.height / chart.width
        self._y -= height
        self._put(chart, (_MARGIN, self._y), (_INNER, height))

    def _paragraphs(self) -> list[str]:
        """The findings in words: sentences, then what explains the pictures."""
        paragraphs = wording.sentences(self._subject.sources)
        if len(self._images) > _MOST_PICTURES:
            paragraphs.append(f"Drawn above: the first {_MOST_PICTURES} of {len(self._images)} images.")
        for number, sources in enumerate(self._images, start=1):
            before = f"Image {number}: " if len(self._images) > 1 else ""
            paragraphs += [f"{before}{line.text}" for line in legend_of(sources)]
        return paragraphs

    def _draw_foot(self, page: int, pages: int) -> None:
        started_at = clock.local(self._subject.sources[0].analysis.started_at)
        made = f"Made by {MANUFACTURER} on {started_at:%Y-%m-%d %H:%M %Z}"
        check = "" if self._subject.signature else "; a dentist or radiologist must check it"
        lines = [f"{headline(self._subject.sources)}. {made}{check}.", f"Study {self._subject.study_instance_uid}"]
        self._canvas.setFillGray(0.35)
        self._canvas.setFont(PLAIN, 7)
        for number, line in enumerate(lines):
            self._canvas.drawString(_MARGIN, _MARGIN + 12 - number * 10, legible(line))
        if pages > 1:
            self._canvas.drawRightString(_WIDTH - _MARGIN, _MARGIN + 2, f"Page {page} of {pages}")


def _patient_line(clean: Dataset) -> str:
    groups = [" ".join(group.replace("^", " ").split()) for group in str(clean.get("PatientName") or "").split("=")]
    names = [group for group in groups if group]
    name = next(filter(is_legible, names), f"with a name {_UNSHOWN}" if names else "without a name")
    identifier = str(clean.get("PatientID") or "")
    born, sex = _date(str(clean.get("PatientBirthDate") or "")), str(clean.get("PatientSex") or "")
    parts = [f"Patient {name}", f"ID {_shown(identifier)}" if identifier else "no ID"]
    return ", ".join([*parts, *([f"born {born}"] if born else []), *([f"sex {sex}"] if sex else [])])


def _study_line(clean: Dataset) -> str:
    said = {
        "Examination": _shown(str(clean.get("StudyDescription") or "")),
        "of": _date(str(clean.get("StudyDate") or "")),
        "accession": _shown(str(clean.get("AccessionNumber") or "")),
    }
    return ", ".join(f"{name} {value}" for name, value in said.items() if value)


def _shown(text: str) -> str:
    """A text, or that it cannot be shown: nothing of a record vanishes in silence."""
    return text if is_legible(text) else f"({_UNSHOWN})"


def _date(raw: str) -> str:
    return f"{raw[:4]}-{raw[4:6]}-{raw[6:8]}" if raw else ""
