"""Figures of a measurement on spine films: points, angles, types of curve; intervals are 95 %, over groups.

SMAPE follows the AASCE challenge (Wang 2021): the sum of the absolute differences of the angles of a film by the sum of
both, averaged over films. The challenge takes three angles (main thoracic, proximal, lumbar); ``smape_three`` is that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.models.cobb import NEAR, SECOND, SECOND_NEAR, CurveType, tilts_of, type_of
from workers.training.calibration import expected_calibration_error
from workers.training.metrics import Figure, area_under_roc, draw_groups, figure_of, summarize
from workers.training.outcome import UNKNOWN, Outcome

SEVERITIES = (("below 10", 0.0, 10.0), ("10 to 25", 10.0, 25.0), ("25 to 45", 25.0, 45.0), ("45 and more", 45.0, 360.0))
TYPES = tuple(CurveType)
_SEED, _ROUNDS, _BINS = 0, 2000, 5

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """One film.

    Attributes:
        name, group: of the film.
        truth: type of the curve as labelled; "scoliosis" where a label says no more.
        said: type that was found; None = refused.
        cobb, found: major and second angle, labelled and found, degrees; ``cobb`` None where no angle is known.
        points: mean distance of the corners in pixels; None where the numbers of vertebrae differ.
        height: rows of the film.
        tilt: mean distance of the tilts, degrees; None as ``points``.
        three, three_found: the challenge's three angles.
        vertebrae: that were found.
        certainty: of the type.
        leans: towards scoliosis and towards a double curve, see ``leanings``; None = refused.
    """

    name: str
    group: str
    truth: str
    said: CurveType | None
    cobb: tuple[float, float] | None
    found: tuple[float, float]
    height: int
    vertebrae: int
    points: float | None = None
    tilt: float | None = None
    three: tuple[float, float, float] | None = None
    three_found: tuple[float, float, float] | None = None
    certainty: float = 0.0
    leans: tuple[float, float] | None = None


def leanings(major: float, second: float, least: float) -> tuple[float, float]:
    """How far the angles speak for scoliosis and for a double curve, 0 to 1; from 0.5 on ``type_of`` says so.

    Args:
        major, second: degrees.
        least: degrees from which a spine is called scoliotic.
    """
    limit = min(SECOND, max(SECOND_NEAR, NEAR * major))
    return major / (major + least), second / (second + limit)


def answers(scores: Sequence[Score]) -> Outcome:
    """What was said of the films that were not refused: scoliosis or not, and of films known to have one or two, which.

    The scores are angles by their limits, so they rank and decide as the model does; they are no probabilities.
    """
    said = [s for s in scores if s.leans is not None]
    double = {CurveType.DOUBLE.value: 1, CurveType.SINGLE.value: 0}
    truth = [(int(s.truth != CurveType.NORMAL), double.get(s.truth, UNKNOWN)) for s in said]
    return Outcome(
        classes=("scoliosis", "double"),
        scores=np.array([s.leans for s in said], float).reshape(-1, 2),
        truth=np.array(truth, np.int8).reshape(-1, 2),
        groups=[s.group for s in said],
        names=[s.name for s in said],
        exclusive=False,
        thresholds=(0.5, 0.5),
    )


def three_angles(corners: NDArray[np.floating], tilts: Floats | None = None) -> tuple[float, float, float]:
    """The challenge's angles: the largest between any two vertebrae, and the largest above and below that pair."""
    known = tilts_of(corners) if tilts is None else tilts
    upper, lower = sorted((int(known.argmax()), int(known.argmin())))
    above = float(np.abs(known[: upper + 1] - known[upper]).max())
    below = float(np.abs(known[lower:] - known[lower]).max())
    return float(np.ptp(known)), above, below


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """All figures, plain; those with angles only of films whose angles are known."""
    drawn = draw_groups([s.group for s in scores], np.random.default_rng(_SEED), _ROUNDS)
    weights = np.concatenate([np.ones((1, len(scores))), drawn])
    figures: dict[str, Any] = {
        "films": len(scores),
        "groups": len({s.group for s in scores}),
        "refused": sum(s.said is None for s in scores),
        "films_with_17_vertebrae": sum(s.vertebrae == 17 for s in scores),  # noqa: PLR2004 - T1 to L5
        **_agreement(scores, weights),
        **_certainty(scores),
    }
    if (outcome := answers(scores)).names:
        figures["answers"] = {
            name: {key: value for key, value in values.items() if key != "brier"}  # of probabilities only
            for name, values in summarize(outcome).to_json()["classes"].items()
        }
    measured = np.array([s.cobb is not None for s in scores])
    if measured.any():
        chosen = [s for s in scores if s.cobb is not None]
        figures |= _angles(chosen, weights[:, measured])
        figures["by_severity"] = {name: _severity(chosen, low, high) for name, low, high in SEVERITIES}
    return figures


def plain(figure: Figure) -> dict[str, float | None]:
    """Value and interval, rounded."""
    parts = {"value": figure.value, "low": figure.low, "high": figure.high}
    return {key: None if value is None else round(value, 4) for key, value in parts.items()}


def right_type(score: Score) -> bool:
    """Whether the type is that of the label; where the label says scoliosis and no more, either curve is right."""
    if score.truth == "scoliosis":
        return score.said in {CurveType.SINGLE, CurveType.DOUBLE}
    return score.said is not None and score.said.value == score.truth


def _agreement(scores: Sequence[Score], weights: Floats) -> dict[str, Any]:
    right = np.array([right_type(s) for s in scores], float)
    ill = np.array([s.truth != CurveType.NORMAL for s in scores])
    called = np.array([s.said in {CurveType.SINGLE, CurveType.DOUBLE} for s in scores])
    passed = np.array([s.said is CurveType.NORMAL for s in scores])
    curve = np.array([s.truth in {CurveType.SINGLE, CurveType.DOUBLE} for s in scores])
    names = [*TYPES, *sorted({s.truth for s in scores} - set(TYPES))]
    return {
        "type_agreement": _mean(right, weights),
        "single_double_agreement": _mean(right[curve], weights[:, curve]) if curve.any() else None,
        "normal_scoliosis_agreement": _mean(np.where(ill, called, passed).astype(float), weights),
        "sensitivity": _mean(called[ill].astype(float), weights[:, ill]),
        "specificity": _mean(passed[~ill].astype(float), weights[:, ~ill]),
        "auc_normal_scoliosis": _auc(scores, ill, weights),
        "confusion": {
            name: {str(said): sum(s.truth == name and s.said == said for s in scores) for said in (*TYPES, None)}
            for name in names
        },
    }


def _certainty(scores: Sequence[Score]) -> dict[str, float | None]:
    """Mean certainty of the types that were said, to be compared with how often they are right."""
    said = [s for s in scores if s.said is not None]
    if not said:
        return {"mean_certainty": None, "certainty_error": None}
    certainty, right = np.array([s.certainty for s in said]), np.array([right_type(s) for s in said])
    error = expected_calibration_error(certainty, right, _BINS)
    return {"mean_certainty": round(float(certainty.mean()), 4), "certainty_error": round(error, 4)}


def _auc(scores: Sequence[Score], ill: NDArray[np.bool_], weights: Floats) -> dict[str, float | None]:
    major = np.array([s.found[0] for s in scores])
    values = []
    for row in weights:
        times = row.astype(int)
        values.append(area_under_roc(np.repeat(major, times), np.repeat(ill, times)))
    return plain(figure_of(np.array(values)))


def _angles(scores: Sequence[Score], weights: Floats) -> dict[str, Any]:
    truth = np.array([s.cobb for s in scores], float)
    found = np.array([s.found for s in scores], float)
    off = np.abs(truth - found)
    figures: dict[str, Any] = {
        "cobb_error_major": _mean(off[:, 0], weights),
        "cobb_error_second": _mean(off[:, 1], weights),
        "cobb_bias_major": round(float((found - truth)[:, 0].mean()), 3),
        "within_5_degrees": _mean((off[:, 0] <= 5).astype(float), weights),  # noqa: PLR2004 - what readers differ by
        "smape_major": _mean(smape(truth[:, :1], found[:, :1]), weights),
        "smape_two": _mean(smape(truth, found), weights),
        "smape_pooled": round(float(off.sum() / (truth + found).sum()), 4),
    }
    if all(s.three and s.three_found for s in scores):
        three = np.array([s.three for s in scores], float), np.array([s.three_found for s in scores], float)
        figures["smape_three"] = _mean(smape(*three), weights)
    for key in ("points", "tilt"):
        seen = np.array([getattr(s, key) is not None for s in scores])
        values = np.array([getattr(s, key) for s in scores if getattr(s, key) is not None], float)
        figures[f"{key}_error"] = _mean(values, weights[:, seen]) if len(values) else None
    share = [100 * s.points / s.height for s in scores if s.points is not None]
    figures["points_error_percent_of_height"] = round(float(np.mean(share)), 3) if share else None
    return figures


def smape(truth: Floats, found: Floats) -> Floats:
    """(films,) of (films, angles); 0 where both say that nothing is bent."""
    total = (truth + found).sum(1)
    ratio: Floats = np.divide(np.abs(truth - found).sum(1), total, out=np.zeros(len(total)), where=total > 0)
    return ratio


def _severity(scores: Sequence[Score], low: float, high: float) -> dict[str, Any]:
    chosen = [s for s in scores if s.cobb is not None and low <= s.cobb[0] < high]
    if not chosen:
        return {"films": 0}
    truth, found = np.array([s.cobb for s in chosen], float), np.array([s.found for s in chosen], float)
    return {
        "films": len(chosen),
        "type_agreement": round(float(np.mean([right_type(s) for s in chosen])), 4),
        "cobb_error_major": round(float(np.abs(truth - found)[:, 0].mean()), 3),
        "cobb_bias_major": round(float((found - truth)[:, 0].mean()), 3),
        "smape_two": round(float(smape(truth, found).mean()), 4),
    }


def _mean(values: Floats, weights: Floats) -> dict[str, float | None]:
    total = weights.sum(1)
    means = np.divide(weights @ values, total, out=np.full(len(weights), np.nan), where=total > 0)
    return plain(figure_of(means))


def truth_of(label: str, cobb: tuple[float, float] | None, curve: str = "") -> str:
    """The label of a film: its own, the named curve, or by rule from the angles."""
    if curve in {CurveType.SINGLE, CurveType.DOUBLE}:
        return curve
    if label:
        return label
    return type_of(*cobb).value if cobb is not None else ""
