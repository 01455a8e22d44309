"""Reports: one file that needs nothing else, and says what a reader must know."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from workers.training import metrics
from workers.training.charts import Axis, Bar, Line, count_chart, histogram, interval_chart, line_chart
from workers.training.classifier_report import answer_blocks, classifier_page, worst_mistakes
from workers.training.leakage import Leakage, Member, Pair
from workers.training.outcome import Outcome
from workers.training.report import Block, Gallery, Page, Prose, Table, learning_curves, note_order, write_report


class Balance(HTMLParser):
    """Fails where a tag is closed that is not open."""

    def __init__(self) -> None:
        """Nothing is open."""
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open it."""
        self.seen.append(tag)
        for name, value in attrs:
            assert name not in {"src", "href"} or str(value).startswith("data:"), "from elsewhere"
        if tag not in {"meta", "img"} and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        if not (self.get_starttag_text() or "").endswith("/>") or self.open[-1:] == [tag]:
            assert self.open.pop() == tag


def outcome_of(count: int = 60, *, exclusive: bool = True) -> Outcome:
    """Three classes, mostly right; one name would be markup if it were not escaped."""
    rng = np.random.default_rng(0)
    truth = np.eye(3, dtype=np.int8)[rng.integers(0, 3, count)]
    logits = rng.normal(size=(count, 3)) + 2 * truth
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = [f"{i}.png" for i in range(count)]
    groups = [f"g{i // 2}" for i in range(count)]
    return Outcome(
        ("ill", "<b>well</b>", "so-so"), scores, truth, groups, names, exclusive, (0.3,) * 3,
        lambda i: np.full((30, 40), i, np.uint8),
    )  # fmt: skip


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_classifier_page_holds_everything(tmp_path: Path, *, exclusive: bool) -> None:
    """Figures with n, groups and intervals, curves, confusion, calibration, mistakes, leakage, caveats."""
    log = tmp_path / "log.jsonl"
    log.write_text('{"epoch": 1, "loss": 1.0, "val_loss": 1.1}\n{"epoch": 2, "loss": 0.5, "val_loss": 0.7}\n{"epo')
    leakage = Leakage({"train": 5, "val": 60}, (), ())
    curves = learning_curves(log)
    assert curves is not None
    page = classifier_page(
        "Drawn",
        outcome_of(exclusive=exclusive),
        {"data": "drawn <i>"},
        more=[curves],
        leakage=leakage,
        caveats=("One.",),
    )
    note_order(tmp_path / "out", {"command": "dentgate train", "seed": "7"})
    text = write_report(tmp_path / "out", page).read_text()
    parser = Balance()
    parser.feed(text)
    assert not parser.open
    assert not {"script", "link", "iframe"} & set(parser.seen)
    for wanted in ("60 images of 30 groups", "ROC", "Confusion", "Calibration", "Worst mistakes", "Learning curves",
                   "Leakage", "dentgate train", "hardware", "drawn &lt;i&gt;", "&lt;b&gt;well", "One."):  # fmt: skip
        assert wanted in text, wanted
    assert "<b>well" not in text
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    auc = report["classes"]["ill"]["auc"]
    assert auc["low"] < auc["value"] < auc["high"]
    assert report["facts"]["seed"] == "7"
    assert report["leakage"]["pairs"] == []
    assert "calibration_error" in report
    kept = Outcome.load(tmp_path / "out" / "outcome.npz")
    assert (kept.scores == outcome_of().scores).all()
    assert kept.classes == outcome_of().classes


def test_a_leak_is_told_on_top() -> None:
    """The first block and the headline say that the parts are not independent; a clean check comes last."""
    clean = classifier_page("Drawn", outcome_of(), {}, leakage=Leakage({"train": 5, "val": 60}, (), ()))
    leaking = classifier_page("Drawn", outcome_of(), {}, leakage=Leakage({"train": 5, "val": 60}, ("patient 7",), ()))
    assert clean.blocks[-1].title == "Leakage between the parts"
    assert leaking.blocks[0].title.startswith("Leakage between the parts")
    assert leaking.headline == f"NOT TO BE TRUSTED: the parts share 1 groups and 0 files. {clean.headline}"
    members = [Member(Path(f"{split}.png"), split, split) for split in ("train", "val")]
    alike = Leakage({"train": 1, "val": 1}, (), (Pair(members[0], members[1], "alike when turned or mirrored"),))
    doubtful = classifier_page("Drawn", outcome_of(), {}, leakage=alike)
    assert doubtful.blocks[0].title.startswith("Leakage between the parts")
    assert doubtful.headline.startswith(f"{clean.headline} - CHECK: 1 pairs of images")


def test_worst_mistakes_are_wrong_and_the_most_certain_first() -> None:
    """Each wrong image once; the words say what it is and what was said."""
    case = outcome_of()
    worst = worst_mistakes(case, most=100)
    wrong = np.flatnonzero(case.scores.argmax(1) != case.truth.argmax(1))
    assert sorted(i for i, _ in worst) == wrong.tolist()
    certainty = [case.scores[i].max() for i, _ in worst]
    assert certainty == sorted(certainty, reverse=True)
    i, words = worst[0]
    assert words.startswith(f"is {case.classes[case.truth[i].argmax()]}, said {case.classes[case.scores[i].argmax()]}")


def test_missed_and_wrongly_said_are_told_apart() -> None:
    """Several classes for an image: the decision that is farthest beyond its threshold comes first."""
    scores, truth = np.array([[0.1, 0.9], [0.6, 0.2]]), np.array([[1, 0], [0, -1]], np.int8)
    case = Outcome(("a", "b"), scores, truth, ["0", "1"], ["0", "1"], exclusive=False, thresholds=(0.5, 0.8))
    assert worst_mistakes(case) == [(0, "a missed (0.10)"), (1, "a said wrongly (0.60)")]


def test_no_mistakes_and_one_kind_only_make_a_page_too(tmp_path: Path) -> None:
    """Without a negative there is no curve; without a mistake the page says so."""
    case = Outcome(
        ("a",), np.array([[0.9], [0.8]]), np.array([[1], [1]], np.int8), ["0", "1"], ["0", "1"], exclusive=False,
        thresholds=(0.5,),
    )  # fmt: skip
    text = write_report(tmp_path, classifier_page("One", case, {})).read_text()
    assert "There are none on these images." in text


def test_leaks_stand_out(tmp_path: Path) -> None:
    """Pairs and groups are listed, with a warning that the figures flatter."""
    pair = Pair(Member(tmp_path / "a.png", "train", "x"), Member(tmp_path / "b.png", "val", "y"), "same bytes")
    text = write_report(
        tmp_path, Page("P", "h", {}, [Leakage({"train": 1, "val": 1}, ("g1",), (pair,)).block()])
    ).read_text()
    for wanted in ("not independent", "train: a.png", "val: b.png", "same bytes", "g1", "flatter"):
        assert wanted in text


def test_other_blocks(tmp_path: Path) -> None:
    """Tables of anything, pictures in grey and colour, warnings."""
    colour = np.zeros((400, 300, 3), np.uint8)
    blocks: list[Block] = [
        Table("T", ["a", "b"], [["x", 0.123456], ["y", None]]),
        Gallery("G", [(colour, "cap")]),
        Prose("P", ["w"], warning=True),
    ]
    text = write_report(tmp_path, Page("P", "h", {}, blocks)).read_text()
    assert "0.1235" in text
    assert "<td>-</td>" in text
    assert 'class="warning"' in text
    assert len(re.findall(r"data:image/png;base64,", text)) == 1


def texts_of(svg: str) -> list[str]:
    """The words of a chart; raises where it is not well-formed."""
    root = ET.fromstring(svg.partition("</svg>")[0] + "</svg>")  # noqa: S314 - our own words
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]


def test_a_curve_lies_where_its_numbers_say() -> None:
    """The ends of a line from (0, 0) to (1, 1) are the corners of the axes; a gap in the data breaks nothing."""
    svg = line_chart([Line("x<y", [0, float("nan"), 1], [0, 0.5, 1])], Axis("a", 0, 1), Axis("b", 0, 1))
    (points,) = re.findall(r'points="([^"]*)"', svg)
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in points.split(" "))
    assert (x0, y0, x1, y1) == (52, 276, 446, 12)
    assert {"0", "0.2", "1", "a", "b"} <= set(texts_of(svg))
    assert "x&lt;y" in svg


def test_charts_of_odd_data_are_well_formed() -> None:
    """Constant, empty, huge and tiny values."""
    for values in ([5.0, 5.0], [], [1e9, -1e9], [1e-9, 2e-9]):
        texts_of(line_chart([Line("v", list(range(len(values))), values)], Axis("x"), Axis("y")))
        texts_of(histogram([("v", values)], Axis("x")))


def test_counts_and_intervals_show_their_numbers() -> None:
    """Every count of a confusion matrix and every value of an interval chart can be read."""
    assert {"3", "1", "0", "8"} <= set(texts_of(count_chart([[3, 1], [0, 8]], ["a", "b"])))
    assert {"0.75", "a & b"} <= set(texts_of(interval_chart([Bar("a & b", 0.75, 0.5, 0.9), Bar("c", 0.2)], "AUC")))


def test_no_interval_is_cut_off() -> None:
    """The axis of the AUC begins below the least end of an interval; at 0.4 only where all lie above."""
    sure = outcome_of(60)
    unsure = replace(sure, scores=np.roll(sure.scores, 1, 0))
    for outcome, low in ((sure, False), (unsure, True)):
        summary = metrics.summarize(outcome)
        assert (min(c.figures["auc"].low or 0 for c in summary.classes) < 0.4) == low
        svg = next(svg for caption, svg in answer_blocks(outcome, summary)[1].charts if "interval" in caption)
        assert ("0" in texts_of(svg)) == low


def test_learning_curves_need_numbers(tmp_path: Path) -> None:
    """No log, or one without numbers, is no block."""
    assert learning_curves(tmp_path / "none.jsonl") is None
    (tmp_path / "log.jsonl").write_text('["x"]\n{"step": 1}\n')
    assert learning_curves(tmp_path / "log.jsonl") is None
