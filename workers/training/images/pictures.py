"""Labelled picture files: read, brought onto a canvas as the service does it, or changed as another device might."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.canvas import canvas_of
from workers.models.picture_files import read_picture
from workers.training.images.samples import Sample
from workers.training.outcome import UNKNOWN
from workers.training.readers import Collection, Record

_SEEN = 24  # pictures that tell whether a collection is in colour
_STRESS_SEED = 20  # of ``as_other_device``, with the number of the picture


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A picture as it is served: pixels float32 (rows, columns) or (rows, columns, 3), 0 to 1, and its record."""

    pixels: NDArray[np.float32]
    record: Record


def in_colour(collection: Collection) -> bool:
    """Whether pictures of a collection have colours; a grey X-ray saved with three equal channels has none."""
    step = max(len(collection.records) // _SEEN, 1)
    return any(read_picture(record.file).ndim > 2 for record in collection.records[::step])  # noqa: PLR2004 - grey


def labelled(records: Iterable[Record], *, stress: bool = False) -> Iterator[Labelled]:
    """The pictures of records one by one; ``stress``: as another device might make them."""
    for number, record in enumerate(records):
        pixels = read_picture(record.file)
        yield Labelled(
            as_other_device(pixels, np.random.default_rng((_STRESS_SEED, number))) if stress else pixels, record
        )


def as_other_device(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Other framing (up to 6 % cut off each side) and another tone curve."""
    rows, columns = pixels.shape[:2]
    top, bottom = (int(rows * rng.uniform(0, 0.06)) for _ in range(2))
    left, right = (int(columns * rng.uniform(0, 0.06)) for _ in range(2))
    part = pixels[top : rows - bottom, left : columns - right] ** np.float32(np.exp(rng.uniform(-0.4, 0.4)))
    return (0.5 + (part - 0.5) * np.float32(rng.uniform(0.7, 1.0))).clip(0, 1)


def sample_of(
    picture: Labelled, size: tuple[int, int], channels: int, percentiles: tuple[float, float] | None
) -> Sample:
    """A training sample on a canvas."""
    pixels = picture.pixels
    if channels == 1 and pixels.ndim > 2:  # noqa: PLR2004 - one picture in colour among grey ones
        pixels = pixels.mean(2)
    elif channels > 1 and pixels.ndim == 2:  # noqa: PLR2004 - grey
        pixels = np.repeat(pixels[..., None], channels, axis=2)
    canvas = canvas_of(pixels, size, percentiles)
    truth = np.array(picture.record.truth, np.float32)
    truth[truth == UNKNOWN] = np.nan
    record = picture.record
    return Sample(np.round(canvas * 255).astype(np.uint8).transpose(1, 2, 0), truth, record.group, record.file.name)
