"""The colours of teeth and findings: one place, so that a segmentation and a drawn picture show the same."""

import math
from collections.abc import Sequence

from service.domain.codes import FINDINGS
from service.domain.finding import Finding

Lab = tuple[float, float, float]
Rgb = tuple[int, int, int]
_GOLDEN_ANGLE = 137.508  # degrees; turning the hue by it keeps neighbours in a row far apart
_TOOTH = (65.0, 60.0)  # lightness, chroma: one calm tone for all teeth
_FINDING = (58.0, 85.0)  # findings stand out against the teeth
_QUIET: Rgb = (190, 196, 204)
_FIRST_FINDING = 40.0  # degrees: red
_WHITE = (0.95047, 1.0, 1.08883)  # CIE XYZ of D65, the white of sRGB


def lab_of(finding: Finding, number: int) -> Lab:
    """CIELab of a finding: a tooth has a colour of its own number, everything else that of its kind.

    Args:
        finding: what is coloured.
        number: tells teeth without a number apart.
    """
    if finding.kind == "tooth":
        (lightness, chroma), hue = _TOOTH, (finding.tooth or number) * _GOLDEN_ANGLE
    else:
        kinds = [kind for kind in FINDINGS if kind != "tooth"]
        place = kinds.index(finding.kind) if finding.kind in kinds else len(kinds)
        (lightness, chroma), hue = _FINDING, _FIRST_FINDING + place * _GOLDEN_ANGLE
    angle = math.radians(hue)
    return lightness, chroma * math.cos(angle), chroma * math.sin(angle)


def drawn_colour(finding: Finding, number: int, shown: Sequence[Finding]) -> Rgb:
    """Its colour in a picture: where something was found of teeth, the teeth themselves step back into grey.

    Args:
        number: tells teeth without a number apart.
        shown: everything in the picture.
    """
    if finding.kind == "tooth" and any(other.kind != "tooth" for other in shown):
        return _QUIET
    return rgb_of(lab_of(finding, number))


def rgb_of(lab: Lab) -> Rgb:
    """The sRGB colour nearest to a CIELab colour (IEC 61966-2-1, white point D65)."""
    lightness, a, b = lab
    fy = (lightness + 16) / 116
    x, y, z = (white * _inverse(f) for white, f in zip(_WHITE, (fy + a / 500, fy, fy - b / 200), strict=True))
    red = 3.2406 * x - 1.5372 * y - 0.4986 * z
    green = -0.9689 * x + 1.8758 * y + 0.0415 * z
    blue = 0.0557 * x - 0.2040 * y + 1.0570 * z
    return _gamma(red), _gamma(green), _gamma(blue)


def _inverse(value: float) -> float:
    """CIE 15: the inverse of the function between XYZ and Lab."""
    return value**3 if value > 6 / 29 else 3 * (6 / 29) ** 2 * (value - 4 / 29)


def _gamma(linear: float) -> int:
    linear = min(max(linear, 0.0), 1.0)
    value = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055  # noqa: PLR2004 - IEC 61966-2-1
    return round(255 * value)
