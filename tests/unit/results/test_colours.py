"""The colours of teeth and findings."""

import numpy as np
import pytest

from service.domain.codes import FINDINGS
from service.domain.finding import Finding
from service.results.colours import drawn_colour, lab_of, rgb_of


@pytest.mark.parametrize(
    ("lab", "rgb"),
    [
        ((100.0, 0.0, 0.0), (255, 255, 255)),
        ((0.0, 0.0, 0.0), (0, 0, 0)),
        ((53.24, 80.09, 67.2), (255, 0, 0)),
        ((32.3, 79.19, -107.86), (0, 0, 255)),
        ((53.59, 0.0, 0.0), (128, 128, 128)),
    ],
)
def test_cielab_becomes_srgb(lab: tuple[float, float, float], rgb: tuple[int, int, int]) -> None:
    """Known colours come out within one step."""
    assert np.abs(np.subtract(rgb_of(lab), rgb)).max() <= 1


def test_kinds_differ() -> None:
    """No two kinds of finding have colours that could be taken for each other."""
    colours = [np.array(lab_of(Finding(kind, 36, 0.9), 0)) for kind in FINDINGS if kind != "tooth"]
    distances = [np.linalg.norm(one - other) for place, one in enumerate(colours) for other in colours[:place]]
    assert min(distances) > 15


def test_teeth_step_back_behind_findings() -> None:
    """A tooth is grey where something was found of teeth, and has its own colour otherwise."""
    tooth, caries = Finding("tooth", 36, 0.9), Finding("caries", 36, 0.8)
    assert len(set(drawn_colour(tooth, 0, [tooth, caries]))) > 1
    assert max(drawn_colour(tooth, 0, [tooth, caries])) - min(drawn_colour(tooth, 0, [tooth, caries])) < 20
    assert drawn_colour(tooth, 0, [tooth]) == rgb_of(lab_of(tooth, 0))
    assert drawn_colour(caries, 0, [tooth, caries]) == rgb_of(lab_of(caries, 0))
