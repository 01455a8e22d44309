"""An image with its outlined, numbered teeth as the page draws it. Coordinates are pixels of the stored image."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.db.overview import ArtifactView, JobView
from service.domain.finding import Analysis, Finding, Region
from service.domain.tooth import TEETH, Tooth
from service.web.analyses import UNCERTAIN, AnalysisShelf

Box = tuple[float, float, float, float]
_UPPER = (*range(18, 10, -1), *range(21, 29))
_LOWER = (*range(48, 40, -1), *range(31, 39))
_UPPER_DECIDUOUS = (*range(55, 50, -1), *range(61, 66))
_LOWER_DECIDUOUS = (*range(85, 80, -1), *range(71, 76))
_PALMER = {1: "{}┘", 2: "└{}", 3: "┌{}", 4: "{}┐"}
_LETTER_HEIGHT = 66  # of the longer side, one part
_STEPS = 24
_ASIDE = (0.0, -0.5, 0.5, -0.9, 0.9)  # tried in this order at every distance, in letter heights


@dataclass(frozen=True, slots=True)
class Mark:
    """One found tooth.

    Attributes:
        points: SVG polygon points.
        label: box of the number, x0, y0, x1, y1; it covers neither a tooth nor another label where there is room.
        leader: line from the label to the tooth, x0, y0, x1, y1.
        percent: certainty.
    """

    tooth: Tooth
    palmer: str
    points: str
    label: Box
    leader: Box
    percent: int
    uncertain: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of the tooth chart; ``found`` is "yes", "uncertain" or "no"."""

    tooth: Tooth
    palmer: str
    found: str
    percent: int | None


@dataclass(frozen=True, slots=True)
class Figure:
    """One image: its preview, the overlay and the tooth chart.

    Attributes:
        view: SVG viewBox, x, y, width, height; larger than the image where labels stand beside it.
        text: height of the letters in pixels.
        chart: rows of the tooth chart, the patient's right at the left.
    """

    sop_instance_uid: str
    preview: ArtifactView | None
    analysis: Analysis | None
    view: Box
    text: float
    marks: tuple[Mark, ...]
    chart: tuple[tuple[Cell, ...], ...]


def figures_of(job: JobView, shelf: AnalysisShelf) -> tuple[Figure, ...]:
    """The images of a job that have a preview or an analysis, in the order in which they were made."""
    previews = {artifact.name: artifact for artifact in job.of_kind("preview")}
    analyses = {a.sop_instance_uid: a for a in map(shelf.read, job.of_kind("analysis")) if a is not None}
    return tuple(_figure(uid, previews.get(uid), analyses.get(uid)) for uid in dict.fromkeys((*previews, *analyses)))


def palmer(tooth: Tooth) -> str:
    """Palmer notation: position or letter with the corner of its quadrant."""
    position = tooth.fdi % 10
    sign = "ABCDE"[position - 1] if tooth.deciduous else str(position)
    return _PALMER[(tooth.quadrant - 1) % 4 + 1].format(sign)


def chart_of(findings: Sequence[Finding]) -> tuple[tuple[Cell, ...], ...]:
    """Two rows of the permanent teeth, and two of the deciduous ones where any was found."""
    best: dict[int, Finding] = {}
    for finding in findings:
        if finding.tooth is not None and finding.certainty >= best.get(finding.tooth, finding).certainty:
            best[finding.tooth] = finding
    rows = [_UPPER, _LOWER]
    if any(TEETH[fdi].deciduous for fdi in best):
        rows = [_UPPER, _UPPER_DECIDUOUS, _LOWER_DECIDUOUS, _LOWER]
    return tuple(tuple(_cell(fdi, best.get(fdi)) for fdi in row) for row in rows)


def _cell(fdi: int, finding: Finding | None) -> Cell:
    tooth = TEETH[fdi]
    if finding is None:
        return Cell(tooth, palmer(tooth), "no", None)
    found = "uncertain" if UNCERTAIN in finding.flags else "yes"
    return Cell(tooth, palmer(tooth), found, round(finding.certainty * 100))


def _figure(uid: str, preview: ArtifactView | None, analysis: Analysis | None) -> Figure:
    if analysis is None:
        return Figure(uid, preview, None, (0, 0, 0, 0), 0, (), ())
    findings = [f for f in analysis.findings if f.kind == "tooth" and f.tooth in TEETH]
    text = max(analysis.columns, analysis.rows) / _LETTER_HEIGHT
    marks = _marks([f for f in findings if f.region is not None], text, analysis.columns)
    boxes = [(0.0, 0.0, float(analysis.columns), float(analysis.rows)), *[mark.label for mark in marks]]
    x0, y0 = min(box[0] for box in boxes), min(box[1] for box in boxes)
    x1, y1 = max(box[2] for box in boxes), max(box[3] for box in boxes)
    return Figure(uid, preview, analysis, (x0, y0, x1 - x0, y1 - y0), text, marks, chart_of(findings))


def _marks(findings: Sequence[Finding], text: float, columns: int) -> tuple[Mark, ...]:
    """Outlines, and labels placed one after the other from the middle of the image to its sides."""
    teeth = [(f, TEETH[f.tooth], f.region) for f in findings if f.tooth is not None and f.region is not None]
    crowns = [region.box for _, _, region in teeth]
    taken: list[Box] = []
    marks = []
    for finding, tooth, region in sorted(teeth, key=lambda entry: abs(entry[2].box[0] + entry[2].box[2] - columns)):
        label = _place(region.box, text, crowns, taken, upward=tooth.upper)
        taken.append(label)
        marks.append(_mark(finding, tooth, region, label))
    return tuple(sorted(marks, key=lambda mark: (not mark.tooth.upper, mark.label[0])))


def _mark(finding: Finding, tooth: Tooth, region: Region, label: Box) -> Mark:
    x0, y0, x1, y1 = region.box
    outline = region.outline or ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    edge = ((label[0] + label[2]) / 2, label[3] if tooth.upper else label[1])
    tip = min(outline, key=lambda point: math.dist(point, edge))
    return Mark(
        tooth=tooth,
        palmer=palmer(tooth),
        points=" ".join(f"{x:g},{y:g}" for x, y in outline),
        label=label,
        leader=(*edge, *tip),
        percent=round(finding.certainty * 100),
        uncertain=UNCERTAIN in finding.flags,
    )


def _place(
    box: Sequence[int], text: float, teeth: Sequence[Sequence[float]], taken: Sequence[Box], *, upward: bool
) -> Box:
    """The nearest place beyond the tooth's root, moved outward until it covers no tooth and no other label."""
    x0, y0, x1, y1 = box
    width, height = 2.1 * text, 1.35 * text
    middle = (x0 + x1 - width) / 2
    places: list[Box] = []
    for step, aside in itertools.product(range(_STEPS), _ASIDE):
        away = (0.35 + step * 0.4) * text
        left, top = middle + aside * text, y0 - away - height if upward else y1 + away
        places.append((left, top, left + width, top + height))
    return next((p for p in places if not any(_overlap(p, other) for other in (*teeth, *taken))), places[0])


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
