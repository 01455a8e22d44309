"""The letters of drawn pictures and pages: a font that reportlab brings, and what stands for letters that it lacks.

It has the letters of western Europe. Other Latin letters lose their marks, as on many older devices; of other scripts
nothing can be shown, and whoever draws must say so.
"""

import unicodedata
from functools import lru_cache
from pathlib import Path

import reportlab
from PIL import ImageFont
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

PLAIN, BOLD = "Vera", "VeraBd"  # embedded, so that every reader shows the same
_FOLDER = Path(reportlab.__file__).parent / "fonts"
_PLAINER = str.maketrans("łŁđĐħĦŧŦ", "lLdDhHtT")  # letters whose mark is no part that Unicode takes off
_UNKNOWN = "?"


def register() -> None:
    """Make the two fonts known to reportlab."""
    for name in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(name, str(_FOLDER / f"{name}.ttf")))


@lru_cache(maxsize=64)
def picture_font(height: int) -> ImageFont.FreeTypeFont:
    """The font for pictures, letters of that many pixels."""
    return ImageFont.truetype(str(_FOLDER / f"{PLAIN}.ttf"), height)


def legible(text: str) -> str:
    """The text in letters that the font has: "Őry" as "Ory"; a question mark for each letter of another script."""
    letters, known = unicodedata.normalize("NFC", text), _glyphs()
    return "".join(letter if ord(letter) in known else _plainer(letter) for letter in letters)


def is_legible(text: str) -> bool:
    """Whether every letter of a text can be shown, marks aside."""
    return _UNKNOWN not in legible(text.replace(_UNKNOWN, ""))


def _plainer(letter: str) -> str:
    bare = unicodedata.normalize("NFKD", letter.translate(_PLAINER))
    shown = "".join(part for part in bare if not unicodedata.combining(part))
    return shown if shown and all(ord(part) in _glyphs() for part in shown) else _UNKNOWN


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    return frozenset(TTFont(PLAIN, str(_FOLDER / f"{PLAIN}.ttf")).face.charToGlyph)
