"""The report of a measurement on spine films as a page."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.training.calibration import reliability
from workers.training.charts import Axis, Line, count_chart, histogram, line_chart
from workers.training.classifier_report import answer_blocks
from workers.training.metrics import summarize
from workers.training.report import Block, Charts, Gallery, Page, Table
from workers.training.spine.scoring import TYPES, Score, answers, right_type

_WRONG = 1000.0  # degrees that a wrong type counts among the largest errors
_ROWS = {
    "type_agreement": "type of curve agrees (normal, single, double)",
    "single_double_agreement": "the same, of films labelled single or double",
    "normal_scoliosis_agreement": "normal or scoliosis agrees",
    "sensitivity": "scoliosis found (sensitivity)",
    "specificity": "normal called normal (specificity)",
    "auc_normal_scoliosis": "AUC of the major angle, normal against scoliosis",
    "smape_major": "SMAPE of the major angle, mean over films",
    "smape_two": "SMAPE of major and second angle, mean over films",
    "smape_three": "SMAPE of the challenge's three angles, mean over films",
    "cobb_error_major": "error of the major angle, degrees",
    "cobb_error_second": "error of the second angle, degrees",
    "within_5_degrees": "major angle within 5 degrees",
    "tilt_error": "error of a vertebra's tilt, degrees",
    "points_error": "error of a corner, pixels",
}
_CAVEATS = (
    "The angles of reference follow by rule from corners that people drew; no clinician read these films for this use.",
    "Certainties and the gain of the angles were fitted on the validation split, which flatters it a little.",
)


class Worst:
    """The films with the largest errors, as pictures with the corners found (green) and labelled (red)."""

    def __init__(self, most: int = 12) -> None:
        """``most``: how many are kept."""
        self._most = most
        self._kept: list[tuple[float, str, NDArray[np.uint8]]] = []

    def add(
        self, score: Score, pixels: NDArray[np.float32], found: NDArray[np.floating], true: NDArray[np.floating] | None
    ) -> None:
        """Keep a film if it is among the worst: a wrong type first, then by the error of the angles."""
        off = 0.0 if score.cobb is None else float(np.abs(np.subtract(score.cobb, score.found)).sum())
        wrongness = off + (0.0 if right_type(score) else _WRONG)
        if len(self._kept) == self._most and wrongness <= self._kept[-1][0]:
            return
        picture = np.repeat(np.round(pixels * 255).astype(np.uint8)[..., None], 3, axis=2)
        for corners, colour in ((true, (255, 60, 60)), (found, (60, 255, 60))):
            for x, y in () if corners is None else corners.reshape(-1, 2):
                row, column = (int(np.clip(v, 0, n - 1)) for v, n in ((y, picture.shape[0]), (x, picture.shape[1])))
                picture[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = colour
        said = score.said.value if score.said else "refused"
        text = f"{score.name}: labelled {score.truth} {_pair(score.cobb)}, found {said} {_pair(score.found)}"
        self._kept = sorted([*self._kept, (wrongness, text, picture)], key=lambda kept: -kept[0])[: self._most]

    def block(self) -> list[Block]:
        """For the report; empty where there is nothing to show."""
        pictures = [(picture, text) for _, text, picture in self._kept]
        return [Gallery("Largest errors", pictures, "Corners found in green, labelled in red.")] if pictures else []


def spine_page(
    report: dict[str, Any], scores: Sequence[Score], facts: dict[str, str], more: Sequence[Block] = ()
) -> Page:
    """Tables and charts of the figures of ``scoring.summary``; ``more``: further blocks at the end."""
    blocks: list[Block] = [_figures(report)]
    names = [str(kind) for kind in (*TYPES, None)]
    counts = [[report["confusion"][kind][name] for name in names] for kind in report["confusion"]]
    if len(counts) == len(TYPES):
        blocks.append(
            Charts(
                "Types of curve",
                [("labelled (rows), found (columns)", count_chart([c[:3] for c in counts], names[:3]))],
            )
        )
    else:
        rows = [[kind, *row] for kind, row in zip(report["confusion"], counts, strict=True)]
        blocks.append(Table("Types of curve", ["labelled", *(f"found {n}" for n in names[:3]), "refused"], rows))
    blocks += _answers(scores)
    if "by_severity" in report:
        blocks += [_severities(report), _angles(scores)]
    blocks += [_calibration(scores), _mistakes(scores), *more]
    agreement = report["type_agreement"]
    headline = f"Type of curve agrees in {_text(agreement)} of {report['films']} films of {report['groups']} groups" + (
        f"; SMAPE of the angles {_text(report['smape_two'])}" if "smape_two" in report else ""
    )
    return Page("Scoliosis on spine films: vertebrae, Cobb angles, curves", headline, facts, blocks, _CAVEATS, report)


def _figures(report: dict[str, Any]) -> Table:
    rows = [[text, _text(report[key])] for key, text in _ROWS.items() if report.get(key) is not None]
    note = f"In brackets: 95 % interval over groups. {report['refused']} films refused, which count as wrong."
    return Table("Figures", ["", "value"], rows, note)


def _answers(scores: Sequence[Score]) -> list[Block]:
    """Precision, recall, F1 and the curves of the films that were not refused; without Brier, see ``answers``."""
    outcome = answers(scores)
    if not outcome.names:
        return []
    table, curves, confusions = answer_blocks(outcome, summarize(outcome))
    note = (
        f"{len(scores) - len(outcome.names)} refused films are left out here. Double: of films with one or two curves. "
    )
    brief = replace(
        table, title="Scoliosis or normal, double or single", columns=table.columns[:-1],
        rows=[row[:-1] for row in table.rows if row[0] in outcome.classes], note=note + table.note,
    )  # fmt: skip
    return [brief, replace(curves, title="Ranking by the angles"), confusions]


def _severities(report: dict[str, Any]) -> Table:
    keys = ("films", "type_agreement", "cobb_error_major", "cobb_bias_major", "smape_two")
    rows = [[name, *(part.get(key) for key in keys)] for name, part in report["by_severity"].items()]
    return Table("By the labelled major angle (degrees)", ["", *(key.replace("_", " ") for key in keys)], rows)


def _angles(scores: Sequence[Score]) -> Charts:
    known = sorted((s.cobb[0], s.found[0]) for s in scores if s.cobb is not None)
    line = Line("found", [a for a, _ in known], [b for _, b in known], dots=True)
    errors = [b - a for a, b in known]
    return Charts(
        "Major angle",
        [
            ("found by labelled, degrees", line_chart([line], Axis("labelled"), Axis("found"), diagonal=True)),
            ("found less labelled, degrees", histogram([("films", errors)], Axis("difference"))),
        ],
    )


def _calibration(scores: Sequence[Score]) -> Charts:
    said = [s for s in scores if s.said is not None]
    bins = reliability(np.array([s.certainty for s in said]), np.array([right_type(s) for s in said], bool), 5)
    line = Line("right", [b.mean for b in bins], [b.frequency for b in bins], dots=True)
    chart = line_chart([line], Axis("certainty", 0, 1), Axis("share that is right", 0, 1), diagonal=True)
    return Charts("Certainty of the type", [("share that is right by certainty, in five bins", chart)])


def _mistakes(scores: Sequence[Score]) -> Table:
    wrong = [s for s in scores if not right_type(s)]
    rows = [
        [s.name, s.truth, s.said.value if s.said else "refused", _pair(s.cobb), _pair(s.found), s.vertebrae]
        for s in wrong
    ]
    return Table("Films whose type differs", ["film", "labelled", "found", "angles", "found", "vertebrae"], rows)


def _pair(angles: tuple[float, float] | None) -> str:
    return "-" if angles is None else f"{angles[0]:.1f} / {angles[1]:.1f}"


def _text(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "-"
    low, high = figure["low"], figure["high"]
    return f"{figure['value']:.3f}" + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")
