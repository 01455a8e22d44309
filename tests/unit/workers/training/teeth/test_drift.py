"""A gap that closes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from workers.models.arch import CLASS_OF
from workers.training.teeth.drift import Drift, draw_drift, draw_drifts
from workers.training.teeth.panoramics import phantom_samples

X, Y = torch.linspace(0, 1, 201)[None].expand(101, 201), torch.linspace(0, 1, 101)[:, None].expand(101, 201)


def drift(side: int = 1, *, upper: bool = False) -> Drift:
    """The lower left first molar is lost, and the gap closes."""
    return Drift(CLASS_OF[36], 0.5 + 0.2 * side, 0.08, side, upper=upper, bite=0.55, last=0.15, share=1.0)


def test_teeth_behind_move_up() -> None:
    """What stood behind the lost tooth moves towards the midline by the tooth's width, in its jaw only."""
    moved = drift().source(X, Y) - X
    assert torch.isclose(moved[80, 154], torch.tensor(0.08), atol=0.004)  # lower jaw, just behind
    assert moved[:, :120].abs().max() < 1e-6  # nothing in front of it
    assert moved[20].abs().max() < 0.002  # nothing in the upper jaw
    assert moved[:, -1].abs().max() < 0.002  # nothing at the edge of the image


def test_sides_are_alike() -> None:
    """The other side moves the other way."""
    left, right = drift(1).source(X, Y) - X, drift(-1).source(X, Y) - X
    assert torch.allclose(left, -right.flip(-1), atol=1e-5)


def test_molars_tip() -> None:
    """The crown behind the gap moves all the way, the tip of its root less, as far as the tip says."""
    moved = replace(drift(), tip=0.5).source(X, Y) - X
    crown, apex = 56, 82  # rows of the lower jaw: just below the biting line (0.52 there), and 0.3 below it
    assert torch.isclose(moved[crown, 154], torch.tensor(0.08), rtol=0.35)
    assert torch.isclose(moved[apex, 154], torch.tensor(0.04), atol=0.004)
    assert moved[crown, 154] > 1.5 * moved[apex, 154]


@pytest.mark.parametrize("tip", [0.0, 0.7])
def test_order_is_kept(tip: float) -> None:
    """Points never overtake each other: the image is squeezed, not folded."""
    assert (replace(drift(), tip=tip).source(X, Y).diff(dim=1) >= -1e-6).all()


def test_drawn_from_labels() -> None:
    """A drawn gap belongs to a tooth that is there, has others behind it, and lies in its jaw."""
    (sample,) = phantom_samples([21])
    rng = np.random.default_rng(0)
    drawn = [found for found in (draw_drift(sample.classes, rng) for _ in range(40)) if found is not None]
    assert len(drawn) > 10
    for found in drawn:
        rows, columns = np.nonzero(sample.classes == found.lost)
        assert abs(columns.mean() / sample.classes.shape[1] - found.x) < 0.02
        assert (rows.mean() / sample.classes.shape[0] < found.bite) == found.upper
        assert found.side == (1 if found.x > 0.5 else -1)


def test_several_gaps_lie_in_several_quadrants() -> None:
    """No quadrant has two gaps at once, and two of them do not undo each other."""
    (sample,) = phantom_samples([22])
    rng = np.random.default_rng(1)
    drawn = [draw_drifts(sample.classes, rng, 3) for _ in range(40)]
    assert max(map(len, drawn)) > 1
    for drifts in drawn:
        places = [(found.side, found.upper) for found in drifts]
        assert len(set(places)) == len(places)
