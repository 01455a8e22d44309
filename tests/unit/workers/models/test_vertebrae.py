"""From a network's output to a chain of vertebrae: outputs drawn from known corners."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logit

from workers.models.cobb import tilts_of
from workers.models.vertebrae import COUNT, find_vertebrae, unmirror
from workers.networks.spine_net import OUTPUTS
from workers.training.spine.phantom import spine_phantom
from workers.training.spine.targets import dense_targets

SIZE = (640, 320)


def corners_of(seed: int = 0) -> NDArray[np.float32]:
    """Corners of a drawn spine on a canvas of ``SIZE``."""
    return spine_phantom(seed).corners


def output_of(corners: NDArray[np.float32], without: tuple[int, ...] = ()) -> NDArray[np.float32]:
    """What a perfect network would say, (OUTPUTS, rows, columns); bodies in ``without`` have no heat."""
    targets = dense_targets(corners, SIZE)
    kept = dense_targets(np.delete(corners, without, axis=0), SIZE).heats
    heats = logit(np.clip(kept.numpy(), 0.002, 0.98))
    output = np.concatenate([heats, targets.ways.numpy(), targets.tilt.numpy()]).astype(np.float32)
    assert len(output) == OUTPUTS
    return output


@pytest.mark.parametrize("seed", range(4))
def test_perfect_output(seed: int) -> None:
    """Of a perfect output all 17 vertebrae come back, corners within a pixel, tilts within a degree."""
    corners = corners_of(seed)
    found = find_vertebrae(output_of(corners))
    assert len(found) == COUNT
    assert np.abs(np.array([v.corners for v in found]) - corners).max() < 1.5
    assert np.degrees([v.tilt for v in found]) == pytest.approx(tilts_of(corners), abs=1.0)
    assert np.degrees([v.slope for v in found]) == pytest.approx(tilts_of(corners), abs=2.0)
    assert all(v.seen > 0.8 and v.sharp > 0.5 for v in found)


def test_gap_is_filled() -> None:
    """A body in the chain that the heat does not show is read at the middle of the gap."""
    corners = corners_of(1)
    found = find_vertebrae(output_of(corners, without=(8,)))
    assert len(found) == COUNT
    assert np.abs(found[8].corners - corners[8]).mean() < 4
    assert found[8].seen < 0.1


def test_stranger_is_left_out() -> None:
    """A peak far from the column, or two peaks in one body, make no vertebra more."""
    corners = corners_of(1)
    output = output_of(corners)
    output[0, 100, 10] = 3.0
    x, y = corners[5].mean(0) / 2
    output[0, round(float(y)) + 4, round(float(x)) + 2] = 1.0
    found = find_vertebrae(output)
    assert len(found) == COUNT
    assert np.abs(np.array([v.corners for v in found]).mean(1) - corners.mean(1)).max() < 2


def test_nothing_seen() -> None:
    """Without heat there is no vertebra, and no error."""
    output = np.zeros((OUTPUTS, 64, 32), np.float32)
    output[:5] = -8.0
    assert find_vertebrae(output) == []


def test_unmirror() -> None:
    """What a network that commutes with mirroring says of the mirrored film changes nothing."""
    corners = corners_of(2)
    mirrored = corners[:, [1, 0, 3, 2]] * [-1, 1] + [SIZE[1], 0]
    plain, other = output_of(corners), output_of(mirrored.astype(np.float32))
    both = unmirror(plain, other)
    votes = dense_targets(corners, SIZE).votes[0].numpy() > 0.1
    assert np.abs(both - plain)[5:, votes].max() < 1e-3
    assert np.abs(both - plain)[:5].max() < 1.5  # centres between two pixels round the other way
