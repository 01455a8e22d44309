"""The frame around an arch."""

import numpy as np
import pytest

from workers.models.arch import MEAN_ARCH, MIRRORED, WHOLE, arch_frame


def moved(scale: float, x: float, y: float) -> dict[int, tuple[float, float]]:
    """The mean arch, scaled about the middle and shifted."""
    return {fdi: (0.5 + (a - 0.5) * scale + x, 0.5 + (b - 0.5) * scale + y) for fdi, (a, b) in MEAN_ARCH.items()}


@pytest.mark.parametrize(("scale", "x", "y"), [(1.0, 0, 0), (0.75, 0.05, -0.04), (1.25, -0.03, 0.05)])
def test_frame_follows_the_arch(scale: float, x: float, y: float) -> None:
    """A smaller or shifted arch gets a smaller or shifted frame."""
    mean, frame = arch_frame(MEAN_ARCH), arch_frame(moved(scale, x, y))
    assert frame.half_width == pytest.approx(mean.half_width * scale, rel=0.03)
    assert frame.half_height == pytest.approx(mean.half_height * scale, rel=0.05)
    assert frame.x == pytest.approx(0.5 + (mean.x - 0.5) * scale + x, abs=0.01)


def test_half_an_arch_places_the_whole() -> None:
    """With the teeth of one side only the frame stays about where the whole arch would be."""
    arch = moved(0.8, 0.04, 0.0)
    half = {fdi: at for fdi, at in arch.items() if fdi // 10 in {1, 4}}
    whole, guessed = arch_frame(arch), arch_frame(half)
    assert guessed.x == pytest.approx(whole.x, abs=0.03)
    assert guessed.half_width == pytest.approx(whole.half_width, rel=0.12)


def test_one_wrong_number_hardly_matters() -> None:
    """A tooth with the number of another side does not drag the frame along."""
    arch = MEAN_ARCH | {18: MEAN_ARCH[28]}
    assert arch_frame(arch).x == pytest.approx(arch_frame(MEAN_ARCH).x, abs=0.02)


def test_no_teeth() -> None:
    """Without teeth it is the frame of the mean arch, inside the image."""
    frame = arch_frame({})
    assert frame.half_width < WHOLE.half_width
    assert abs(frame.x - 0.5) < 0.02


def test_mirrored_twice_is_itself() -> None:
    """Mirroring the classes twice changes nothing, and background stays background."""
    mirrored = np.array(MIRRORED)
    assert (mirrored[mirrored] == np.arange(33)).all()
    assert mirrored[0] == 0
