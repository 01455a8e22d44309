"""Labelled photographs on the canvas of the model.

Labels say where a photograph was filed: what it was not filed under may be visible all the same, so a 0 counts as
"hardly" (see ``plan.SMOOTHING``). Rows of the manifest with a ``content_flag`` (drawings, banners) train nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageOps

from service.domain.errors import ConfigurationError
from workers.models.photo_view import look_at, window_of
from workers.training.images.samples import Sample
from workers.training.outcome import UNKNOWN
from workers.training.readers import Collection, Record, read_collection, read_rows

STORED = (160, 240)  # rows and columns that are kept in memory: a little more than the network sees


def read_photographs(data: Path) -> Collection:
    """All labelled photographs but the training rows that hold something else. Raises ConfigurationError."""
    collection = read_collection(data)
    flagged = {data / row["file"] for row in read_rows(data) if row.get("content_flag", "").strip()}
    kept = tuple(r for r in collection.records if r.split != "train" or r.file not in flagged)
    return replace(collection, records=kept)


def samples_of(collection: Collection) -> list[Sample]:
    """The photographs in memory. Raises ConfigurationError naming the file that cannot be read."""
    return list(_samples(collection))


def _samples(collection: Collection) -> Iterator[Sample]:
    for record in collection.records:
        colour = colours_of(record)
        seen = look_at(colour, window_of(*colour.shape[:2]), STORED)
        truth = np.array(record.truth, np.float32)
        truth[truth == UNKNOWN] = np.nan
        yield Sample(np.round(seen * 255).astype(np.uint8), truth, record.group, record.file.name)


def colours_of(record: Record) -> NDArray[np.float32]:
    """A photograph upright, (rows, columns, 3), 0 to 1. Raises ConfigurationError naming the file."""
    try:
        with Picture.open(record.file) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        message = f"{record.file} is no picture that can be read; mend the file or take it out of the manifest"
        raise ConfigurationError(message) from error
    return np.asarray(upright, np.float32) / np.float32(255)
