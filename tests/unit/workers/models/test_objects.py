"""Proposals: from the heat of the object network to boxes."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logit

from workers.models.arch import Frame
from workers.models.objects import Proposal, find_objects, object_frame, unclaimed
from workers.models.tooth_crops import Jaws
from workers.networks.object_net import KINDS, OUTPUTS
from workers.training.conditions.labels import Labelled
from workers.training.conditions.targets import draw_view

FRAME = Frame(0.5, 0.5, 0.4, 0.3)
SHAPE = (200, 400)


def output_with(*centres: tuple[str, int, int], heat: float = 3.0) -> NDArray[np.float32]:
    """An output (OUTPUTS, 112, 224), cold but for some centres; each box 20 rows by 10 columns of it."""
    output = np.full((OUTPUTS, 112, 224), -6, np.float32)
    output[len(KINDS)], output[len(KINDS) + 1] = np.log(20), np.log(10)
    for kind, row, column in centres:
        output[KINDS.index(kind), row, column] = heat
    return output


def test_a_centre_becomes_a_box() -> None:
    """The box lies about the centre, in pixels of the image, with the kind and the heat of the centre."""
    (found,) = find_objects(output_with(("impacted", 40, 100)), FRAME, SHAPE, 0.2)
    assert found.kind == "impacted"
    assert found.heat == pytest.approx(1 / (1 + np.exp(-3)))
    x, y = 40 + 100.5 * 320 / 224, 40 + 40.5 * 120 / 112
    half_width, half_height = 5 * 320 / 224, 10 * 120 / 112
    assert found.box == pytest.approx((x - half_width, y - half_height, x + half_width, y + half_height), abs=0.01)


def test_one_thing_is_proposed_once() -> None:
    """Of two centres in one box the hotter stays; two far apart stay two; what is cold is nothing."""
    near = output_with(("implant", 40, 100), ("restored", 46, 101))
    near[KINDS.index("implant"), 40, 100] = 4
    assert [p.kind for p in find_objects(near, FRAME, SHAPE, 0.2)] == ["implant"]
    assert len(find_objects(output_with(("implant", 40, 30), ("implant", 40, 60)), FRAME, SHAPE, 0.2)) == 2
    assert not find_objects(output_with(("implant", 40, 30), heat=-2), FRAME, SHAPE, 0.2)


def test_what_is_a_tooth_is_not_proposed() -> None:
    """Proposals around or inside a tooth's box are dropped, others stay."""
    proposals = [Proposal(box, 0.9, "implant") for box in ((0, 0, 10, 20), (2, 10, 8, 18), (30, 0, 40, 20))]
    kept = unclaimed(proposals, np.array([[1.0, 0, 10, 20]]))
    assert [p.box for p in kept] == [(30, 0, 40, 20)]
    assert unclaimed(proposals, np.zeros((0, 4))) == proposals


def test_targets_are_what_is_read_back() -> None:
    """The targets of a film, read as an output, give the labelled boxes back; shaken views have its shape."""
    jaws = Jaws(np.random.default_rng(0).random(SHAPE, np.float32), [])
    none = np.zeros(7, np.float32)
    boxes = (
        Labelled((150, 80, 170, 120), none, "implant"),
        Labelled((250, 90, 280, 115), none, "caries_destroyed"),
        Labelled((200, 90, 215, 115), none, "nobody knows"),
    )
    view = draw_view(jaws, boxes, (224, 448), None)
    heat = view.targets[: len(KINDS)].clip(1e-4, 1 - 1e-4)
    output = np.concatenate([logit(heat), view.targets[len(KINDS) : OUTPUTS]])
    found = find_objects(output, object_frame(jaws), SHAPE, 0.5)
    assert {p.kind for p in found} == {"implant", "destroyed"}
    for proposal in found:
        wanted = boxes[0 if proposal.kind == "implant" else 1].box
        np.testing.assert_allclose(proposal.box, wanted, atol=2.5)
    shaken = draw_view(jaws, boxes, (224, 448), np.random.default_rng(1))
    assert shaken.pixels.shape == (224, 448)
    assert shaken.targets.shape == (len(KINDS) + 3, 112, 224)
    assert 0 <= shaken.pixels.min() <= shaken.pixels.max() <= 1
