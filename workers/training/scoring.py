"""Scores of found teeth against label maps: detection, numbering, outline; sums over images, intervals over groups."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from workers.regions import Detection

IOU = 0.5
_ROUNDS = 2000


@dataclass(frozen=True, slots=True)
class Truth:
    """One labelled tooth: FDI number, tight box x0, y0, x1, y1, mask inside it."""

    tooth: int
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ImageScore:
    """Counts of one image.

    Attributes:
        group: images of one group are not independent.
        true, found: labelled teeth; teeth the model numbered.
        right: found with IoU of boxes >= 0.5 and the right number.
        detected: matched regardless of numbers; each tooth at most once.
        numbered_right: of those matched, the ones with the right number.
        wrong_side, wrong_jaw: of those matched with a wrong number, the ones in a wrong quadrant half.
        calibration: sum over found teeth of certainty, and of its squared distance from right (1) or wrong (0).
        flagged, flagged_right: of those matched, numbers called uncertain, and how many of these were right.
        duplicates: numbers given more than once.
        dice: of every labelled tooth with the found one of its number, 0 where there is none.
        dice_matched: the same, of the ``right`` ones only.
    """

    group: str
    true: int
    found: int
    right: int
    detected: int
    numbered_right: int
    wrong_side: int
    wrong_jaw: int
    flagged: int
    flagged_right: int
    duplicates: int
    calibration: tuple[float, float]
    dice: list[float] = field(default_factory=list)
    dice_matched: list[float] = field(default_factory=list)


def truths_of(labels: NDArray[np.uint8]) -> list[Truth]:
    """The labelled teeth of an FDI label map."""
    truths = []
    for tooth in np.unique(labels[labels > 0]):
        mask = labels == tooth
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        truths.append(Truth(int(tooth), box, mask[box[1] : box[3], box[0] : box[2]]))
    return truths


def score_image(found: Sequence[Detection], truths: Sequence[Truth], group: str) -> ImageScore:
    """Compare one image's teeth."""
    overlap = _iou([d.box for d in found], [t.box for t in truths])
    pairs = _matches(overlap)
    wrong = [(found[p].tooth or 0, truths[t].tooth) for p, t in pairs if found[p].tooth != truths[t].tooth]
    flagged = [(found[p].tooth == truths[t].tooth) for p, t in pairs if "number-uncertain" in found[p].flags]
    by_number = {d.tooth: i for i, d in enumerate(found)}
    dice, dice_matched = [], []
    for k, truth in enumerate(truths):
        i = by_number.get(truth.tooth)
        value = _dice(found[i], truth) if i is not None else 0.0
        dice.append(value)
        if i is not None and overlap[i, k] >= IOU:
            dice_matched.append(value)
    return ImageScore(
        group=group,
        true=len(truths),
        found=len(found),
        right=len(dice_matched),
        detected=len(pairs),
        numbered_right=len(pairs) - len(wrong),
        wrong_side=sum(_side(a) != _side(b) for a, b in wrong),
        wrong_jaw=sum(_upper(a) != _upper(b) for a, b in wrong),
        flagged=len(flagged),
        flagged_right=sum(flagged),
        duplicates=len(found) - len(by_number),
        calibration=_calibration(found, right_teeth(found, truths)),
        dice=dice,
        dice_matched=dice_matched,
    )


def right_teeth(found: Sequence[Detection], truths: Sequence[Truth]) -> list[bool]:
    """For each found tooth whether it has the right number and enough overlap."""
    boxes = {truth.tooth: truth.box for truth in truths}
    return [d.tooth in boxes and bool(_iou([d.box], [boxes[d.tooth]])[0, 0] >= IOU) for d in found]


def summary(scores: Sequence[ImageScore]) -> dict[str, float]:
    """Figures of a set of images; rates are of teeth, not means of images."""
    total = {
        name: sum(getattr(score, name) for score in scores)
        for name in ("true", "found", "right", "detected", "numbered_right", "wrong_side", "wrong_jaw")
    }
    flagged, flagged_right = sum(s.flagged for s in scores), sum(s.flagged_right for s in scores)
    sure, sure_right = total["detected"] - flagged, total["numbered_right"] - flagged_right
    dice = [value for score in scores for value in score.dice]
    matched = [value for score in scores for value in score.dice_matched]
    figures = {
        "images": len(scores),
        "teeth": total["true"],
        "f1": _ratio(2 * total["right"], total["found"] + total["true"]),
        "precision": _ratio(total["right"], total["found"]),
        "recall": _ratio(total["right"], total["true"]),
        "detection_f1": _ratio(2 * total["detected"], total["found"] + total["true"]),
        "right_number_among_matched": _ratio(total["numbered_right"], total["detected"]),
        "wrong_side_among_matched": _ratio(total["wrong_side"], total["detected"]),
        "wrong_jaw_among_matched": _ratio(total["wrong_jaw"], total["detected"]),
        "dice_all": float(np.mean(dice)) if dice else 0.0,
        "dice_matched": float(np.mean(matched)) if matched else 0.0,
        "mean_certainty": _ratio(sum(s.calibration[0] for s in scores), total["found"]),
        "brier": _ratio(sum(s.calibration[1] for s in scores), total["found"]),
        "duplicates": sum(s.duplicates for s in scores),
        "images_all_right": _ratio(sum(s.right == s.true == s.found for s in scores), len(scores)),
        "flagged_uncertain": _ratio(flagged, total["detected"]),
        "right_among_flagged": _ratio(flagged_right, flagged),
        "right_among_unflagged": _ratio(sure_right, sure),
    }
    return {key: round(value, 4) for key, value in figures.items()}


def f1_interval(scores: Sequence[ImageScore], seed: int = 0) -> tuple[float, float]:
    """95 % interval of F1, by drawing groups with replacement."""
    groups = sorted({score.group for score in scores})
    place = {group: i for i, group in enumerate(groups)}
    counts = np.zeros((len(groups), 2))
    for score in scores:
        counts[place[score.group]] += (2 * score.right, score.found + score.true)
    draws = np.random.default_rng(seed).integers(0, len(groups), (_ROUNDS, len(groups)))
    sums = counts[draws].sum(1)
    low, high = np.percentile(sums[:, 0] / np.maximum(sums[:, 1], 1), (2.5, 97.5))
    return round(float(low), 4), round(float(high), 4)


def _calibration(found: Sequence[Detection], right: Sequence[bool]) -> tuple[float, float]:
    sure = sum(d.certainty for d in found)
    return sure, sum((d.certainty - ok) ** 2 for d, ok in zip(found, right, strict=True))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _side(tooth: int) -> bool:
    return tooth // 10 in (1, 4)


def _upper(tooth: int) -> bool:
    return tooth // 10 in (1, 2)


def _iou(a: Sequence[tuple[int, ...]], b: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
    """(len(a), len(b)) intersection over union of boxes."""
    p, q = np.array(a, float).reshape(-1, 1, 4), np.array(b, float).reshape(1, -1, 4)
    size = np.clip(np.minimum(p[..., 2:], q[..., 2:]) - np.maximum(p[..., :2], q[..., :2]), 0, None)
    both = size.prod(-1)
    union = (p[..., 2:] - p[..., :2]).prod(-1) + (q[..., 2:] - q[..., :2]).prod(-1) - both
    return np.asarray(both / np.maximum(union, 1e-9))


def _matches(overlap: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (found, true) with enough overlap, best first, each at most once."""
    pairs: list[tuple[int, int]] = []
    left = overlap.copy()
    while left.size and left.max() >= IOU:
        p, t = divmod(int(left.argmax()), left.shape[1])
        pairs.append((p, t))
        left[p], left[:, t] = 0, 0
    return pairs


def _dice(found: Detection, truth: Truth) -> float:
    """Of two masks that know their boxes."""
    a, b = found.box, truth.box
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    both = 0
    if x0 < x1 and y0 < y1:
        mine = found.mask[y0 - a[1] : y1 - a[1], x0 - a[0] : x1 - a[0]]
        both = int((mine & truth.mask[y0 - b[1] : y1 - b[1], x0 - b[0] : x1 - b[0]]).sum())
    return 2 * both / max(int(found.mask.sum()) + int(truth.mask.sum()), 1)
