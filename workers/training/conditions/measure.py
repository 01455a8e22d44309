"""What the condition model says of labelled films, by the code that serves, set beside the labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from workers.models.conditions import CONDITIONS, HEADS, NEVER, Judged, LoadedToothConditions
from workers.models.tooth_crops import Place, overlap
from workers.training.calibration import fit_logistic, fit_platt
from workers.training.conditions.crops import SAME, Case, matches
from workers.training.conditions.labels import Labelled, healthy, merged
from workers.training.outcome import UNKNOWN, Outcome
from workers.training.progress import Progress

TOOTH, PROPOSAL, MISSED = "tooth", "proposal", "missed"
_MIXED = "filling_or_crown"
_APART = 0.15  # less overlap with every box: nobody said anything of it
_PRECISIONS = (0.8, 0.7, 0.6)  # what a threshold should reach, counting findings without a box as wrong
_FOUND = 0.5  # share of the labelled teeth that must still be found
_RIDGE = 1.0  # in places: keeps the curves of proposals finite
_FEW = 4  # teeth with a condition; with fewer a route gets no threshold of its own

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A place on a film.

    Attributes:
        route: TOOTH or PROPOSAL: the model looked there; MISSED: only a label lies there.
        boxed: a label lies there.
        labels: float32 (heads,), NaN = unknown; of a place without a box 0, weakly: not all that is seen was boxed.
        judged: what the model says of it; of a missed box what it would say.
        names: labels of the boxes.
        case: the film.
    """

    route: str
    boxed: bool
    labels: NDArray[np.float32]
    judged: Judged
    names: tuple[str, ...]
    case: Case


def look(cases: Sequence[Case], model: LoadedToothConditions) -> list[Entry]:
    """All places of all films."""
    progress, entries = Progress(), list[Entry]()
    for done, case in enumerate(cases, 1):
        entries += _entries(case, model)
        progress.tell(f"conditions of {done} of {len(cases)} films")
    return entries


def _entries(case: Case, model: LoadedToothConditions) -> list[Entry]:
    judged = model.judge(case.jaws, case.teeth)
    of_box, of_tooth = matches(case)
    boxes = case.film.boxes
    entries, claimed = list[Entry](), set[int]()
    for k, found in enumerate(judged):
        if found.proposal is None:
            mine = of_tooth[k]
        else:
            mine = [i for i in _around(found.place, boxes) if of_box[i] is None and i not in claimed][:1]
        claimed.update(mine)
        route = TOOTH if found.proposal is None else PROPOSAL
        if mine:
            entries.append(_boxed(route, [boxes[i] for i in mine], found, case))
        elif not boxes or overlap([found.place.box], [b.box for b in boxes]).max() < _APART:
            entries.append(Entry(route, False, unboxed(boxes), found, (), case))  # noqa: FBT003 - see Entry
    missed = [box for i, box in enumerate(boxes) if i not in claimed]
    places = [Place(box.box) for box in missed]
    logits = model.logits([case.jaws.crop(place, model.settings.size) for place in places])
    for box, place, row in zip(missed, places, logits, strict=True):
        entries.append(_boxed(MISSED, [box], Judged(place, None, None, row), case))
    return entries


def unboxed(boxes: Sequence[Labelled]) -> NDArray[np.float32]:
    """What counts of a place without a box, on a film with some boxes.

    Where some box says "filling or crown" and no more, its teeth do not count for either, so those without a box must
    not count against either: the share of both would be wrong.
    """
    labels = healthy()
    if any(box.name == _MIXED for box in boxes):
        labels[[HEADS.index(head) for head in ("filling", "crown", "pontic")]] = np.nan
    return labels


def _around(place: Place, boxes: Sequence[Labelled]) -> list[int]:
    """Indices of the boxes that mean a place, the best first."""
    if not boxes:
        return []
    shared = overlap([place.box], [b.box for b in boxes])[0]
    return [int(i) for i in np.argsort(-shared) if shared[i] >= SAME]


def _boxed(route: str, boxes: Sequence[Labelled], judged: Judged, case: Case) -> Entry:
    names = tuple(box.name for box in boxes)
    return Entry(route, True, merged([box.labels for box in boxes]), judged, names, case)  # noqa: FBT003 - see Entry


def outcome(
    entries: Sequence[Entry],
    model: LoadedToothConditions,
    pictures: Callable[[int], NDArray[np.uint8]] | None = None,
) -> Outcome:
    """Certainties beside labels; a missed box counts with what would be said of a tooth there.

    What a bundle does not answer is unknown: so the outcomes of all bundles have the same classes.
    """
    truth = np.stack([entry.labels for entry in entries])[:, : len(CONDITIONS)]
    truth[:, [kind not in model.settings.answers for kind in CONDITIONS]] = np.nan
    return Outcome(
        classes=CONDITIONS,
        scores=np.stack([model.certainties(entry.judged) for entry in entries])[:, : len(CONDITIONS)],
        truth=np.where(np.isnan(truth), UNKNOWN, truth).astype(np.int8),
        groups=[entry.case.film.group for entry in entries],
        names=[_name(entry) for entry in entries],
        exclusive=False,
        thresholds=tuple(float(t) for t in model.settings.thresholds[0, : len(CONDITIONS)]),
        pictures=pictures,
    )


def _name(entry: Entry) -> str:
    tooth = entry.judged.place.tooth
    where = f"tooth {tooth}" if tooth else entry.route
    return f"{entry.case.film.name}, {where}, labelled {' and '.join(entry.names) or 'nothing'}"


def calibration(entries: Sequence[Entry], said: Sequence[str] = HEADS) -> dict[str, Any]:
    """``curves``, ``proposal_curves`` and ``thresholds`` of the bundle, from places on films that trained nothing.

    Heads that are not in ``said`` are never said.
    """
    tooth, proposed = fit_curves(entries), fit_proposal_curves(entries)
    scores = np.stack([_certainties(entry, proposed if entry.route == PROPOSAL else tooth) for entry in entries])
    truth = np.stack([entry.labels for entry in entries])
    every = [_threshold(scores[:, k], truth[:, k]) for k in range(len(HEADS))]
    table = []
    for route in (TOOTH, PROPOSAL):
        mine = np.array([entry.route == route for entry in entries])
        enough = (truth[mine] == 1).sum(0) >= _FEW  # else what holds for both routes together holds for this one
        alone = [_threshold(scores[mine, k], truth[mine, k]) if enough[k] else every[k] for k in range(len(HEADS))]
        table.append([least if head in said else NEVER for head, least in zip(HEADS, alone, strict=True)])
    return {"curves": tooth[:, :2].tolist(), "proposal_curves": proposed.tolist(), "thresholds": table}


def _certainties(entry: Entry, curves: Floats) -> Floats:
    return np.asarray(expit((_features(entry) * curves).sum(1)))


def _features(entry: Entry) -> Floats:
    """(heads, 3): logit, 1, logit of the heat of a proposal (0 without one)."""
    heat = 0.0 if entry.judged.proposal is None else float(logit(entry.judged.proposal.heat))
    return np.stack([entry.judged.logits.astype(float), np.ones(len(HEADS)), np.full(len(HEADS), heat)], 1)


def fit_curves(entries: Sequence[Entry]) -> Floats:
    """(heads, 3) factor, bias and 0 that make certainties of logits: with and without a box, tooth or not."""
    curves = np.zeros((len(HEADS), 3))
    for k in range(len(HEADS)):
        some = [e for e in entries if not np.isnan(e.labels[k])]
        logits = np.array([e.judged.logits[k] for e in some], float)
        curves[k, :2] = fit_platt(logits, np.array([e.labels[k] == 1 for e in some]))
    return curves.round(4)


def fit_proposal_curves(entries: Sequence[Entry]) -> Floats:
    """(heads, 3) the same for proposals, whose heat counts too."""
    curves = np.zeros((len(HEADS), 3))
    for k in range(len(HEADS)):
        some = [e for e in entries if e.route == PROPOSAL and not np.isnan(e.labels[k])]
        features = np.array([_features(e)[k] for e in some]).reshape(-1, 3)
        curves[k] = fit_logistic(features, np.array([e.labels[k] == 1 for e in some], float), _RIDGE)
    return curves.round(4)


def _threshold(scores: Floats, truth: NDArray[np.float32]) -> float:
    """The best F1 at a precision of 0.8, else of 0.7 or 0.6, else the best F0.5; NEVER without an example."""
    known = ~np.isnan(truth)
    scores, yes = scores[known], truth[known] == 1
    if not yes.any():
        return NEVER
    order = np.argsort(-scores, kind="stable")
    right = yes[order].cumsum()
    precision, recall = right / np.arange(1, len(order) + 1), right / yes.sum()
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    for wanted in _PRECISIONS:
        good = (precision >= wanted) & (recall >= _FOUND)
        if good.any():
            return _cut(scores[order], int(np.where(good, f1, -1).argmax()))
    weighed = 1.25 * precision * recall / np.maximum(0.25 * precision + recall, 1e-9)  # F0.5: precision counts more
    return _cut(scores[order], int(weighed.argmax()))


def _cut(ranked: Floats, last: int) -> float:
    """Midway between the last score that is said and the next, so that equal data elsewhere fall on the same side."""
    below = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    return round(float(ranked[last] + below) / 2, 4)


def served(entries: Sequence[Entry], model: LoadedToothConditions) -> dict[str, dict[str, Any]]:
    """What a reader gets at the shipped thresholds, for each condition.

    ``found``: labelled teeth with the condition that got the finding, of ``labelled`` (missed ones count as not
    found); ``wrong``: findings on teeth labelled as something else; ``unlabelled``: findings where nobody put a box,
    which are wrong or were not boxed; of fillings and crowns on films where every box tells them apart.
    """
    least = model.settings.thresholds
    figures: dict[str, dict[str, Any]] = {}
    for kind in model.settings.answers:
        k = HEADS.index(kind)
        said = np.array(
            [
                e.route != MISSED and model.certainties(e.judged)[k] >= least[0 if e.route == TOOTH else 1, k]
                for e in entries
            ]
        )
        label = np.array([e.labels[k] for e in entries])
        boxed = np.array([e.boxed for e in entries])
        tp, wrong = int((said & (label == 1)).sum()), int((said & boxed & (label == 0)).sum())
        labelled, unlabelled = int((label == 1).sum()), int((said & ~boxed & (label == 0)).sum())
        figures[kind] = {
            "labelled": labelled,
            "looked_at": int(((label == 1) & np.array([e.route != MISSED for e in entries])).sum()),
            "found": tp,
            "wrong": wrong,
            "unlabelled": unlabelled,
            "recall": round(tp / max(labelled, 1), 4),
            "precision_among_labelled": round(tp / max(tp + wrong, 1), 4),
            "precision_at_least": round(tp / max(tp + wrong + unlabelled, 1), 4),
        }
    return figures


def routes(entries: Sequence[Entry]) -> dict[str, dict[str, float]]:
    """Of the boxes of each name: how many, and the shares found as a tooth, as a proposal, and missed."""
    names = sorted({name for e in entries for name in e.names})
    table = {}
    for name in names:
        mine = [e.route for e in entries if name in e.names]
        shares = {route: round(mine.count(route) / len(mine), 4) for route in (TOOTH, PROPOSAL, MISSED)}
        table[name] = {"boxes": float(len(mine)), **shares}
    return table
