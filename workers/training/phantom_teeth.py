"""Tooth shapes of the phantom: where each tooth stands and how crown, roots, pulp and restorations are drawn."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UPPER = (18, 17, 16, 15, 14, 13, 12, 11, 21, 22, 23, 24, 25, 26, 27, 28)
LOWER = (48, 47, 46, 45, 44, 43, 42, 41, 31, 32, 33, 34, 35, 36, 37, 38)

# Number 1..8: mesiodistal width, crown height, root length (mm).
_UPPER_MM = (
    (8.5, 10.5, 13),
    (6.7, 9, 13),
    (7.6, 10, 17),
    (7.2, 8.5, 14),
    (7, 8.3, 14),
    (10.4, 7.6, 13),
    (9.6, 7.2, 12.5),
)
_LOWER_MM = (
    (5.3, 9, 12.5),
    (6, 9.4, 14),
    (7, 11, 16),
    (7.2, 8.6, 14.5),
    (7.6, 8.2, 14.5),
    (11.6, 7.7, 14),
    (11, 7.3, 13),
)
_UPPER_WISDOM, _LOWER_WISDOM = (9.2, 6.6, 10), (10.6, 6.9, 10.5)
_CANINE, _PREMOLAR, _MOLAR, _WISDOM = 3, 4, 6, 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tooth stands, in pixels: middle of the biting edge, angle of its axis (radians, 0 = upright)."""

    fdi: int
    x: float
    y: float
    angle: float
    width: float
    crown: float
    root: float

    @property
    def upper(self) -> bool:
        """True in the upper jaw: the root points to smaller rows."""
        return self.fdi < 30  # noqa: PLR2004 - quadrants 1 and 2

    @property
    def number(self) -> int:
        """1 (central incisor) to 8 (third molar)."""
        return self.fdi % 10


def place_teeth(rng: np.random.Generator, height: int, width: int, absent: Collection[int]) -> dict[int, Place]:
    """All teeth that are there, along a smile curve; neighbours of a gap lean and drift into it a little."""
    millimetre = width * 0.0049 * rng.uniform(0.86, 1.12)
    tall = height / width * 1.9 * rng.uniform(0.95, 1.1)  # devices differ in vertical magnification
    middle = width * (0.5 + rng.uniform(-0.025, 0.025))
    bite = height * (0.545 + rng.uniform(-0.035, 0.035))
    curl = height * rng.uniform(0.10, 0.26)  # rise of the curve at the edge of the image
    opening = height * rng.uniform(0.0, 0.035)
    tilt = rng.uniform(-0.03, 0.03)
    places = {}
    for arch, upper in ((UPPER, True), (LOWER, False)):
        sizes = {n: _size(rng, n, upper=upper) for n in range(1, 9)}
        for side in (-1, 1):
            half = arch[7::-1] if side < 0 else arch[8:]
            edge = 0.0
            for fdi in half:
                mm = sizes[fdi % 10]
                wide = mm[0] * millimetre * rng.uniform(0.95, 1.05)
                at = edge + wide / 2
                edge += wide * rng.uniform(0.93, 1.02)
                if fdi in absent:
                    edge -= wide * rng.uniform(0.0, 0.2)  # the next one has drifted into the gap
                    continue
                x = middle + side * at
                u = (x - width / 2) / (width / 2)
                sink = 1 if fdi % 10 == _WISDOM else 0
                y = bite - curl * u * u + tilt * (x - middle) + (-opening if upper else opening) / 2
                y += (-1 if upper else 1) * height * (rng.uniform(0, 0.006) + sink * rng.uniform(0, 0.03))
                lean = _lean(rng, fdi, u, side, upper=upper)
                tall_mm = millimetre * tall
                places[fdi] = Place(fdi, x, y, lean + tilt, wide, mm[1] * tall_mm, mm[2] * tall_mm)
    return places


def _size(rng: np.random.Generator, number: int, *, upper: bool) -> tuple[float, float, float]:
    table = (*_UPPER_MM, _UPPER_WISDOM) if upper else (*_LOWER_MM, _LOWER_WISDOM)
    wide, crown, root = table[number - 1]
    return wide * rng.uniform(0.94, 1.06), crown * rng.uniform(0.92, 1.08), root * rng.uniform(0.88, 1.1)


def _lean(rng: np.random.Generator, fdi: int, u: float, side: int, *, upper: bool) -> float:
    """Angle by which the root points away from the midline (positive: to the image's right)."""
    number = fdi % 10
    outward = (0.10 + 0.35 * abs(u)) if not upper else (0.02 + 0.25 * abs(u))
    if number == _WISDOM:
        outward += rng.uniform(-0.1, 0.5)
    return float(side * (outward * abs(u) ** 0.5 + rng.normal(0, 0.04)))


def draw_tooth(
    rng: np.random.Generator,
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    place: Place,
    *,
    restored: bool,
) -> None:
    """Paint one tooth into ``image`` (0..1) and its number into ``labels``; a tooth painted later lies in front."""
    reach = place.crown + place.root + place.width
    y0, y1 = max(0, int(place.y - reach)), min(image.shape[0], int(place.y + reach))
    x0, x1 = max(0, int(place.x - reach)), min(image.shape[1], int(place.x + reach))
    if y0 >= y1 or x0 >= x1:
        return
    rows, columns = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    dy, dx = rows - place.y, columns - place.x
    if place.upper:
        dy = -dy
    across = dx * np.cos(place.angle) - dy * np.sin(place.angle)
    along = dx * np.sin(place.angle) + dy * np.cos(place.angle)
    depth, chamber = _shape(place, across, along)
    body = depth > 0
    below = (along > place.crown * 1.15) & (along < place.crown + place.root * 1.04)
    view, names = image[y0:y1, x0:x1], labels[y0:y1, x0:x1]
    view[(depth > -0.06 * place.width) & ~body & below] -= 0.05  # periodontal gap
    tone = rng.uniform(-0.03, 0.03)
    rounded = np.clip(depth / (0.35 * place.width), 0, 1)
    value = 0.50 + tone + 0.09 * np.sqrt(rounded)
    crown = along < place.crown * 1.05
    enamel = crown & ((depth < 0.16 * place.width) | (along < 0.30 * place.crown))
    value = np.where(crown, value + 0.07, value)
    value = np.where(enamel, value + 0.13, value)
    value = np.where(chamber, value - 0.10, value)
    if restored:
        value = _restore(rng, place, across, along, value, chamber)
    overlap = np.where(names[body] > 0, 0.10, 0.0)  # two teeth in one ray absorb more
    view[body] = np.clip(value[body] + overlap, 0, 1)
    names[body] = place.fdi


def _shape(
    place: Place, across: NDArray[np.float32], along: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Depth below the surface in pixels (negative outside) and where the pulp is; molars have two roots, others one."""
    n, w = place.number, place.width
    total = place.crown + place.root
    t = np.clip(along / place.crown, 0, 1)
    neck = 0.72 if n >= _PREMOLAR else 0.68
    top = 0.86 if n < _CANINE else (0.35 if n == _CANINE else 0.7)  # incisors flat, canines pointed, others with cusps
    bulge = np.where(t < 0.35, top + (1 - top) * np.sqrt(t / 0.35), 1 - (1 - neck) * ((t - 0.35) / 0.65) ** 2)  # noqa: PLR2004
    r = np.clip((along - place.crown) / place.root, 0, 1)
    half = w / 2 * np.where(along < place.crown, bulge, neck * np.sqrt(np.clip(1 - r**1.7, 0, 1)))
    cusp = 0.10 * place.crown * np.cos(across / w * 2 * np.pi) if n >= _PREMOLAR else 0.0 * across
    edge = along - (0.06 * place.crown + cusp * (1 if n >= _MOLAR else -0.8))
    depth = np.minimum(half - np.abs(across), edge)
    depth = np.minimum(depth, (total - along) * 0.6)
    chamber = (np.abs(across) < half * 0.22) & (along > 0.45 * place.crown) & (along < total * 0.93)
    if n >= _MOLAR:
        depth, chamber = _split_roots(place, across, along, r, neck, depth)
    return depth, chamber


def _split_roots(
    place: Place,
    across: NDArray[np.float32],
    along: NDArray[np.float32],
    r: NDArray[np.float32],
    neck: float,
    depth: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Two diverging roots below the furcation (upper molars get a third, palatal one between them) and pulp."""
    w = place.width
    spread = w * neck * (0.25 + 0.08 * r)
    thick = w * neck * 0.25 * np.sqrt(np.clip(1 - r**2.2, 0, 1)) * 1.05
    root = thick - np.abs(np.abs(across) - spread)
    if place.upper:
        palatal = w * neck * 0.20 * np.sqrt(np.clip(1 - (r / 0.95) ** 2, 0, 1)) - np.abs(across)
        root = np.maximum(root, palatal)
    furcation = r > 0.22  # noqa: PLR2004 - trunk is about a fifth of the root
    depth = np.where(furcation, np.minimum(root, (place.crown + place.root - along) * 0.6), depth)
    chamber = (np.abs(across) < 0.2 * w) & (along > 0.5 * place.crown) & (along < 1.05 * place.crown)
    canals = (np.abs(np.abs(across) - spread) < 0.05 * w) & (along >= 1.05 * place.crown) & (r < 0.9)  # noqa: PLR2004
    return depth, chamber | canals


def _restore(
    rng: np.random.Generator,
    place: Place,
    across: NDArray[np.float32],
    along: NDArray[np.float32],
    value: NDArray[np.float32],
    chamber: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Nothing, a filling, a crown or a root filling; more often on the back teeth."""
    draw = rng.random() * (1 if place.number >= _PREMOLAR else 2)
    if draw < 0.18:  # noqa: PLR2004 - filling in the biting surface
        at, wide = rng.uniform(-0.15, 0.15) * place.width, rng.uniform(0.15, 0.3) * place.width
        deep = rng.uniform(0.25, 0.5) * place.crown
        return np.where((np.abs(across - at) < wide) & (along < deep), 1.0, value)
    if draw < 0.24:  # noqa: PLR2004 - full crown
        return np.where(along < place.crown * rng.uniform(0.85, 1.0), 0.98, value)
    if draw < 0.30:  # noqa: PLR2004 - root filling under a filling
        value = np.where(chamber, 0.97, value)
        return np.where((np.abs(across) < 0.25 * place.width) & (along < 0.4 * place.crown), 0.97, value)
    return value
