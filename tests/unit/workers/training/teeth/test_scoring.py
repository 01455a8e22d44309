"""How found teeth are scored."""

import numpy as np
import pytest

from workers.regions import Detection
from workers.training.teeth.scoring import (
    Truth,
    by_class,
    by_jaw,
    reliability_table,
    score_image,
    summary,
    truths_of,
)


def labels(*teeth: int) -> np.ndarray:
    """A label map with a rectangle per tooth, side by side."""
    plane = np.zeros((40, 20 * len(teeth)), np.uint8)
    for i, tooth in enumerate(teeth):
        plane[5:35, 20 * i + 4 : 20 * i + 16] = tooth
    return plane


def detections(truths: list[Truth], *numbers: int | None) -> list[Detection]:
    """Found exactly where the truth is, with these numbers; None = not found."""
    return [Detection("tooth", n, 0.9, t.box, t.mask) for t, n in zip(truths, numbers, strict=True) if n is not None]


def test_all_right() -> None:
    """Everything right scores one everywhere."""
    truths = truths_of(labels(11, 12, 13))
    figures = summary([score_image(detections(truths, 11, 12, 13), truths, "a")])
    assert figures["f1"] == figures["precision"] == figures["recall"] == figures["dice_all"] == 1
    assert figures["images_all_right"] == 1


def test_wrong_number_is_both_missed_and_false() -> None:
    """A tooth found under a wrong number counts as detected, not as right."""
    truths = truths_of(labels(11, 12, 13))
    figures = summary([score_image(detections(truths, 11, 12, 23), truths, "a")])
    assert figures["detection_f1"] == 1
    assert figures["f1"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["right_number_among_matched"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["wrong_side_among_matched"] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["wrong_jaw_among_matched"] == 0


def test_missed_and_false() -> None:
    """Recall counts missed teeth, precision those that are not there."""
    truths = truths_of(labels(11, 12, 13, 14))
    found = detections(truths, 11, 12, None, None)
    found.append(Detection("tooth", 48, 0.5, (0, 0, 3, 3), np.ones((3, 3), np.bool_)))
    figures = summary([score_image(found, truths, "a")])
    assert figures["recall"] == 0.5
    assert figures["precision"] == pytest.approx(2 / 3, abs=1e-4)


def test_twice_the_same_number() -> None:
    """A number given twice is counted as a duplicate."""
    truths = truths_of(labels(11, 12))
    assert summary([score_image(detections(truths, 11, 11), truths, "a")])["duplicates"] == 1


def test_shifted_box() -> None:
    """A box that overlaps too little is not a find."""
    truths = truths_of(labels(11))
    x0, y0, x1, y1 = truths[0].box
    shifted = [Detection("tooth", 11, 0.9, (x0 + 8, y0, x1 + 8, y1), truths[0].mask)]
    assert summary([score_image(shifted, truths, "a")])["f1"] == 0


def test_nothing_at_all() -> None:
    """Images without teeth and findings give zeros, not errors."""
    assert summary([score_image([], [], "a")])["f1"] == 0


def test_by_number_and_by_jaw() -> None:
    """A wrong number costs recall of the one and precision of the other, and spoils its jaw only."""
    truths = truths_of(labels(11, 12, 41, 42))
    scores = [score_image(detections(truths, 11, 13, 41, 42), truths, "a")]
    rows = {row["tooth"]: row for row in by_class(scores)}
    assert (rows[11]["precision"], rows[11]["recall"], rows[11]["dice_matched"]) == (1, 1, 1)
    assert (rows[12]["found"], rows[12]["recall"]) == (0, 0)
    assert (rows[13]["labelled"], rows[13]["precision"]) == (0, 0)
    assert by_jaw(scores)["fewer_than_14"] == {"jaws": 2, "all_right": 0.5}
    assert by_jaw(scores)["14_teeth_or_more"]["jaws"] == 0


def test_reliability() -> None:
    """Teeth of like certainty share a bin that tells how many of them are right."""
    truths = truths_of(labels(11, 12))
    (row,) = reliability_table([score_image(detections(truths, 11, 13), truths, "a")])
    assert row == {"teeth": 2, "mean_certainty": 0.9, "right": 0.5}


def test_what_has_no_place_is_not_scored() -> None:
    """A finding of the whole image is no tooth."""
    truths = truths_of(labels(11))
    assert score_image([Detection("tooth", 11, 0.9)], truths, "a").found == 0
