"""An image with what was found in it as the page draws it. Coordinates are pixels of the stored image."""

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from service.db.overview import ArtifactView, JobView
from service.domain.finding import LANDMARKS, UNCERTAIN, Analysis, Finding, Region
from service.domain.tooth import TEETH, Tooth, chart_rows
from service.domain.words import flag_words, kind_word
from service.web.analyses import AnalysisShelf, Verdict
from service.web.spots import (
    Box,
    Heat,
    Row,
    Spot,
    certainty_of,
    heats_of,
    points_of,
    rows_of,
    spots_of,
    words_of,
)

_PALMER = {1: "{}┘", 2: "└{}", 3: "┌{}", 4: "{}┐"}
_LETTERS_ACROSS, _LETTERS_DOWN = 66, 48  # heights of letters in an image: films and spines are shown smaller
_STEPS = 24
_OF_FILMS = "teeth_intraoral"  # its images show a part of the teeth
_ASIDE = (0.0, -0.5, 0.5, -0.9, 0.9)  # tried in this order at every distance, in letter heights


@dataclass(frozen=True, slots=True)
class Mark:
    """One found tooth.

    Attributes:
        points: SVG polygon points.
        label: box of the number, x0, y0, x1, y1; it covers neither a tooth nor another label where there is room.
        leader: line from the label to the tooth, x0, y0, x1, y1.
        certainty: "certainty 93 %", or that a person said it.
        conditions: what other models found of it, in words.
    """

    tooth: Tooth
    palmer: str
    points: str
    label: Box
    leader: Box
    certainty: str
    uncertain: bool
    conditions: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of the tooth chart.

    Attributes:
        found: "yes", "uncertain", "finding" (no tooth was outlined, but something was found there), "no", or "unseen":
            the image shows a part of the teeth only, so that nothing follows from what was not found.
        certainty: as of a mark; of a place with a finding, what was found.
        doubtful: whether it is this tooth is uncertain.
    """

    tooth: Tooth
    palmer: str
    found: str
    certainty: str
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One image: its preview, the overlay, the tooth chart and the list of findings.

    Attributes:
        analyses: of all models that ran, in their order.
        verdicts: why each model was, or was not, run.
        view: SVG viewBox, x, y, width, height; larger than the image where labels stand beside it.
        text: height of the letters in pixels.
        marks: teeth.
        spots: outlined findings that are no teeth.
        heats: heat maps, as the rows number them.
        rows: findings other than teeth and landmarks.
        chart: rows of the tooth chart, the patient's right at the left; empty where nobody looked for teeth.
        rejected: what a person struck out, in words.
        partial: it shows a part of the teeth only.
        remarks: on teeth and vertebrae, besides that a number is uncertain.
    """

    sop_instance_uid: str
    preview: ArtifactView | None
    analyses: tuple[Analysis, ...]
    verdicts: tuple[Verdict, ...]
    view: Box = (0, 0, 0, 0)
    text: float = 0
    marks: tuple[Mark, ...] = ()
    spots: tuple[Spot, ...] = ()
    heats: tuple[Heat, ...] = ()
    rows: tuple[Row, ...] = ()
    chart: tuple[tuple[Cell, ...], ...] = ()
    rejected: tuple[str, ...] = ()
    partial: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def analysis(self) -> Analysis | None:
        """The first analysis: size and notes of the image are the same in all."""
        return self.analyses[0] if self.analyses else None

    @property
    def was_read(self) -> bool:
        """Whether any model read the image, whatever it found."""
        return any(not analysis.refused for analysis in self.analyses)

    @property
    def lists_findings(self) -> bool:
        """Whether a model looked for anything but teeth, so that a list without rows means that nothing was found."""
        return any(set(analysis.looks_for) - {"tooth"} and not analysis.refused for analysis in self.analyses)


def figures_of(
    job: JobView,
    shelf: AnalysisShelf,
    standing: Callable[[Sequence[Analysis]], Sequence[Analysis]] = tuple,
    films: Collection[str] = (),
) -> tuple[Figure, ...]:
    """The images of a job that have a preview or an analysis, in the order in which they were made.

    Args:
        standing: makes of all analyses what stands after a review.
        films: SOP Instance UIDs of intra-oral images.
    """
    previews = {artifact.name: artifact for artifact in job.of_kind("preview")}
    verdicts = {choices.sop_instance_uid: choices.models for choices in shelf.choices(job)}
    analyses: dict[str, list[Analysis]] = {}
    read = [analysis for artifact in job.of_kind("analysis") if (analysis := shelf.read(artifact)) is not None]
    for analysis in standing(read):
        analyses.setdefault(analysis.sop_instance_uid, []).append(analysis)
    return tuple(
        _figure(
            Figure(uid, previews.get(uid), tuple(analyses.get(uid, ())), verdicts.get(uid, ()), partial=uid in films)
        )
        for uid in dict.fromkeys((*previews, *analyses))
    )


def palmer(tooth: Tooth) -> str:
    """Palmer notation: position or letter with the corner of its quadrant."""
    position = tooth.fdi % 10
    sign = "ABCDE"[position - 1] if tooth.deciduous else str(position)
    return _PALMER[(tooth.quadrant - 1) % 4 + 1].format(sign)


def chart_of(
    teeth: Sequence[Finding], others: Sequence[Finding] = (), *, partial: bool = False
) -> tuple[tuple[Cell, ...], ...]:
    """Two rows of the permanent teeth, and two of the deciduous ones where any was found.

    Args:
        others: what else was found.
        partial: the image shows a part of the teeth only.
    """
    best: dict[int, Finding] = {}
    for finding in teeth:
        if finding.tooth is not None and finding.certainty >= best.get(finding.tooth, finding).certainty:
            best[finding.tooth] = finding
    noted: dict[int, list[Finding]] = {}
    for finding in others:
        if finding.tooth in TEETH:
            noted.setdefault(finding.tooth, []).append(finding)
    rows = chart_rows({*best, *noted})
    absent = "unseen" if partial else "no"
    return tuple(tuple(_cell(fdi, best.get(fdi), noted.get(fdi, []), absent) for fdi in row) for row in rows)


def _cell(fdi: int, finding: Finding | None, noted: Sequence[Finding], absent: str) -> Cell:
    tooth = TEETH[fdi]
    if finding is not None:
        doubtful = UNCERTAIN in finding.flags
        return Cell(tooth, palmer(tooth), "uncertain" if doubtful else "yes", certainty_of(finding), doubtful)
    words = ", ".join(f"{kind_word(other.kind)} {certainty_of(other, '')}" for other in noted)
    doubtful = any(UNCERTAIN in other.flags for other in noted)
    return Cell(tooth, palmer(tooth), "finding" if noted else absent, words, doubtful)


def _figure(bare: Figure) -> Figure:
    """With everything that is drawn."""
    image = bare.analysis
    if image is None:
        return bare
    findings = [finding for analysis in bare.analyses for finding in analysis.findings]
    teeth = [finding for finding in findings if finding.kind == "tooth" and finding.tooth in TEETH]
    text = max(image.columns / _LETTERS_ACROSS, image.rows / _LETTERS_DOWN)
    marks = _marks([finding for finding in teeth if finding.region is not None], findings, text, image.columns)
    spots = spots_of(findings, text, frozenset(mark.tooth.fdi for mark in marks), [mark.label for mark in marks])
    boxes = [
        (0.0, 0.0, float(image.columns), float(image.rows)),
        *(mark.label for mark in marks),
        *(spot.label for spot in spots),
    ]
    x0, y0 = min(box[0] for box in boxes), min(box[1] for box in boxes)
    x1, y1 = max(box[2] for box in boxes), max(box[3] for box in boxes)
    counted = any("tooth" in analysis.looks_for and not analysis.refused for analysis in bare.analyses)
    partial = bare.partial or any(analysis.algorithm.name == _OF_FILMS for analysis in bare.analyses)
    others = [finding for finding in findings if finding.kind != "tooth"]
    return replace(
        bare,
        view=(x0, y0, x1 - x0, y1 - y0),
        text=text,
        marks=marks,
        spots=spots,
        heats=heats_of(findings, image),
        rows=rows_of(findings),
        chart=chart_of(teeth, others, partial=partial) if counted else (),
        rejected=tuple(dict.fromkeys(words_of(finding) for each in bare.analyses for finding in each.rejected)),
        partial=partial,
        remarks=_remarks(findings),
    )


def _remarks(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Flags of teeth and vertebrae, which no list of the page has: "the file names the other side: 24, 25"."""
    landmarks = [finding for finding in findings if finding.kind in LANDMARKS]
    places: dict[str, list[str]] = {}
    for finding in landmarks:
        for flag in finding.flags:
            if flag != UNCERTAIN:
                places.setdefault(flag, []).append(str(finding.tooth or finding.site or kind_word(finding.kind)))
    return tuple(
        flag_words(flag) if len(named) == len(landmarks) else f"{flag_words(flag)}: {', '.join(named)}"
        for flag, named in places.items()
    )


def _marks(teeth: Sequence[Finding], findings: Sequence[Finding], text: float, columns: int) -> tuple[Mark, ...]:
    """Outlines, and labels placed one after the other from the middle of the image to its sides."""
    placed = [(f, TEETH[f.tooth], f.region) for f in teeth if f.tooth is not None and f.region is not None]
    crowns = [region.box for _, _, region in placed]
    taken: list[Box] = []
    marks = []
    for finding, tooth, region in sorted(placed, key=lambda entry: abs(entry[2].box[0] + entry[2].box[2] - columns)):
        label = _place(region.box, text, crowns, taken, upward=tooth.upper)
        taken.append(label)
        of_tooth = [other for other in findings if other.tooth == tooth.fdi and other.kind != "tooth"]
        words = ", ".join(f"{kind_word(other.kind)} {certainty_of(other, '')}" for other in of_tooth)
        marks.append(_mark(finding, tooth, region, label, words))
    return tuple(sorted(marks, key=lambda mark: (not mark.tooth.upper, mark.label[0])))


def _mark(finding: Finding, tooth: Tooth, region: Region, label: Box, conditions: str) -> Mark:
    x0, y0, x1, y1 = region.box
    outline = region.outline or ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    edge = ((label[0] + label[2]) / 2, label[3] if tooth.upper else label[1])
    tip = min(outline, key=lambda point: math.dist(point, edge))
    return Mark(
        tooth=tooth,
        palmer=palmer(tooth),
        points=points_of(region),
        label=label,
        leader=(*edge, *tip),
        certainty=certainty_of(finding),
        uncertain=UNCERTAIN in finding.flags,
        conditions=conditions,
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
