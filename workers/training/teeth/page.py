"""The report of a measurement of the tooth model as a page."""

from typing import Any

from workers.training.charts import Axis, Line, line_chart
from workers.training.report import Charts, Page, Table

_CAVEATS = (
    "Research and evaluation only; not for diagnosis.",
    "Implants, deciduous and supernumerary teeth carry no labels: a number given to one counts as wrong.",
    "Windows of panoramics stand in for intra-oral films: never validated on real bitewings or periapicals.",
)
_PARTS = ("all", "28_teeth_or_more", "fewer_than_28")


def page_of(report: dict[str, Any]) -> Page:
    """Tables and charts of the figures that ``evaluate`` found."""
    low, high = report["f1_interval_95"]
    every = report["all"]
    headline = (
        f"F1 {every['f1']:.3f} (95 % interval {low:.3f} to {high:.3f}) on {every['images']} images of "
        f"{report['groups']} groups with {every['teeth']} teeth"
    )
    shown = "re-framed, stretched and re-toned" if report["other_scanner"] else "as they are"
    facts = {
        "split": report["split"],
        "images": shown,
        "model": f"{report['version']}, weights {report['weights_sha256'][:16]}",
        "right": "IoU of the boxes at least 0.5 and the same number",
        "intervals": "bootstrap over groups",
    }
    rows = [[key, *(report[part][key] for part in _PARTS)] for key in every]
    blocks = (
        Table("Teeth", ("", "all", "28 teeth or more", "fewer than 28"), rows),
        _calibration(report["reliability"]),
        Table(
            "Jaws with every number right",
            ("teeth in the jaw", "jaws", "all right"),
            [(name.replace("_", " "), jaw["jaws"], jaw["all_right"]) for name, jaw in report["jaws"].items()],
        ),
        Table(
            "Windows of the arch, as intra-oral films might show them",
            (
                "kind",
                "windows",
                "teeth",
                "F1",
                "95 % interval",
                "right number among matched",
                "wrong side",
                "wrong jaw",
            ),
            [
                (
                    name,
                    w["images"],
                    w["teeth"],
                    w["f1"],
                    "{:.3f} to {:.3f}".format(*w["f1_interval_95"]),
                    w["right_number_among_matched"],
                    w["wrong_side_among_matched"],
                    w["wrong_jaw_among_matched"],
                )
                for name, w in report["windows"].items()
            ],
            "Wrong side and wrong jaw are shares of the matched teeth.",
        ),
        Table("By number", tuple(report["classes"][0]), [tuple(row.values()) for row in report["classes"]])
        if report["classes"]
        else Table("By number", ("tooth",), ()),
    )
    return Page("Teeth on panoramics", headline, facts, blocks, _CAVEATS, report)


def _calibration(bins: list[dict[str, Any]]) -> Charts:
    """Certainty against the share that was right."""
    line = Line("found teeth", [b["mean_certainty"] for b in bins], [b["right"] for b in bins], dots=True)
    chart = line_chart([line], Axis("mean certainty", 0, 1), Axis("share right", 0, 1), diagonal=True)
    counts = ", ".join(f"{b['mean_certainty']:.2f}: {b['teeth']}" for b in bins)
    return Charts("Certainty", [("Certainty against the share that is right", chart)], f"Teeth in each bin: {counts}.")
