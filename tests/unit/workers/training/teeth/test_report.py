"""What the report of a tooth model shows beside the plain figures."""

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.models.arch import LOWER, UPPER
from workers.regions import Detection
from workers.training.report import Gallery, Prose
from workers.training.teeth.cases import Case
from workers.training.teeth.intervals import confusions, how_far, intervals
from workers.training.teeth.mistakes import Worst, drawn
from workers.training.teeth.scoring import ImageScore, Truth, certainty_curve, score_image, summary, truths_of


def labels(*teeth: int) -> NDArray[np.uint8]:
    """A map with a rectangle per tooth, side by side."""
    plane = np.zeros((80, 40 * len(teeth)), np.uint8)
    for i, tooth in enumerate(teeth):
        plane[10:70, 40 * i + 8 : 40 * i + 32] = tooth
    return plane


def found(truths: list[Truth], *numbers: tuple[int, float]) -> list[Detection]:
    """Found exactly where the first teeth are, with these numbers and certainties."""
    pairs = zip(truths, numbers, strict=False)
    return [Detection("tooth", number, certainty, t.box, t.mask) for t, (number, certainty) in pairs]


def score(*numbers: tuple[int, float], group: str = "a", true: tuple[int, ...] = (11, 12, 13, 14)) -> ImageScore:
    """Of an image on which the first teeth were given these numbers."""
    truths = truths_of(labels(*true))
    return score_image(found(sorted(truths, key=lambda t: t.box), *numbers), truths, group)


def test_confusions() -> None:
    """Wrong numbers are counted by pair, the most frequent first, with the share that is off by one place."""
    scores = [score((11, 0.9), (13, 0.8)), score((11, 0.9), (13, 0.8)), score((21, 0.9), (12, 0.9), (43, 0.5))]
    told = confusions(scores)
    assert told["wrong_numbers"] == 4
    assert told["one_place_share"] == 0.75
    assert told["pairs"][0] == {"given": 13, "labelled": 12, "times": 2, "how": "one place along the jaw"}
    assert {p["how"] for p in told["pairs"][1:]} == {"one place along the jaw", "other jaw"}
    assert (how_far(16, 26), how_far(18, 16)) == ("other side", "2 places along the jaw")
    assert all(how_far(a, b) for jaw in (UPPER, LOWER) for a in jaw for b in jaw)
    assert confusions([]) == {"wrong_numbers": 0, "one_place_share": 0.0, "pairs": []}


def test_average_precision_counts_what_was_missed() -> None:
    """Two of four teeth found, the surer one right: a quarter of the recall at full precision. All right: one."""
    part, whole = [score((11, 0.9), (13, 0.8))], [score((11, 0.9), (12, 0.8), (13, 0.7), (14, 0.6))]
    recall, precision = certainty_curve(part)
    assert recall.tolist() == [0.25, 0.25]
    assert precision.tolist() == [1.0, 0.5]
    assert summary(part)["average_precision"] == 0.25
    assert summary(whole)["average_precision"] == 1.0
    assert summary([score()])["average_precision"] == 0.0


def test_intervals_hold_their_figures() -> None:
    """Each is of the figure of its name, and as wide as the groups differ; one group alone has no width."""
    good, bad = ((11, 0.9), (12, 0.9), (13, 0.9), (14, 0.9)), ((11, 0.9), (13, 0.9))
    scores = [score(*(good if i % 2 else bad), group=str(i)) for i in range(12)]
    figures, ranges = summary(scores), intervals(scores)
    assert set(ranges) >= {"f1", "precision", "recall", "dice_matched", "dice_all", "average_precision"}
    for name, (low, high) in ranges.items():
        assert low <= figures[name] <= high
    assert ranges["precision"][0] < ranges["precision"][1]
    alone = [score(*bad), score(*good)]
    assert intervals(alone)["recall"] == (summary(alone)["recall"],) * 2


def test_the_interval_of_average_precision_is_of_what_the_draws_hold() -> None:
    """It is that of the figure itself over the drawn films, for certainties that are equal and for films not found."""
    rng = np.random.default_rng(4)
    numbers = [
        [(n, round(float(rng.random()), 1)) for n in rng.permutation((11, 12, 13, 14))[:3].tolist()] for _ in range(7)
    ]
    scores = [score(*found_teeth, group=str(i // 2)) for i, found_teeth in enumerate(numbers)] + [score(group="9")]
    groups = sorted({each.group for each in scores})
    drawn = []
    for draw in np.random.default_rng(0).integers(0, len(groups), (2000, len(groups))):
        films = [each for k in draw for each in scores if each.group == groups[k]]
        drawn.append(summary(films)["average_precision"])
    low, high = intervals(scores)["average_precision"]
    assert (low, high) == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=2e-4)
    assert low < high


def test_the_worst_films_are_drawn() -> None:
    """Most wrong numbers first, none without a mistake; wrong, missed and needless teeth have colours of their own."""
    plane = labels(11, 12, 13, 14)
    truths = truths_of(plane)
    worst = Worst(most=2)
    answers = {
        "right": found(truths, (11, 0.9), (12, 0.9), (13, 0.9), (14, 0.9)),
        "missed": found(truths, (11, 0.9), (12, 0.9), (13, 0.9)),
        "shifted": found(truths, (12, 0.9), (13, 0.9), (14, 0.9), (15, 0.9)),
        "one wrong": found(truths, (11, 0.9), (12, 0.9), (13, 0.9), (15, 0.9)),
    }
    for name, teeth in answers.items():
        case = Case(np.full(plane.shape, 0.5, np.float32), plane, name, f"{name}.png")
        worst.add(case, teeth, truths, score_image(teeth, truths, name))
    block = worst.block()
    assert isinstance(block, Gallery)
    assert [text.partition(":")[0] for _, text in block.pictures] == ["shifted.png", "one wrong.png"]
    assert "4 with a wrong number, 0 not found" in block.pictures[0][1]
    extra = Detection("tooth", 48, 0.9, (0, 0, 6, 9), np.ones((9, 6), np.bool_))
    picture = drawn(np.full(plane.shape, 0.5, np.float32), [*answers["missed"][1:], extra], truths)
    assert picture.shape == (450, 900, 3)
    for colour in ((60, 220, 90), (255, 215, 0), (90, 170, 255)):
        assert (picture == colour).all(-1).any()
    assert not (picture == (255, 70, 70)).all(-1).any()
    assert isinstance(Worst().block(), Prose)
