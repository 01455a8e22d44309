"""Masks as the pixel data of a segmentation, straight from their run lengths (PS3.5 section 8.1.1, PS3.3 C.8.20.2)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.domain.finding import Region
from service.results.regions import mask_of


def packed(regions: Sequence[Region], rows: int, columns: int) -> NDArray[np.uint8]:
    """One frame of one bit per pixel for each region, packed without a gap between rows and frames, of even length.

    Only the rows that a box covers are ever unpacked, so that 32 teeth of a panoramic cost one frame, not 32.

    Raises:
        Permanent: the run lengths do not fill the box.
    """
    bits = len(regions) * rows * columns
    data = np.zeros((bits + 15) // 16 * 2, np.uint8)
    for number, region in enumerate(regions):
        top, band = _band(region, rows, columns)
        if not band.size:
            continue
        start = (number * rows + top) * columns
        shifted = np.concatenate((np.zeros(start % 8, np.bool_), band.ravel()))
        raw = np.packbits(shifted, bitorder="little")
        data[start // 8 : start // 8 + raw.size] |= raw
    return data


def labelled(regions: Sequence[Region], rows: int, columns: int) -> NDArray[np.uint8]:
    """A label map (rows, columns): 1 for the first region. Where regions overlap, the smaller one is kept on top.

    Raises:
        Permanent: the run lengths do not fill the box.
        ValueError: more regions than 8 bits can number.
    """
    if len(regions) > np.iinfo(np.uint8).max:
        message = f"{len(regions)} regions do not fit a label map of 8 bits"
        raise ValueError(message)
    labels = np.zeros((rows, columns), np.uint8)
    bands = [_band(region, rows, columns) for region in regions]
    for number in sorted(range(len(bands)), key=lambda each: -int(np.count_nonzero(bands[each][1]))):
        top, band = bands[number]
        labels[top : top + len(band)][band] = number + 1
    return labels


def _band(region: Region, rows: int, columns: int) -> tuple[int, NDArray[np.bool_]]:
    """The first row that the box covers, and the mask in the rows that it covers (rows of the box, columns)."""
    x0, y0, x1, y1 = region.box
    top = min(max(y0, 0), rows)
    height = max(min(y1, rows) - top, 0)
    moved = Region((x0, y0 - top, x1, y1 - top), region.runs)
    return top, mask_of(moved, height, columns)
