"""Figures of spine films, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from workers.models.cobb import CurveType
from workers.training.spine.scoring import Score, right_type, smape, summary, three_angles, truth_of

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
