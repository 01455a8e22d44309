"""What cannot be a photograph of a mouth is refused for a reason that can be seen."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import data

from tests.mouths import mouth_picture
from workers.models.mouth import refuse

Colours = NDArray[np.float32]


def scaled(picture: NDArray[np.uint8]) -> Colours:
    """uint8, grey or colour, as float32 (rows, columns, 3), 0 to 1."""
    colour = np.dstack([picture] * 3) if picture.ndim == 2 else picture[..., :3]
    return (colour / np.float32(255)).astype(np.float32)


def skin() -> Colours:
    """Evenly lit skin, softly shaded."""
    shade = gaussian_filter(np.random.default_rng(1).standard_normal((200, 300)), 20)
    colour: Colours = (np.array([0.8, 0.58, 0.48]) * (1 + shade[..., None])).clip(0, 1).astype(np.float32)
    return colour


def landscape() -> Colours:
    """Sky above a meadow."""
    colour = np.empty((200, 300, 3), np.float32)
    colour[:90], colour[90:] = (0.5, 0.7, 0.95), (0.3, 0.5, 0.2)
    grain = np.random.default_rng(2).normal(0, 0.05, colour.shape)
    return (colour + grain).clip(0, 1).astype(np.float32)


def test_a_mouth_passes() -> None:
    """A mouth passes in any size, turned, mirrored, rather dark, rather bright, and a little blurred."""
    picture = mouth_picture()
    variants = [picture, mouth_picture(900, 700), picture[::-1], picture[:, ::-1], picture * 0.5, picture**0.5]
    variants.append(gaussian_filter(picture, (1.5, 1.5, 0)))
    assert [refuse(variant.astype(np.float32)) for variant in variants] == [""] * len(variants)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (mouth_picture() * 0.2, "too dark"),
        (np.full((80, 90, 3), 0.99, np.float32), "over-exposed"),
        (np.zeros((80, 90, 3), np.float32), "too dark"),
        (gaussian_filter(mouth_picture(), (15, 15, 0)), "blurred"),
        (scaled(data.camera()), "no colours"),
        (scaled(data.page()), "no colours"),
        (scaled(data.rocket()), "hardly any colour of gums"),
        (scaled(data.hubble_deep_field()), "too dark"),
        (landscape(), "hardly any colour of gums"),
        (skin(), "blurred, or shows nothing"),
        (np.random.default_rng(3).uniform(0, 1, (3, 3, 3)).astype(np.float32), ""),
    ],
    ids=["dark", "white", "black", "blurred", "grey", "page", "rocket", "sky", "landscape", "skin", "tiny"],
)
def test_refused_with_its_reason(picture: Colours, reason: str) -> None:
    """Each picture that cannot be used is refused for what is wrong with it; no picture is too odd to be judged."""
    said = refuse(picture)
    assert reason in said
    assert isinstance(said, str)
    assert bool(said) is bool(reason) or reason == ""
