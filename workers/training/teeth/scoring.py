"""Scores of found teeth against label maps: detection, numbering, outline; sums over images, intervals over groups."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.finding import UNCERTAIN
from workers.models.arch import FDI, LOWER, UPPER
from workers.regions import Detection
from workers.training.calibration import expected_calibration_error, reliability
from workers.training.metrics import precision_recall_curve

IOU = 0.5
FULL_JAW = 14  # teeth; the split of the figures of jaws
_COUNTS = ("true", "found", "right", "detected", "numbered_right", "wrong_side", "wrong_jaw")
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Truth:
    """One labelled tooth: FDI number, tight box x0, y0, x1, y1, mask inside it."""

    tooth: int
    box: Box
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """A detection that has a place: number, certainty, whether the number is flagged, box and mask."""

    tooth: int
    certainty: float
    flagged: bool
    box: Box
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ToothClass:
    """One FDI number in one image: labelled, found, right; Dice where both are there."""

    true: int
    found: int
    right: int
    dice: float | None


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
        flagged, flagged_right: of those matched, numbers called uncertain, and how many of these were right.
        duplicates: numbers given more than once.
        claims: certainty of each found tooth, and whether it was right.
        confused: of those matched with a wrong number, the number given and the labelled one.
        classes: by FDI number, those labelled or found.
        jaws: for each jaw with teeth, how many it has, and whether all were right and nothing else was numbered.
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
    claims: list[tuple[float, bool]] = field(default_factory=list)
    confused: list[tuple[int, int]] = field(default_factory=list)
    classes: dict[int, ToothClass] = field(default_factory=dict)
    jaws: list[tuple[int, bool]] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)
    dice_matched: list[float] = field(default_factory=list)


def truths_of(labels: NDArray[np.uint8]) -> list[Truth]:
    """The permanent teeth of an FDI label map."""
    truths = []
    for tooth in np.unique(labels[np.isin(labels, FDI)]):
        mask = labels == tooth
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        truths.append(Truth(int(tooth), box, mask[box[1] : box[3], box[0] : box[2]]))
    return truths


def located(detections: Sequence[Detection]) -> list[Found]:
    """Those with a number, a box and a mask."""
    return [
        Found(d.tooth, d.certainty, UNCERTAIN in d.flags, d.box, d.mask)
        for d in detections
        if d.tooth is not None and d.box is not None and d.mask is not None
    ]


def score_image(detections: Sequence[Detection], truths: Sequence[Truth], group: str) -> ImageScore:
    """Compare one image's teeth."""
    found = located(detections)
    overlap = overlap_of(found, truths)
    pairs = matches(overlap)
    wrong = [(found[p].tooth, truths[t].tooth) for p, t in pairs if found[p].tooth != truths[t].tooth]
    flagged = [found[p].tooth == truths[t].tooth for p, t in pairs if found[p].flagged]
    classes = _classes(found, truths, overlap)
    return ImageScore(
        group=group,
        true=len(truths),
        found=len(found),
        right=sum(c.right for c in classes.values()),
        detected=len(pairs),
        numbered_right=len(pairs) - len(wrong),
        wrong_side=sum(_side(a) != _side(b) for a, b in wrong),
        wrong_jaw=sum(_upper(a) != _upper(b) for a, b in wrong),
        flagged=len(flagged),
        flagged_right=sum(flagged),
        duplicates=len(found) - len({d.tooth for d in found}),
        claims=[(d.certainty, ok) for d, ok in zip(found, _right(found, truths), strict=True)],
        confused=wrong,
        classes=classes,
        jaws=_jaws(classes),
        dice=[c.dice or 0.0 for c in classes.values() if c.true],
        dice_matched=[c.dice for c in classes.values() if c.right and c.dice is not None],
    )


def _classes(found: Sequence[Found], truths: Sequence[Truth], overlap: NDArray[np.float64]) -> dict[int, ToothClass]:
    there, true = {d.tooth: i for i, d in enumerate(found)}, {t.tooth: k for k, t in enumerate(truths)}
    classes = {}
    for tooth in FDI:
        i, k = there.get(tooth), true.get(tooth)
        if i is None and k is None:
            continue
        both = i is not None and k is not None
        right = bool(both and overlap[i, k] >= IOU)
        dice = mask_dice(found[i], truths[k]) if i is not None and k is not None else None
        classes[tooth] = ToothClass(int(k is not None), int(i is not None), int(right), dice)
    return classes


def _jaws(classes: dict[int, ToothClass]) -> list[tuple[int, bool]]:
    jaws = [[classes[tooth] for tooth in jaw if tooth in classes] for jaw in (UPPER, LOWER)]
    return [(sum(c.true for c in jaw), all(c.right for c in jaw)) for jaw in jaws if any(c.true for c in jaw)]


def right_teeth(detections: Sequence[Detection], truths: Sequence[Truth]) -> list[bool]:
    """For each found tooth whether it has the right number and enough overlap."""
    return _right(located(detections), truths)


def _right(found: Sequence[Found], truths: Sequence[Truth]) -> list[bool]:
    boxes = {truth.tooth: truth.box for truth in truths}
    return [d.tooth in boxes and bool(box_iou([d.box], [boxes[d.tooth]])[0, 0] >= IOU) for d in found]


def summary(scores: Sequence[ImageScore]) -> dict[str, float]:
    """Figures of a set of images; rates are of teeth, not means of images."""
    total = {name: sum(getattr(score, name) for score in scores) for name in _COUNTS}
    flagged, flagged_right = sum(s.flagged for s in scores), sum(s.flagged_right for s in scores)
    sure, sure_right = total["detected"] - flagged, total["numbered_right"] - flagged_right
    dice = [value for score in scores for value in score.dice]
    matched = [value for score in scores for value in score.dice_matched]
    claims = _claims(scores)
    recall, precision = certainty_curve(scores)
    figures = {
        "images": len(scores),
        "teeth": total["true"],
        "f1": _ratio(2 * total["right"], total["found"] + total["true"]),
        "precision": _ratio(total["right"], total["found"]),
        "recall": _ratio(total["right"], total["true"]),
        "average_precision": float(np.sum(np.diff(recall, prepend=0.0) * precision)),
        "detection_f1": _ratio(2 * total["detected"], total["found"] + total["true"]),
        "right_number_among_matched": _ratio(total["numbered_right"], total["detected"]),
        "wrong_side_among_matched": _ratio(total["wrong_side"], total["detected"]),
        "wrong_jaw_among_matched": _ratio(total["wrong_jaw"], total["detected"]),
        "dice_all": float(np.mean(dice)) if dice else 0.0,
        "dice_matched": float(np.mean(matched)) if matched else 0.0,
        "mean_certainty": float(claims[:, 0].mean()) if len(claims) else 0.0,
        "brier": float(((claims[:, 0] - claims[:, 1]) ** 2).mean()) if len(claims) else 0.0,
        "calibration_error": expected_calibration_error(claims[:, 0], claims[:, 1] > 0) if len(claims) else 0.0,
        "duplicates": sum(s.duplicates for s in scores),
        "images_all_right": _ratio(sum(s.right == s.true == s.found for s in scores), len(scores)),
        "flagged_uncertain": _ratio(flagged, total["detected"]),
        "right_among_flagged": _ratio(flagged_right, flagged),
        "right_among_unflagged": _ratio(sure_right, sure),
    }
    return {key: round(value, 4) for key, value in figures.items()}


def certainty_curve(scores: Sequence[ImageScore]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall, of all labelled teeth, and precision as the least certainty falls; empty where nothing was found."""
    claims, true = _claims(scores), sum(score.true for score in scores)
    if not len(claims) or not true:
        return np.zeros(0), np.zeros(0)
    recall, precision = precision_recall_curve(claims[:, 0], claims[:, 1] > 0)
    return recall * claims[:, 1].sum() / true, precision


def by_class(scores: Sequence[ImageScore]) -> list[dict[str, float]]:
    """Precision, recall and mean Dice of the right ones, for each FDI number that was labelled or found."""
    rows = []
    for tooth in FDI:
        seen = [score.classes[tooth] for score in scores if tooth in score.classes]
        true, found, right = (sum(getattr(c, key) for c in seen) for key in ("true", "found", "right"))
        dice = [c.dice for c in seen if c.right and c.dice is not None]
        row = {
            "tooth": tooth,
            "labelled": true,
            "found": found,
            "precision": round(_ratio(right, found), 4),
            "recall": round(_ratio(right, true), 4),
            "dice_matched": round(float(np.mean(dice)), 4) if dice else 0.0,
        }
        rows += [row] if seen else []
    return rows


def by_jaw(scores: Sequence[ImageScore]) -> dict[str, dict[str, float]]:
    """Share of jaws in which every number is right, split at 14 teeth."""
    jaws = [jaw for score in scores for jaw in score.jaws]
    parts = {
        f"{FULL_JAW}_teeth_or_more": [right for teeth, right in jaws if teeth >= FULL_JAW],
        f"fewer_than_{FULL_JAW}": [right for teeth, right in jaws if teeth < FULL_JAW],
    }
    return {name: {"jaws": len(p), "all_right": round(_ratio(sum(p), len(p)), 4)} for name, p in parts.items()}


def reliability_table(scores: Sequence[ImageScore]) -> list[dict[str, Any]]:
    """Found teeth by their certainty: how many, mean certainty, share that is right."""
    claims = _claims(scores)
    return [
        {"teeth": b.count, "mean_certainty": round(b.mean, 4), "right": round(b.frequency, 4)}
        for b in reliability(claims[:, 0], claims[:, 1] > 0)
    ]


def _claims(scores: Sequence[ImageScore]) -> NDArray[np.float64]:
    """(found teeth, 2): certainty, and 1 where it was right."""
    return np.array([claim for score in scores for claim in score.claims], float).reshape(-1, 2)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _side(tooth: int) -> bool:
    return tooth // 10 in (1, 4)


def _upper(tooth: int) -> bool:
    return tooth // 10 in (1, 2)


def box_iou(a: Sequence[tuple[int, ...]], b: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
    """(len(a), len(b)) intersection over union of boxes."""
    p, q = np.array(a, float).reshape(-1, 1, 4), np.array(b, float).reshape(1, -1, 4)
    size = np.clip(np.minimum(p[..., 2:], q[..., 2:]) - np.maximum(p[..., :2], q[..., :2]), 0, None)
    both = size.prod(-1)
    union = (p[..., 2:] - p[..., :2]).prod(-1) + (q[..., 2:] - q[..., :2]).prod(-1) - both
    return np.asarray(both / np.maximum(union, 1e-9))


def overlap_of(found: Sequence[Found], truths: Sequence[Truth]) -> NDArray[np.float64]:
    """(found, truths) IoU of the boxes."""
    return box_iou([d.box for d in found], [t.box for t in truths])


def matches(overlap: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (found, true) with enough overlap, best first, each at most once."""
    pairs: list[tuple[int, int]] = []
    left = overlap.copy()
    while left.size and left.max() >= IOU:
        p, t = divmod(int(left.argmax()), left.shape[1])
        pairs.append((p, t))
        left[p], left[:, t] = 0, 0
    return pairs


def mask_dice(found: Found, truth: Truth) -> float:
    """Of two masks that know their boxes."""
    a, b = found.box, truth.box
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    both = 0
    if x0 < x1 and y0 < y1:
        mine = found.mask[y0 - a[1] : y1 - a[1], x0 - a[0] : x1 - a[0]]
        both = int((mine & truth.mask[y0 - b[1] : y1 - b[1], x0 - b[0] : x1 - b[0]]).sum())
    return 2 * both / max(int(found.mask.sum()) + int(truth.mask.sum()), 1)
