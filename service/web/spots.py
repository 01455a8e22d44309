"""Findings that are no teeth as the page draws and lists them: outlines with words, rows of a table, heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.finding import LANDMARKS, UNCERTAIN, Analysis, Finding, HeatMap, Region
from service.domain.words import flag_words, kind_word, measured, span_of, sure

Box = tuple[float, float, float, float]
_LETTER_WIDTH = 0.6  # of the height of a letter
#: Kind -> how it is drawn; everything else as "finding". Words of wide regions give way to those of narrow ones.
_GROUPS = {"vertebra": "vertebra", "scoliosis": "curve"}
_PLACED = ("vertebra", "finding", "looked", "curve")
_LOOKED = "looked"  # a region that a heat map gave: where the model looked, no outline of what it found
_FAINT = 40  # of 255: cells below are not drawn
_STRONGEST = 0.62  # opacity of the hottest cell


@dataclass(frozen=True, slots=True)
class Spot:
    """One outlined finding that is no tooth.

    Attributes:
        words: what stands beside it.
        group: "vertebra", "curve", "looked" or "finding": how it is drawn.
        points: SVG polygon points.
        label: box of the words, x0, y0, x1, y1.
        certainty: see ``certainty_of``.
    """

    words: str
    group: str
    points: str
    label: Box
    certainty: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One warm place of a heat map, in pixels of the stored image; opacity 0 to 1."""

    x: float
    y: float
    opacity: float


@dataclass(frozen=True, slots=True)
class Heat:
    """A heat map: its cells, and the size of each in pixels."""

    cells: tuple[Cell, ...]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list of findings.

    Attributes:
        place: "Tooth 36", "T5-T11", "Whole image".
        certainty: "93 %", or that a person said it.
        heat: number of its heat map within the figure, 1 for the first; 0 = it has none.
    """

    place: str
    words: str
    certainty: str
    uncertain: bool
    heat: int


def spots_of(
    findings: Sequence[Finding], text: float, drawn: frozenset[int], labels: Sequence[Box] = ()
) -> tuple[Spot, ...]:
    """The outlines of findings.

    Args:
        findings: of all models of an image.
        text: height of letters in pixels.
        drawn: teeth that are outlined already; what belongs to one of them is not outlined again.
        labels: boxes of words that stand already.
    """
    spots: list[Spot] = []
    taken: list[Box] = [*labels]
    for finding in sorted(findings, key=lambda finding: _PLACED.index(_group(finding))):
        if finding.kind == "tooth" or finding.region is None or finding.tooth in drawn:
            continue
        words = f"{words_of(finding)}: the model looked here" if _group(finding) == _LOOKED else words_of(finding)
        label = _beside(finding.region.box, len(words) * _LETTER_WIDTH * text + 0.6 * text, text, taken)
        taken.append(label)
        spots.append(Spot(words, _group(finding), points_of(finding.region), label, certainty_of(finding)))
    return tuple(spots)


def _group(finding: Finding) -> str:
    return _LOOKED if finding.heat is not None else _GROUPS.get(finding.kind, "finding")


def points_of(region: Region) -> str:
    """The outline, or the box, as SVG polygon points."""
    x0, y0, x1, y1 = region.box
    outline = region.outline or ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return " ".join(f"{x:g},{y:g}" for x, y in outline)


def rows_of(findings: Sequence[Finding]) -> tuple[Row, ...]:
    """The list of findings, teeth first, then parts of the body; landmarks are drawn but not listed."""
    listed = [finding for finding in findings if finding.kind not in LANDMARKS]
    heats = [finding for finding in findings if finding.heat is not None]
    rows = []
    for finding in sorted(listed, key=lambda finding: (finding.tooth is None, finding.tooth or 0)):
        number = next((n for n, other in enumerate(heats, start=1) if other is finding), 0)
        said = " ".join(part for part in (kind_word(finding.kind), measured(finding)) if part)
        remarks = [flag_words(flag) for flag in finding.flags if flag != UNCERTAIN]
        words = f"{said} ({', '.join(remarks)})" if remarks else said
        uncertain = UNCERTAIN in finding.flags
        rows.append(Row(_place(finding), words, certainty_of(finding, ""), uncertain, number))
    return tuple(rows)


def heats_of(findings: Sequence[Finding], analysis: Analysis) -> tuple[Heat, ...]:
    """The heat maps of findings, laid over the whole image."""
    return tuple(_heat(f.heat, analysis.columns, analysis.rows) for f in findings if f.heat is not None)


def _heat(heat: HeatMap, width: float, height: float) -> Heat:
    across, down = width / heat.columns, height / heat.rows
    cells = tuple(
        Cell((place % heat.columns) * across, (place // heat.columns) * down, round(value / 255 * _STRONGEST, 2))
        for place, value in enumerate(heat.values)
        if value >= _FAINT
    )
    return Heat(cells, across, down)


def certainty_of(finding: Finding, word: str = "certainty ") -> str:
    """How certain the algorithm is, "certainty 93 %"; what a person said has no certainty."""
    if finding.by_person and finding.reviewed is not None:
        return f"{finding.reviewed.judgement} by the reviewer"
    return f"{word}{sure(finding.certainty)}"


def words_of(finding: Finding) -> str:
    """A finding in a few words: "36 caries", "tooth 36", "T5-T11 24 degrees"."""
    if finding.kind == "tooth":
        return "tooth" if finding.tooth is None else f"tooth {finding.tooth}"
    if finding.kind == "vertebra":
        return finding.site or "vertebra"
    if finding.kind == "scoliosis":
        return f"{_place(finding)} {measured(finding) or 'curve'}"
    tooth = "" if finding.tooth is None else f"{finding.tooth}{'?' if UNCERTAIN in finding.flags else ''} "
    return f"{tooth}{kind_word(finding.kind)}"


def _place(finding: Finding) -> str:
    if finding.tooth is not None:
        return f"Tooth {finding.tooth}"
    ends = span_of(finding)
    if ends:
        return "-".join(ends)
    return (
        finding.site if finding.site[:1].isupper() else finding.site.replace("-", " ").capitalize()
    ) or "Whole image"


def _beside(box: Sequence[int], width: float, text: float, taken: Sequence[Box]) -> Box:
    """Right of a region at half its height, moved down until it covers no other words."""
    left, top = box[2] + 0.5 * text, (box[1] + box[3]) / 2 - 0.68 * text
    while any(left < t[2] and t[0] < left + width and top < t[3] and t[1] < top + 1.35 * text for t in taken):
        top += 0.5 * text
    return (left, top, left + width, top + 1.35 * text)
