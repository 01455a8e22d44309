"""The result on one page of paper (PDF, A4): who, what, the drawn image, the tooth chart, the findings in words.

It names the patient, as every sheet in a record does; the picture in it does not.
"""

import io
from pathlib import Path

import reportlab
from PIL import Image as Picture
from pydicom.dataset import Dataset
from reportlab.lib.utils import ImageReader, simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from service.results import wording
from service.results.composite import findings_of, images_of, warning_lines
from service.results.evidence import MANUFACTURER, evidence_of
from service.results.legend import legend_of
from service.results.odontogram import LIGHT, draw_chart, is_dental
from service.results.overlay import draw_overlay
from service.results.subject import Subject
from service.results.verification import headline, opening, verdict

_WIDTH, _HEIGHT = 595.0, 842.0  # A4 in points
_MARGIN = 42.0
_INNER = _WIDTH - 2 * _MARGIN
_FOOT = 70.0
_LETTERS, _LEADING = 8.5, 1.45  # height of the letters of the findings in points, of a line in letters
_PLAIN, _BOLD = "Vera", "VeraBd"  # reportlab brings them; embedded, so that every reader shows the same
_MOST_PICTURES = 4
_PICTURE_WIDTH = 1400  # pixels


def draw_report(subject: Subject) -> bytes:
    """The PDF; equal for equal subjects. What does not fit one page is left out, and that is said.

    Raises:
        Permanent: the header lacks a UID.
    """
    for name in (_PLAIN, _BOLD):
        pdfmetrics.registerFont(TTFont(name, str(Path(reportlab.__file__).parent / "fonts" / f"{name}.ttf")))
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(_WIDTH, _HEIGHT), invariant=1)
    canvas.setTitle(f"AI result, {verdict(subject.sources)}")
    canvas.setAuthor(MANUFACTURER)
    _Page(canvas, subject).draw()
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


class _Page:
    """One page while it is filled from top to bottom."""

    def __init__(self, canvas: Canvas, subject: Subject) -> None:
        self._canvas, self._subject = canvas, subject
        self._images = images_of(subject)
        self._y = _HEIGHT - _MARGIN

    def draw(self) -> None:
        """Everything in its order."""
        first = self._images[0][0]
        self._write("AI analysis of dental and X-ray images", _BOLD, 15)
        self._write(_patient_line(evidence_of(first)), _PLAIN, 9)
        self._write(_study_line(evidence_of(first)), _PLAIN, 9)
        self._draw_warning()
        if self._subject.signature is not None and self._subject.signature.withdrawn:
            self._write(opening(self._subject.sources), _PLAIN, 11)  # what was said of another patient is not repeated
            return
        self._draw_pictures()
        self._draw_chart()
        self._draw_findings()
        self._draw_foot()

    def _write(self, text: str, font: str, size: float) -> None:
        """A paragraph."""
        self._canvas.setFillGray(0)
        self._canvas.setFont(font, size)
        for row in simpleSplit(text, font, size, _INNER):
            self._y -= size * _LEADING
            self._canvas.drawString(_MARGIN, self._y, row)

    def _draw_warning(self) -> None:
        words = " - ".join(dict.fromkeys(line for sources in self._images for line in warning_lines(sources)))
        self._y -= 28
        self._canvas.setFillColorRGB(1.0, 0.93, 0.75)
        self._canvas.rect(_MARGIN, self._y, _INNER, 20, stroke=0, fill=1)
        self._canvas.setFillColorRGB(0.45, 0.25, 0)
        self._canvas.setFont(_BOLD, 10)
        self._canvas.drawCentredString(_WIDTH / 2, self._y + 6.5, words)
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

    def _draw_findings(self) -> None:
        self._y -= 6
        paragraphs = wording.sentences(self._subject.sources)
        for number, sources in enumerate(self._images, start=1):
            before = f"Image {number}: " if len(self._images) > 1 else ""
            paragraphs += [f"{before}{line.text}" for line in legend_of(sources)]
        rows = [row for text in paragraphs for row in simpleSplit(text, _PLAIN, _LETTERS, _INNER)]
        room = int((self._y - _FOOT) / (_LETTERS * _LEADING))
        for row in rows if len(rows) <= room else rows[: room - 1]:
            self._write(row, _PLAIN, _LETTERS)
        if len(rows) > room:
            self._write(f"... and {len(rows) - room + 1} more lines, in the structured report", _BOLD, _LETTERS)

    def _draw_foot(self) -> None:
        started_at = self._subject.sources[0].analysis.started_at
        made = f"Made by {MANUFACTURER} on {started_at:%Y-%m-%d %H:%M %Z}"
        check = "" if self._subject.signature else "; a dentist or radiologist must check it"
        lines = [f"{headline(self._subject.sources)}. {made}{check}.", f"Study {self._subject.study_instance_uid}"]
        self._canvas.setFillGray(0.35)
        self._canvas.setFont(_PLAIN, 7)
        for number, line in enumerate(lines):
            self._canvas.drawString(_MARGIN, _MARGIN + 12 - number * 10, line)


def _patient_line(clean: Dataset) -> str:
    born = str(clean.get("PatientBirthDate") or "")
    parts = {
        "Patient": str(clean.get("PatientName") or "").split("=")[0].replace("^", " ").strip(),
        "ID": str(clean.get("PatientID") or ""),
        "born": _date(born),
        "sex": str(clean.get("PatientSex") or ""),
    }
    return _joined(parts)


def _study_line(clean: Dataset) -> str:
    parts = {
        "Examination": str(clean.get("StudyDescription") or ""),
        "of": _date(str(clean.get("StudyDate") or "")),
        "accession": str(clean.get("AccessionNumber") or ""),
    }
    return _joined(parts)


def _date(raw: str) -> str:
    return f"{raw[:4]}-{raw[4:6]}-{raw[6:8]}" if raw else ""


def _joined(parts: dict[str, str]) -> str:
    """Names and values, as in "Patient Anna Muster, ID 7"; what the font cannot show is left out."""
    known = pdfmetrics.getFont(_PLAIN).face.charToGlyph
    shown = {name: value for name, value in parts.items() if value and all(ord(letter) in known for letter in value)}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
