"""The report of a measurement of the tooth model as a page."""

from collections.abc import Sequence
from typing import Any

from workers.training.charts import Axis, Line, line_chart
from workers.training.report import Block, Charts, Page, Table
from workers.training.teeth.scoring import ImageScore, certainty_curve

_CAVEATS = (
    "Research and evaluation only; not for diagnosis.",
    "Implants, deciduous and supernumerary teeth carry no labels: a number given to one counts as wrong.",
    "Certainties were fitted on the validation split, which flatters them a little there.",
    "Windows of panoramics stand in for intra-oral films: never validated on real bitewings or periapicals.",
)
_PARTS = ("all", "28_teeth_or_more", "fewer_than_28")


_MAIN = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "average_precision": "average precision over certainty",
    "detection_f1": "F1 whatever the number",
    "right_number_among_matched": "right number, of those found",
    "dice_matched": "Dice of teeth found with the right number",
    "dice_all": "Dice of all labelled teeth, 0 where not found",
}


def page_of(report: dict[str, Any], scores: Sequence[ImageScore], more: Sequence[Block] = ()) -> Page:
    """Tables and charts of the figures that ``evaluate`` found; ``more``: further blocks at the end."""
    low, high = report["f1_interval_95"]
    every = report["all"]
    headline = (
        f"F1 {every['f1']:.3f} (95 % interval {low:.3f} to {high:.3f}) on {every['images']} images of "
        f"{report['groups']} groups with {every['teeth']} teeth"
    )
    facts = {
        "split": report["split"],
        "images": "re-framed, stretched and re-toned" if report["other_scanner"] else "as they are",
        "model": f"{report['version']}, weights {report['weights_sha256'][:16]}",
        "right": "IoU of the boxes at least 0.5 and the same number",
        "intervals": "bootstrap over groups",
    }
    blocks = (
        _main(report),
        Table("Teeth", ("", "all", "28 teeth or more", "fewer than 28"), _rows(report)),
        _certainty(report, scores),
        _confusions(report["confusions"]),
        Table(
            "Jaws with every number right",
            ("teeth in the jaw", "jaws", "all right"),
            [(name.replace("_", " "), jaw["jaws"], jaw["all_right"]) for name, jaw in report["jaws"].items()],
        ),
        _windows(report["windows"]),
        Table("By number", tuple(report["classes"][0]), [tuple(row.values()) for row in report["classes"]])
        if report["classes"]
        else Table("By number", ("tooth",), ()),
        *more,
    )
    return Page("Teeth on panoramics", headline, facts, blocks, _CAVEATS, report)


def _main(report: dict[str, Any]) -> Table:
    rows = []
    for key, text in _MAIN.items():
        low, high = report["intervals_95"].get(key, (None, None))
        rows.append((text, f"{report['all'][key]:.3f}", "-" if low is None else f"{low:.3f} to {high:.3f}"))
    note = f"From 2000 draws of the {report['groups']} groups with replacement."
    return Table("Figures", ("", "value", "95 % interval"), rows, note)


def _rows(report: dict[str, Any]) -> list[list[object]]:
    return [[key.replace("_", " "), *(report[part][key] for part in _PARTS)] for key in report["all"]]


def _windows(windows: dict[str, Any]) -> Table:
    columns = (
        "kind",
        "windows",
        "teeth",
        "F1",
        "95 % interval",
        "right number among matched",
        "wrong side",
        "wrong jaw",
    )
    keys = ("right_number_among_matched", "wrong_side_among_matched", "wrong_jaw_among_matched")
    rows = [
        (name, w["images"], w["teeth"], w["f1"], "{:.3f} to {:.3f}".format(*w["f1_interval_95"]), *(w[k] for k in keys))
        for name, w in windows.items()
    ]
    note = "Wrong side and wrong jaw are shares of the matched teeth."
    return Table("Windows of the arch, as intra-oral films might show them", columns, rows, note)


def _confusions(confusions: dict[str, Any]) -> Table:
    """Which number was given for which."""
    total, share = confusions["wrong_numbers"], confusions["one_place_share"]
    rows = [(f"{p['given']} for {p['labelled']}", p["times"], p["how"]) for p in confusions["pairs"]]
    note = f"{total} teeth were found with a wrong number, {100 * share:.0f} % of them off by one place along the jaw."
    return Table("Wrong numbers, the most frequent first", ("given for labelled", "times", "how"), rows, note)


def _certainty(report: dict[str, Any], scores: Sequence[ImageScore]) -> Charts:
    """Precision and recall as the least certainty falls; certainty against the share that was right."""
    recall, precision = certainty_curve(scores)
    curve = Line("found teeth", recall.tolist(), precision.tolist())
    bins = report["reliability"]
    line = Line("found teeth", [b["mean_certainty"] for b in bins], [b["right"] for b in bins], dots=True)
    charts = [
        (
            f"Precision and recall, average precision {report['all']['average_precision']:.3f}",
            line_chart([curve], Axis("recall", 0, 1), Axis("precision", 0, 1)),
        ),
        (
            "Certainty against the share that is right",
            line_chart([line], Axis("mean certainty", 0, 1), Axis("share right", 0, 1), diagonal=True),
        ),
    ]
    counts = ", ".join(f"{b['mean_certainty']:.2f}: {b['teeth']}" for b in bins)
    return Charts("Certainty", charts, f"Teeth in each bin: {counts}. A tooth that was not found costs recall.")
