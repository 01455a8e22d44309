"""The report of a classifier: everything that an ``Outcome`` says, as tables, charts and the worst mistakes."""

from collections.abc import Iterator, Sequence

import numpy as np

from workers.training import metrics
from workers.training.calibration import claims, expected_calibration_error, reliability
from workers.training.charts import Axis, Bar, Line, count_chart, histogram, interval_chart, line_chart
from workers.training.leakage import Leakage, with_leakage
from workers.training.metrics import ClassFigures, Figure, Summary
from workers.training.outcome import UNKNOWN, Outcome
from workers.training.report import Block, Charts, Gallery, Page, Prose, Table

_WORST = 24
_COLUMNS = {
    "auc": "AUC",
    "average_precision": "average\nprecision",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall\n(sensitivity)",
    "specificity": "specificity",
    "f1": "F1",
    "brier": "Brier\nscore",
}
_NOTE = (
    "Below each figure: its 95 % interval from {rounds} draws of whole groups with replacement. Recall, precision, "
    "specificity, F1 and accuracy hold at the threshold of the class; AUC and average precision at none."
)


def classifier_page(
    title: str,
    outcome: Outcome,
    facts: dict[str, str],
    *,
    leakage: Leakage | None = None,
    caveats: Sequence[str] = (),
    more: Sequence[Block] = (),
) -> Page:
    """The page for an outcome.

    Args:
        title: task and data.
        outcome: of the images that took no part in the training.
        facts: see ``Page``.
        leakage: what the check of the splits found; on top where it found something.
        caveats: see ``Page``.
        more: further blocks, such as the learning curves, before the mistakes.
    """
    summary = metrics.summarize(outcome)
    blocks: list[Block] = [*answer_blocks(outcome, summary), _calibration(outcome), *more, *_mistakes(outcome)]
    score, right = claims(outcome)
    figures = summary.to_json() | {"calibration_error": _rounded(expected_calibration_error(score, right))}
    page = Page(title, headline(summary), facts, blocks, caveats, figures, outcome)
    return page if leakage is None else with_leakage(page, leakage)


def answer_blocks(outcome: Outcome, summary: Summary) -> tuple[Table, Charts, Charts]:
    """The main table, the curves and the confusions: what can be said of any scores, probabilities or not."""
    return _main_table(summary, outcome), _curves(outcome, summary), _confusions(outcome, summary)


def headline(summary: Summary) -> str:
    """The figure that matters in one sentence."""
    auc = summary.classes[0].figures["auc"] if len(summary.classes) == 1 else summary.macro["auc"]
    name = "AUC" if len(summary.classes) == 1 else "Macro AUC"
    accuracy = f"; accuracy {summary.accuracy}" if summary.accuracy is not None else ""
    return f"{name} {auc}{accuracy}, on {summary.images} images of {summary.groups} groups"


def _main_table(summary: Summary, outcome: Outcome) -> Table:
    rows: list[list[object]] = [_row(found) for found in summary.classes]
    if len(summary.classes) > 1:
        rows.append(["mean of the classes", "", "", "", *(_two_lines(summary.macro[key]) for key in _COLUMNS)])
    columns = ["class", "images\nwith it / known", "groups\nwith it / known", "threshold", *_COLUMNS.values()]
    note = _NOTE.format(rounds=metrics.ROUNDS)
    if outcome.exclusive:
        note += " Classes exclude each other; the mean recall is the balanced accuracy."
    figures = [figure for found in summary.classes for figure in found.figures.values()]
    if any(figure.low is not None and figure.low == figure.high for figure in figures):
        note += " An interval without width means that no draw could show a mistake, not that there is no doubt."
    return Table("Figures", columns, rows, note)


def _row(found: ClassFigures) -> list[object]:
    images, groups = f"{found.positives} / {found.images}", f"{found.positive_groups} / {found.groups}"
    return [found.name, images, groups, f"{found.threshold:.3f}", *(_two_lines(found.figures[key]) for key in _COLUMNS)]


def _two_lines(figure: Figure) -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return str(figure)
    return f"{figure.value:.3f}\n{figure.low:.3f}\N{EN DASH}{figure.high:.3f}"


def _curves(outcome: Outcome, summary: Summary) -> Charts:
    roc, recall = [], []
    for k, name in enumerate(outcome.classes):
        known = outcome.truth[:, k] != UNKNOWN
        scores, truth = outcome.scores[known, k], outcome.truth[known, k] == 1
        if truth.all() or not truth.any():
            continue
        roc.append(Line(name, *(part.tolist() for part in metrics.roc_curve(scores, truth))))
        recall.append(Line(name, *(part.tolist() for part in metrics.precision_recall_curve(scores, truth))))
    bars = [
        Bar(c.name, figure.value, figure.low, figure.high)
        for c in summary.classes
        if (figure := c.figures["auc"]).value is not None
    ]
    least = min((bar.value if bar.low is None else bar.low for bar in bars), default=0.0)
    false, true = Axis("1 - specificity", 0, 1), Axis("sensitivity", 0, 1)
    charts = [
        ("ROC", line_chart(roc, false, true, diagonal=True)),
        ("Precision and recall", line_chart(recall, Axis("recall", 0, 1), Axis("precision", 0, 1))),
        ("AUC with 95 % interval", interval_chart(bars, "AUC", 0.4 if least > 0.4 else 0.0)),  # noqa: PLR2004 - shows where they differ
    ]
    return Charts("Ranking", charts, "A class without a positive or without a negative image has no curve.")


def _confusions(outcome: Outcome, summary: Summary) -> Charts:
    if outcome.exclusive:
        return Charts("Confusion", [("Images of a true class (row) by the class said", _exclusive(outcome, summary))])
    charts = [
        (name, count_chart(table, [f"not {name}", name]))
        for name, table in zip(outcome.classes, summary.confusion, strict=True)
    ]
    return Charts("Confusion at the thresholds", charts)


def _exclusive(outcome: Outcome, summary: Summary) -> str:
    return count_chart(summary.confusion, outcome.classes)


def _calibration(outcome: Outcome) -> Charts:
    scores, right = claims(outcome)
    bins = reliability(scores, right)
    curve = Line("", [b.mean for b in bins], [b.frequency for b in bins], dots=True)
    error = expected_calibration_error(scores, right)
    what = "score of the class said" if outcome.exclusive else "score"
    caption = f"Calibration error {error:.3f} over {len(scores)} scores"
    chart = line_chart([curve], Axis(what, 0, 1), Axis("share that was right", 0, 1), diagonal=True)
    parts = [("right" if wanted else "wrong", scores[right == wanted].tolist()) for wanted in (True, False)]
    if not outcome.exclusive:
        parts = [("class present" if name == "right" else "class absent", values) for name, values in parts]
    spread = histogram(parts, Axis(what, 0, 1))
    note = "On the dashed line a score is what it says: of ten images with 0.9, nine are right."
    return Charts("Calibration", [(caption, chart), ("How the scores are spread", spread)], note)


def _mistakes(outcome: Outcome) -> Iterator[Block]:
    """The wrong answers that were given with the most certainty, each image once."""
    worst = worst_mistakes(outcome)
    if not worst:
        yield Prose("Mistakes", ["There are none on these images."])
    elif outcome.pictures is None:
        yield Table("Worst mistakes", ["image", "what"], [[outcome.names[i], text] for i, text in worst])
    else:
        pictures = [(outcome.pictures(i), f"{outcome.names[i]}\n{text}") for i, text in worst]
        yield Gallery("Worst mistakes", pictures, "The most certain wrong answers first. Some may be wrong labels.")


def worst_mistakes(outcome: Outcome, most: int = _WORST) -> list[tuple[int, str]]:
    """Index of the image and what was wrong, in words; the most certain first."""
    said, truth = outcome.said(), outcome.truth
    wrong = ((truth == 1) & ~said) | ((truth == 0) & said)
    if outcome.exclusive:
        wrong &= said  # one entry for each image: the class said wrongly
    cut = np.array(outcome.thresholds)[None]
    far = np.abs(outcome.scores - cut) / np.where(
        outcome.scores >= cut, np.maximum(1 - cut, 1e-9), np.maximum(cut, 1e-9)
    )
    size = np.where(wrong, outcome.scores if outcome.exclusive else far, -1.0)
    order = np.argsort(-size.max(1), kind="stable")[:most]
    return [(int(i), _words(outcome, int(i), int(size[i].argmax()))) for i in order if size[i].max() >= 0]


def _words(outcome: Outcome, i: int, k: int) -> str:
    score = f"{outcome.scores[i, k]:.2f}"
    if outcome.exclusive:
        true = outcome.classes[int(outcome.truth[i].argmax())]
        return f"is {true}, said {outcome.classes[k]} ({score})"
    missed = outcome.truth[i, k] == 1
    return f"{outcome.classes[k]} {'missed' if missed else 'said wrongly'} ({score})"


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
