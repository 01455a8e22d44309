"""The drawn panoramic."""

import subprocess
import sys
import time

import numpy as np
import pytest

from workers.training.phantom import panoramic_phantom
from workers.training.phantom_teeth import LOWER, UPPER


def small(seed: int, **changes: object) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """A small phantom."""
    phantom = panoramic_phantom(seed, rows=376, columns=720, **changes)  # type: ignore[arg-type]
    return phantom.pixels, phantom.labels, phantom.missing


def test_same_seed_same_pixels() -> None:
    """A seed draws the same image every time, another seed another one."""
    first, again, other = (panoramic_phantom(seed, 188, 360) for seed in (1, 1, 2))
    assert (first.pixels == again.pixels).all()
    assert (first.labels == again.labels).all()
    assert (first.pixels != other.pixels).any()


@pytest.mark.parametrize("seed", range(5))
def test_labels_and_missing_agree(seed: int) -> None:
    """Each of the 32 teeth is either drawn or named as missing."""
    _, labels, missing = small(seed)
    drawn = set(np.unique(labels[labels > 0]).tolist())
    assert drawn | set(missing) == {*UPPER, *LOWER}
    assert not drawn & set(missing)


def test_missing_as_asked() -> None:
    """The teeth asked to be missing are missing, and no others."""
    assert small(3, missing=(11, 36))[2] == (11, 36)
    assert small(3, missing=())[2] == ()


@pytest.mark.parametrize("seed", range(3))
def test_orientation(seed: int) -> None:
    """The patient's right is at the image's left, the upper jaw above the lower; teeth are brighter than the rest."""
    pixels, labels, _ = small(seed, missing=())
    columns = {tooth: np.nonzero(labels == tooth)[1].mean() for tooth in (16, 26, 36, 46)}
    rows = {tooth: np.nonzero(labels == tooth)[0].mean() for tooth in (16, 46)}
    assert columns[16] < columns[26]
    assert columns[46] < columns[36]
    assert rows[16] < rows[46]
    assert pixels[labels > 0].mean() > 1.3 * pixels[labels == 0].mean()


def test_order_along_the_arch() -> None:
    """From left to right the teeth of a jaw stand in the order of their slots."""
    _, labels, _ = small(8, missing=())
    for jaw in (UPPER, LOWER):
        centres = [np.nonzero(labels == tooth)[1].mean() for tooth in jaw]
        assert centres == sorted(centres)


def test_twelve_bit() -> None:
    """Pixels are 12 bit in 16 and use most of the range."""
    phantom = panoramic_phantom(4)
    assert phantom.pixels.dtype == np.uint16
    assert phantom.pixels.shape == phantom.labels.shape == (1504, 2880)
    assert phantom.pixels.max() <= 4095
    assert np.ptp(phantom.pixels) > 2500


def test_restorations() -> None:
    """Restorations are brighter than any tooth and can be left out."""
    with_, without = small(6, missing=())[0], small(6, missing=(), restorations=False)[0]
    assert with_.max() > without.max()


def test_quick_and_without_torch() -> None:
    """Drawing needs no torch, so that the demo starts quickly."""
    code = "import sys, workers.training.phantom as p; p.panoramic_phantom(0, 99, 99); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    started = time.process_time()  # not of the clock: others may use the machine as well
    panoramic_phantom(0)
    assert time.process_time() - started < 10
