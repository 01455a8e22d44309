"""Figures of spine films, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from workers.models.cobb import CurveType, type_of
from workers.training.spine.scoring import Score, answers, leanings, right_type, smape, summary, three_angles, truth_of

FILM = Score(
    name="a",
    group="a",
    truth="single",
    said=CurveType.SINGLE,
    cobb=(30.0, 10.0),
    found=(36.0, 10.0),
    height=640,
    vertebrae=17,
    points=3.2,
    tilt=1.0,
    three=(30.0, 10.0, 5.0),
    three_found=(36.0, 10.0, 5.0),
)
NORMAL = replace(FILM, name="b", group="b", truth="normal", said=CurveType.NORMAL, cobb=(8.0, 0.0), found=(6.0, 0.0))
REFUSED = replace(FILM, name="c", group="c", truth="double", said=None, found=(0.0, 0.0), vertebrae=3, points=None)


def test_smape() -> None:
    """The challenge's SMAPE of a film is the sum of differences by the sum of both; two straight spines differ by 0."""
    found = smape(np.array([[30.0, 10.0], [0.0, 0.0]]), np.array([[36.0, 10.0], [0.0, 0.0]]))
    assert found == pytest.approx([6 / 86, 0.0])


def test_summary() -> None:
    """A refused film counts as wrong; errors, SMAPE and confusion are those of the films."""
    report = summary([FILM, NORMAL, REFUSED])
    assert report["type_agreement"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert report["normal_scoliosis_agreement"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert report["refused"] == 1
    assert report["confusion"]["double"]["None"] == 1
    assert report["confusion"]["single"]["single"] == 1
    assert report["smape_major"]["value"] == pytest.approx((6 / 66 + 2 / 14 + 1) / 3, abs=1e-4)
    assert report["cobb_error_major"]["value"] == pytest.approx((6 + 2 + 30) / 3, abs=1e-3)
    assert report["points_error_percent_of_height"] == pytest.approx(0.5)
    assert report["by_severity"]["below 10"]["films"] == 1
    assert report["by_severity"]["25 to 45"]["films"] == 2
    assert report["specificity"]["value"] == 1.0


def test_refused_normal_film() -> None:
    """A normal film that is refused counts as wrong, as every refused film does; it was not called normal."""
    report = summary([FILM, replace(NORMAL, said=None, found=(0.0, 0.0))])
    assert report["specificity"]["value"] == 0.0
    assert report["normal_scoliosis_agreement"]["value"] == 0.5


@pytest.mark.parametrize("least", [10.0, 12.0])
def test_leanings(least: float) -> None:
    """From a half on they say what the rule says, whatever the angles."""
    for major in np.arange(0.0, 80.0, 2.5):
        for second in np.arange(0.0, major + 1, 2.5):
            scoliosis, double = leanings(major, second, least)
            said = type_of(major, second, least)
            assert (scoliosis >= 0.5) == (said is not CurveType.NORMAL)
            assert (scoliosis >= 0.5 and double >= 0.5) == (said is CurveType.DOUBLE)


def said_of(name: str, truth: str, major: float, second: float) -> Score:
    """A film with such angles found."""
    leans = leanings(major, second, 10.0)
    kind = type_of(major, second)
    return replace(FILM, name=name, group=name, truth=truth, said=kind, found=(major, second), cobb=None, leans=leans)


def test_answers() -> None:
    """Precision, recall, F1 and AUC: of scoliosis over all films answered, of double over those with a type."""
    films = [
        said_of("a", "normal", 4, 0),
        said_of("b", "normal", 14, 0),
        said_of("c", "single", 30, 10),
        said_of("d", "single", 30, 26),
        said_of("e", "double", 40, 30),
        said_of("f", "scoliosis", 9, 0),
        replace(FILM, name="g", group="g", truth="double", said=None, leans=None),
    ]
    outcome = answers(films)
    assert outcome.names == ["a", "b", "c", "d", "e", "f"]
    report = summary(films)["answers"]
    assert report["scoliosis"]["precision"]["value"] == 0.75
    assert report["scoliosis"]["recall"]["value"] == 0.75
    assert report["scoliosis"]["f1"]["value"] == 0.75
    assert report["scoliosis"]["auc"]["value"] == 7 / 8
    assert report["double"]["images"] == 3
    assert (report["double"]["precision"]["value"], report["double"]["recall"]["value"]) == (0.5, 1.0)
    assert report["double"]["auc"]["value"] == 0.5  # the single one leans further than the double
    assert "brier" not in report["scoliosis"]
    assert "answers" not in summary([films[-1]])


def test_labels_without_angles() -> None:
    """Films with labels alone give the figures of the types, none of angles; scoliosis of unknown kind takes either."""
    vague = replace(FILM, truth="scoliosis", cobb=None, said=CurveType.DOUBLE)
    assert right_type(vague)
    assert not right_type(replace(vague, said=CurveType.NORMAL))
    report = summary([vague, replace(NORMAL, cobb=None)])
    assert report["type_agreement"]["value"] == 1.0
    assert report["auc_normal_scoliosis"]["value"] == 1.0
    assert "smape_major" not in report


def test_three_angles() -> None:
    """The largest angle between any two vertebrae, and the largest above and below that pair."""
    tilts = np.array([0.0, -4.0, 12.0, 2.0, -20.0, -9.0, 1.0])
    corners = np.zeros((7, 4, 2))
    assert three_angles(corners, tilts) == pytest.approx((32.0, 16.0, 21.0))


@pytest.mark.parametrize(
    ("label", "cobb", "curve", "truth"),
    [
        ("scoliosis", None, "double", "double"),
        ("scoliosis", None, "unknown", "scoliosis"),
        ("normal", None, "none", "normal"),
        ("", (30.0, 28.0), "", "double"),
        ("single", (30.0, 28.0), "", "single"),
    ],
)
def test_truth(label: str, cobb: tuple[float, float] | None, curve: str, truth: str) -> None:
    """A named curve counts first, then the label, then the rule on the angles."""
    assert truth_of(label, cobb, curve) == truth
