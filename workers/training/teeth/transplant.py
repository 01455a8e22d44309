"""Teeth of one film in the places of another's: the same number, another shape, root or filling (Dwibedi 2017).

A few hundred films can be learnt by heart; films whose teeth change from one time to the next cannot.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage

from workers.models.arch import FDI, MIRRORED
from workers.training.teeth.panoramics import IGNORED, Sample

_MOST = 10  # teeth
_MARGIN = 0.12  # of a tooth's extent that comes with it on each side
_RIM = 2  # pixels around a tooth that are exchanged as well
_SOFT = 1.2  # pixels over which old and new blend

Region = tuple[slice, slice]


def transplant(sample: Sample, donor: Sample, rng: np.random.Generator) -> Sample:
    """The sample with one to ten of its teeth exchanged for the donor's of the same numbers, which may be mirrored.

    Each new tooth is scaled to the extent of the old one and brought to the grey of its surroundings; other teeth stay
    as they are. A tooth that one of the two does not have stays too.
    """
    mirrored = bool(rng.random() < 0.5)  # noqa: PLR2004 - a fair coin
    other = _mirror(donor) if mirrored else donor
    pixels, classes = sample.pixels.copy(), sample.classes.copy()
    here, there = ndimage.find_objects(classes, len(FDI)), ndimage.find_objects(other.classes, len(FDI))
    both = [index for index in range(len(FDI)) if here[index] and there[index]]
    for index in rng.permutation(both)[: int(rng.integers(1, _MOST + 1))].tolist():
        to, source = _wider(here[index], classes.shape), _wider(there[index], other.classes.shape)
        _exchange(pixels[to], classes[to], other.pixels[source], other.classes[source], index + 1)
    return replace(sample, pixels=pixels, classes=classes)


def _mirror(sample: Sample) -> Sample:
    swapped = np.array((*MIRRORED, IGNORED), np.uint8)[sample.classes[:, ::-1]]
    return replace(sample, pixels=sample.pixels[:, ::-1], classes=swapped)


def _exchange(
    pixels: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    new_pixels: NDArray[np.uint8],
    new_classes: NDArray[np.uint8],
    tooth: int,
) -> None:
    """Put the tooth (class) of one region in place of that of another, whose pixels and classes are changed."""
    old, free = classes == tooth, (classes == 0) | (classes == tooth)
    new = _fit(new_classes == tooth, classes.shape) > 0.5  # noqa: PLR2004 - mostly
    stranger = _fit((new_classes > 0) & (new_classes != tooth), classes.shape) > 0.5  # noqa: PLR2004 - mostly
    patch = _fit(new_pixels, classes.shape)
    around = free & ~stranger & ~new & ~old
    if around.any():
        patch = patch + (pixels[around].mean() - patch[around].mean())
    cover = ndimage.binary_dilation(new | old, iterations=_RIM) & free & ~stranger
    alpha = ndimage.gaussian_filter(cover.astype(np.float32), _SOFT) * free
    pixels[:] = np.clip(pixels + alpha * (patch - pixels), 0, 255)
    classes[:] = np.where(new & free, tooth, np.where(old, 0, classes))


def _fit(plane: NDArray[np.uint8] | NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.float32]:
    picture = Picture.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Picture.Resampling.BILINEAR))


def _wider(region: Region, shape: tuple[int, ...]) -> Region:
    """The region with its margin, within a plane of ``shape``."""
    more = [round(_MARGIN * (part.stop - part.start)) + _RIM for part in region]
    rows, columns = (
        slice(max(part.start - m, 0), min(part.stop + m, most))
        for part, m, most in zip(region, more, shape, strict=True)
    )
    return rows, columns
