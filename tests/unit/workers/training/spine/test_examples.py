"""Examples and targets: the corners go with the picture, whatever is done to it."""

import numpy as np
import pytest
import torch

from workers.models.cobb import curves_of, tilts_of, two_largest
from workers.networks.spine_net import OFFSET, OFFSET_UNIT, OUTPUTS, STEP, TILT_UNIT, SpineNet
from workers.training.spine.augment import augment
from workers.training.spine.films import Film
from workers.training.spine.losses import spine_loss
from workers.training.spine.phantom import random_tilts, spine_phantom
from workers.training.spine.targets import dense_targets

SIZE = (384, 160)


def dots() -> Film:
    """A black film with a bright dot at each corner of a drawn spine."""
    phantom = spine_phantom(3, 20 * np.cos(np.arange(17) / 3))
    pixels = np.zeros_like(phantom.pixels)
    for x, y in phantom.corners.reshape(-1, 2):
        pixels[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = 255
    return Film(pixels, phantom.corners)


@pytest.mark.parametrize("seed", range(6))
def test_corners_follow_the_picture(seed: int) -> None:
    """Turned, bent, mirrored, scaled: where a corner is said to be, the film shows it."""
    film = dots()
    plain = Film(film.pixels, film.corners)
    example = augment(plain, SIZE, np.random.default_rng(seed))
    inside = [(x, y) for x, y in example.corners.reshape(-1, 2) if 3 < x < SIZE[1] - 4 and 3 < y < SIZE[0] - 4]
    assert len(inside) > 30
    plane = example.pixels[0, 0].numpy()
    background = float(np.median(plane))
    lit = [abs(float(plane[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].max()) - background) for x, y in inside]
    assert np.mean(np.array(lit) > 0.1) > 0.8  # some lie under a drawn mark


@pytest.mark.parametrize("seed", range(6))
def test_corner_order(seed: int) -> None:
    """Left corners stay left and upper ones above, also when the film is mirrored."""
    corners = augment(dots(), SIZE, np.random.default_rng(seed)).corners
    assert (corners[:, 0, 0] < corners[:, 1, 0]).all()
    assert (corners[:, 2, 0] < corners[:, 3, 0]).all()
    assert (corners[:, :2, 1].mean(1) < corners[:, 2:, 1].mean(1)).all()


def test_same_generator_same_example() -> None:
    """The same state of the generator gives the same example; another one another."""
    one, same, other = (augment(dots(), SIZE, np.random.default_rng(s)) for s in (5, 5, 6))
    assert torch.equal(one.pixels, same.pixels)
    assert np.array_equal(one.corners, same.corners)
    assert not torch.equal(one.pixels, other.pixels)


def test_targets() -> None:
    """Heat peaks at the centres, and every voting pixel of a body leads to its corners and knows its tilt."""
    corners = spine_phantom(4, rows=384).corners
    targets = dense_targets(corners, (384, 320))
    assert targets.heats.shape == (5, 192, 160)
    assert int((targets.heats[0] > 0.98).sum()) == 17
    tilts = tilts_of(corners)
    for k, (x, y) in enumerate(corners.mean(1) / STEP - 0.5):
        row, column = round(float(y)), round(float(x))
        assert targets.votes[0, row, column] > 0.8
        here = np.array([column + 0.5, row + 0.5]) * STEP
        ways = targets.ways[:, row, column].numpy().reshape(4, 2) * OFFSET_UNIT
        assert here + ways == pytest.approx(corners[k], abs=1e-3)
        assert np.degrees(float(targets.tilt[0, row, column]) * TILT_UNIT) == pytest.approx(tilts[k], abs=1e-3)
    assert float(targets.votes[0, :, :5].max()) == 0


def test_corners_outside() -> None:
    """Corners outside the canvas get no heat and raise nothing."""
    corners = spine_phantom(4, rows=384).corners + np.array([1000, 0], np.float32)
    assert float(dense_targets(corners, (384, 160)).heats.max()) == 0


def test_loss_is_least_at_the_truth() -> None:
    """The loss of what the targets say is near zero, and grows with every part that is wrong."""
    corners = spine_phantom(4, rows=384).corners
    targets = dense_targets(corners, (384, 320))
    heats, ways, tilt, votes = (part[None] for part in (targets.heats, targets.ways, targets.tilt, targets.votes))
    truth = torch.cat([torch.where(heats > 0.98, 12.0, -12.0), ways, tilt], 1)
    least = spine_loss(truth, heats, ways, tilt, votes)
    assert float(least.total) < 0.01
    for channel in range(OUTPUTS):
        wrong = truth.clone()
        wrong[:, channel] = 0.0 if channel < OFFSET.start else truth[:, channel] + 1.0
        assert float(spine_loss(wrong, heats, ways, tilt, votes).total) > float(least.total) + 0.01


def test_network_shape() -> None:
    """The network gives one output pixel for two by two of the input, in all its channels."""
    net = SpineNet((8, 8, 8), 8, 1).eval()
    with torch.inference_mode():
        assert net(torch.zeros(2, 1, 64, 32)).shape == (2, OUTPUTS, 32, 16)


def test_phantom() -> None:
    """A drawn spine has the tilts that it was asked for, the same each time, and by chance many kinds of curves."""
    tilts = 15 * np.sin(np.arange(17) / 3)
    phantom = spine_phantom(1, tilts)
    assert tilts_of(phantom.corners) == pytest.approx(tilts, abs=0.01)
    assert np.array_equal(phantom.pixels, spine_phantom(1, tilts).pixels)
    majors = [two_largest(curves_of(spine_phantom(seed, rows=160).corners))[0] for seed in range(20)]
    assert min(majors) < 10
    assert max(majors) > 40
    assert len(random_tilts(np.random.default_rng(0))) == 17
