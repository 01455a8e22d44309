"""The same photographs as another camera, hand and light would have taken them, and as blanks of the same shape."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

Colours = NDArray[np.float32]


def other_camera(colour: Colours, rng: np.random.Generator) -> Colours:
    """Mirrored, cropped by up to a tenth at each edge, another white balance and exposure, fewer pixels, more loss."""
    rows, columns = colour.shape[:2]
    top, left, bottom, right = (rng.uniform(0, 0.1, 4) * (rows, columns, rows, columns)).astype(int)
    cut = colour[top : rows - bottom, left : columns - right][:, ::-1]
    toned = (cut ** rng.uniform(0.75, 1.3) * rng.uniform(0.85, 1.15, 3)).clip(0, 1)
    small = Picture.fromarray(np.round(toned * 255).astype(np.uint8))
    scale = rng.uniform(0.5, 1.0)
    small = small.resize((max(round(small.width * scale), 16), max(round(small.height * scale), 16)))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=int(rng.integers(40, 85)))
    with Picture.open(buffer) as coded:
        return np.asarray(coded.convert("RGB"), np.float32) / np.float32(255)


def blank(colour: Colours) -> Colours:
    """The mean colour of a photograph in its shape: what a model finds in it, it finds by shape and light alone."""
    empty = np.empty_like(colour)
    empty[:] = colour.mean((0, 1))
    return empty
