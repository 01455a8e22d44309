"""Figures against their definitions, written out by hand, and intervals against what theory says."""

from itertools import product

import numpy as np
import pytest

from workers.training.metrics import (
    FIGURES,
    area_under_roc,
    average_precision,
    class_values,
    confusion,
    draw_groups,
    figure_of,
    precision_recall_curve,
    roc_curve,
    summarize,
)
from workers.training.outcome import Outcome


def outcome_of(scores: object, truth: object, *, exclusive: bool = False, groups: list[str] | None = None) -> Outcome:
    """An outcome whose groups are single images unless given."""
    s, t = np.array(scores, np.float64), np.array(truth, np.int8)
    names = [f"image-{i}" for i in range(len(s))]
    classes = tuple("abcdef"[: s.shape[1]])
    return Outcome(classes, s, t, groups or list(names), names, exclusive, (0.5,) * s.shape[1])


def random_case(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Scores on a coarse grid, so that many are equal, and a truth."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.4
    truth[:2] = (True, False)
    return np.round(rng.random(count) * 8) / 8, truth


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_chance_that_a_positive_scores_higher(seed: int) -> None:
    """Counted over all pairs, equal scores half; so ties are right."""
    scores, truth = random_case(seed)
    pairs = [1.0 * (p > n) + 0.5 * (p == n) for p, n in product(scores[truth], scores[~truth])]
    assert area_under_roc(scores, truth) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_sum_over_thresholds(seed: int) -> None:
    """For each distinct score: precision of all that score at least so much, by the recall that it adds."""
    scores, truth = random_case(seed)
    expected, recall_before = 0.0, 0.0
    for cut in sorted(set(scores), reverse=True):
        chosen = scores >= cut
        recall = (chosen & truth).sum() / truth.sum()
        expected += (recall - recall_before) * (chosen & truth).sum() / chosen.sum()
        recall_before = recall
    assert average_precision(scores, truth) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_curves_hold_their_areas(seed: int) -> None:
    """The trapezoids under the ROC curve are the AUC; the curve of precision starts at the highest score."""
    scores, truth = random_case(seed)
    x, y = roc_curve(scores, truth)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(area_under_roc(scores, truth))
    recall, precision = precision_recall_curve(scores, truth)
    top = scores == scores.max()
    assert precision[0] == pytest.approx(truth[top].mean())
    assert recall[-1] == 1


def test_figures_of_a_small_table() -> None:
    """Two right and one wrong positive, one missed, four right negatives, by hand."""
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    said = np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)
    scores = np.where(said, 0.8, 0.1)
    values = {key: float(v[0]) for key, v in class_values(scores, truth, said, np.ones((1, 8))).items()}
    assert set(values) == set(FIGURES)
    assert values["accuracy"] == pytest.approx(6 / 8)
    assert values["precision"] == pytest.approx(2 / 3)
    assert values["recall"] == pytest.approx(2 / 3)
    assert values["specificity"] == pytest.approx(4 / 5)
    assert values["f1"] == pytest.approx(2 / 3)
    assert values["brier"] == pytest.approx((2 * 0.2**2 + 0.9**2 + 0.8**2 + 4 * 0.1**2) / 8)


def test_weights_count_like_copies() -> None:
    """An image of weight three gives the figures of a set that holds it three times."""
    scores, truth = random_case(7, 12)
    said = scores >= 0.5
    times = np.random.default_rng(1).integers(0, 4, 12)
    weighted = class_values(scores, truth, said, times[None].astype(float))
    copied = np.repeat(np.arange(12), times)
    plain = class_values(scores[copied], truth[copied], said[copied], np.ones((1, len(copied))))
    for key in FIGURES:
        assert weighted[key] == pytest.approx(plain[key], nan_ok=True), key


def test_groups_are_drawn_whole() -> None:
    """Images of one group are drawn equally often, and as many groups are drawn as there are."""
    drawn = draw_groups(["x", "y", "x", "z"], np.random.default_rng(0), 200)
    assert np.array_equal(drawn[:, 0], drawn[:, 2])
    assert (drawn[:, 0] + drawn[:, 1] + drawn[:, 3] == 3).all()
    assert drawn[:, 1].mean() == pytest.approx(1, abs=0.15)


def test_intervals_are_those_of_the_groups_and_not_of_the_images() -> None:
    """Ten copies of each image widen nothing and narrow nothing, where the copies are one group."""
    rng = np.random.default_rng(3)
    truth = rng.random(60) < 0.5
    scores = (truth * 0.3 + rng.random(60))[:, None] / 1.3
    once = summarize(outcome_of(scores, truth[:, None]))
    groups = [f"g{i}" for i in range(60) for _ in range(10)]
    often = summarize(outcome_of(np.repeat(scores, 10, 0), np.repeat(truth[:, None], 10, 0), groups=groups))
    a, b = once.classes[0].figures["accuracy"], often.classes[0].figures["accuracy"]
    assert (a.value, often.groups) == (b.value, 60)
    assert (b.low, b.high) == pytest.approx((a.low, a.high), abs=0.04)
    share = a.value or 0
    expected = 2 * 1.96 * np.sqrt(share * (1 - share) / 60)
    assert (a.high or 0) - (a.low or 0) == pytest.approx(expected, rel=0.15)


def test_a_seed_gives_the_same_intervals() -> None:
    """The same seed, the same report."""
    scores, truth = random_case(0)
    case = outcome_of(scores[:, None], truth[:, None])
    assert summarize(case, seed=4).to_json() == summarize(case, seed=4).to_json()


def test_exclusive_classes_have_one_table_of_confusion() -> None:
    """Truth by what was said; accuracy is its diagonal; balanced accuracy the mean recall."""
    scores = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]
    truth = [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    found = summarize(outcome_of(scores, truth, exclusive=True))
    assert found.confusion == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert found.accuracy is not None
    assert found.accuracy.value == 0.75
    assert found.macro["recall"].value == pytest.approx((1 + 0.5 + 1) / 3)


def test_unknown_labels_are_left_out() -> None:
    """-1 counts neither as yes nor as no."""
    case = outcome_of([[0.9], [0.8], [0.2], [0.9]], [[1], [0], [0], [-1]])
    (found,) = summarize(case).classes
    assert (found.images, found.positives) == (3, 1)
    assert found.figures["precision"].value == 0.5
    assert confusion(case) == [[[1, 1], [0, 1]]]


def test_what_the_data_do_not_say_is_no_figure() -> None:
    """Without a positive there is no AUC and no recall, and with one lucky draw no interval."""
    (found,) = summarize(outcome_of([[0.9], [0.2]], [[0], [0]])).classes
    assert (found.figures["auc"].value, found.figures["recall"].value) == (None, None)
    assert found.figures["specificity"].value == 0.5
    assert str(found.figures["auc"]) == "-"
    assert figure_of(np.array([0.5, 0.5, np.nan, np.nan])).low is None


def test_thresholds_of_exclusive_classes_shift_the_choice() -> None:
    """Equal thresholds mean the highest score; a lower one makes its class easier to say."""
    case = outcome_of([[0.6, 0.4]], [[0, 1]], exclusive=True)
    assert case.said().tolist() == [[True, False]]
    parts = {name: getattr(case, name) for name in ("classes", "scores", "truth", "groups", "names", "exclusive")}
    assert Outcome(**parts, thresholds=(0.7, 0.3)).said().tolist() == [[False, True]]


def test_an_outcome_that_does_not_fit_is_refused() -> None:
    """Shapes and numbers are checked where the outcome is made."""
    with pytest.raises(ValueError, match="do not fit"):
        Outcome(
            ("a",),
            np.zeros((2, 1)),
            np.zeros((2, 2), np.int8),
            ["g", "g"],
            ["x", "y"],
            exclusive=False,
            thresholds=(0.5,),
        )
    with pytest.raises(ValueError, match="finite"):
        outcome_of([[np.nan]], [[1]])
