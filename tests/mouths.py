"""Drawn pictures: a mouth from the front, and what is none."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from workers.pixels import Image

Colours = NDArray[np.float32]


def mouth_picture(rows: int = 200, columns: int = 300, *, spot: bool = True) -> Colours:
    """Lips, gums and two rows of teeth, (rows, columns, 3), 0 to 1; a dark spot on one tooth of the left."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    picture = np.empty((rows, columns, 3), np.float32)
    picture[:] = (0.82, 0.6, 0.5)
    picture[(x / 0.9) ** 2 + (y / 0.75) ** 2 < 1] = (0.75, 0.35, 0.36)
    picture[(x / 0.8) ** 2 + (y / 0.6) ** 2 < 1] = (0.8, 0.42, 0.42)
    for row in (-0.18, 0.18):
        for place in np.linspace(-0.6, 0.6, 9):
            picture[((x - place) / 0.065) ** 2 + ((y - row) / 0.17) ** 2 < 1] = (0.9, 0.86, 0.76)
    if spot:
        picture[((x + 0.45) / 0.04) ** 2 + ((y - 0.2) / 0.06) ** 2 < 1] = (0.25, 0.15, 0.1)
    grain = np.random.default_rng(5).normal(0, 0.02, (rows, columns, 1))
    return (picture + grain).clip(0, 1).astype(np.float32)


def photograph_of(colour: Colours) -> Image:
    """A picture as a model gets it."""
    luminance = colour @ np.array([0.299, 0.587, 0.114], np.float32)
    return Image(luminance, Dataset(), flipped_x=False, flipped_y=False, notes=(), colour=colour)
