"""Fit the tables of ``workers.models.spacing``: ``python -m workers.training.teeth.spacing_table DATA`` prints them.

DATA is a folder as for ``dentgate train teeth`` with manifest.csv; only the label maps of its split ``train`` are read.
The arches are laid over each other, each also mirrored, so that both sides get one table; EM (Dempster, Laird and Rubin
1977) sees to lost teeth, as if they were lost at random. A new fit does not take the place of the numbers that stand in
``workers.models.spacing`` by itself: the figures of the model that ships were measured with those.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import ConfigurationError
from workers.models.arch import FDI, MIRRORED, UPPER
from workers.models.spacing import FREEDOM, SCALE, SHIFT
from workers.training.grey import read_labels
from workers.training.teeth.panoramics import STRETCHED_ASPECT, check_labels, read_manifest, true_aspect

Floats = NDArray[np.float64]

_UNITS = 512  # in the width of a 16:9 panoramic
_SMALLEST = 100 / 512**2  # of a map; less is no tooth but a slip of the brush
_FEWEST = 3  # teeth that show where an arch lies, and films that show where a tooth stands
_PULL = 20.0  # units: how much a film with few teeth is held to the width of the others
_OUTLIER = 12.0  # units; teeth further off count less when an arch is laid over the mean one
_MOST = 3.5 * 1.4826  # median deviations, 3.5 standard ones; a wrong number in a map must not widen the table
_RIDGE = 1.0  # square units
_TURNS, _STEPS, _ROUNDS = 5, 20, 5  # of laying over; of EM; of tables and shares in turn
_MIRROR = np.array(MIRRORED[1:]) - 1
_SIDE = np.array([-1.0 if fdi // 10 in {1, 4} else 1.0 for fdi in FDI])
_RIGHT = np.flatnonzero(_SIDE < 0)
_JAWS = np.array([[fdi in UPPER for fdi in FDI], [fdi not in UPPER for fdi in FDI]], float)
_DRIFTS = np.array([fdi % 10 in {4, 5, 6, 7} for fdi in FDI])


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What ``workers.models.spacing`` knows; rows are 11 to 18, then 41 to 48; unit 1/512 of the width of a 16:9 film.

    Attributes:
        from_midline: (16,) mean distances from the midline.
        same_side: (16, 16) covariance of these distances, of two teeth of one side.
        other_side: (16, 16) the same of a tooth and one of the other side.
        closed: (2,) part of the room of a lost premolar or molar that closes, upper and lower jaw.
    """

    from_midline: Floats
    same_side: Floats
    other_side: Floats
    closed: Floats

    def __str__(self) -> str:
        """In the digits that ``workers.models.spacing`` keeps."""
        closed = f"closed: upper {self.closed[0]:.3f}, lower {self.closed[1]:.3f}"
        tables = ("from the midline", self.from_midline[None]), ("same side", self.same_side)
        return "\n".join([closed, *(_text(*each) for each in (*tables, ("other side", self.other_side)))])


def _text(title: str, rows: Floats) -> str:
    return "\n".join([f"{title}:", *("    (" + ", ".join(f"{value:.1f}" for value in row) + ")," for row in rows)])


def centres(data: Path, split: str = "train") -> Floats:
    """(films, 32) places of tooth centres along the columns, in units; NaN where there is no tooth.

    Raises ConfigurationError when the folder is not such a data set or its maps hold other than FDI numbers.
    """
    records = read_manifest(data, split)
    check_labels(records)
    return np.array([_centres(read_labels(record.labels)) for record in records])


def _centres(labels: NDArray[np.uint8]) -> Floats:
    unit = labels.shape[1] * STRETCHED_ASPECT / true_aspect(*labels.shape) / _UNITS
    column = np.broadcast_to(np.arange(labels.shape[1]), labels.shape).ravel()
    area, total = (np.bincount(labels.ravel(), of, 256)[list(FDI)] for of in (None, column))
    return np.where(area >= _SMALLEST * labels.size, total / np.maximum(area, 1) / unit, np.nan)


def fit(x: Floats, closed: Sequence[float] | None = None) -> Table:
    """The tables of (films, 32) places as ``centres`` gives them; shares that close are fitted where none are given.

    Raises ConfigurationError when a tooth is there in too few films.
    """
    x = x[np.isfinite(x).sum(1) >= _FEWEST]
    if rare := [fdi for fdi, count in zip(FDI, np.isfinite(x).sum(0), strict=True) if count < _FEWEST]:
        message = f"fewer than {_FEWEST} of {len(x)} films show tooth {rare[0]}; label more films"
        raise ConfigurationError(message)
    x = _laid_over(x)
    x = np.concatenate([x, -x[:, _MIRROR]])
    mean, covariance, shares = np.zeros(len(FDI)), np.eye(len(FDI)), np.array(closed or (0.0, 0.0))
    for _ in range(_ROUNDS):
        apart = x - np.einsum("jnk,j->nk", _closing(np.isnan(x), mean), shares)
        mean = _even(np.nanmedian(apart, 0))
        most = _MOST * np.nanmedian(np.abs(apart - mean), 0)
        covariance = _covariance(np.clip(apart - mean, -most, most))
        if closed is None:
            shares = _shares(x - mean, _closing(np.isnan(x), mean), mean, covariance)
    own = covariance * np.outer(_SIDE, _SIDE)
    return Table(-mean[_RIGHT], own[np.ix_(_RIGHT, _RIGHT)], own[np.ix_(_RIGHT, _MIRROR[_RIGHT])], shares)


def _laid_over(x: Floats) -> Floats:
    """Each film shifted and scaled onto the mean arch of all, whose midline is 0."""
    mean, seen, places = _even(np.nanmean(x, 0)), np.isfinite(x), x
    for _ in range(_TURNS):
        basis, weight = np.stack([np.ones(len(FDI)), mean]), seen.astype(float)
        for _ in range(_TURNS):
            left = np.einsum("nk,ik,jk->nij", weight, basis, basis) + np.diag([0, _PULL**2])
            right = np.einsum("nk,ik->ni", weight * np.where(seen, x, 0), basis) + np.array([0, _PULL**2])
            shift, scale = np.linalg.solve(left, right[:, :, None])[:, :, :1].transpose(1, 0, 2)
            off = np.abs(x - shift - scale * mean)
            weight = np.where(seen, np.minimum(1, _OUTLIER / np.maximum(off, 1e-9)), 0)
            places = (x - shift) / scale
        mean = _even(np.nanmedian(places, 0))
    return places


def _even(mean: Floats) -> Floats:
    """Both sides at the same distance from the midline."""
    return np.asarray((mean - mean[_MIRROR]) / 2)


def _closing(lost: NDArray[np.bool_], mean: Floats) -> Floats:
    """(2, films, 32): how far teeth of the upper, and of the lower jaw move where all the room of lost ones closes."""
    room = np.append(np.abs(np.diff(mean)), 0) * _DRIFTS * lost
    return np.asarray(-_SIDE * room.reshape(-1, 4, 8).cumsum(2).reshape(room.shape) * _JAWS[:, None])


def _covariance(off: Floats) -> Floats:
    """(32, 32) of deviations with gaps (NaN) under a normal distribution, by EM."""
    seen = np.isfinite(off)
    mean, covariance = np.nanmean(off, 0), np.diag(np.nanvar(off, 0) + _RIDGE)
    for _ in range(_STEPS):
        inverse = _inverse(covariance, seen)
        whole = mean + (inverse @ np.where(seen, off - mean, 0)[:, :, None])[:, :, 0] @ covariance
        unsure = covariance - covariance @ inverse.mean(0) @ covariance
        mean, covariance = whole.mean(0), np.cov(whole.T, bias=True) + unsure + _RIDGE * np.eye(len(FDI))
    return np.asarray(covariance)


def _inverse(covariance: Floats, seen: NDArray[np.bool_]) -> Floats:
    """(films, 32, 32) of the part of a covariance that is seen, 0 elsewhere."""
    both = seen[:, :, None] & seen[:, None, :]
    return np.where(both, np.linalg.inv(np.where(both, covariance, np.eye(len(FDI)))), 0)


def _shares(off: Floats, closing: Floats, mean: Floats, covariance: Floats) -> Floats:
    """(2,) shares of ``closing`` that make deviations most likely under the density of ``spacing``, a Student t."""
    seen = np.isfinite(off)
    inverse = _inverse(covariance + SHIFT**2 + SCALE**2 * np.outer(mean, mean), seen)
    columns = np.stack([*(closing * seen), np.where(seen, off, 0)], 2)
    products, shares = columns.transpose(0, 2, 1) @ inverse @ columns, np.zeros(2)
    for _ in range(_STEPS):
        rest = np.append(-shares, 1)
        weight = (FREEDOM + seen.sum(1)) / (FREEDOM + rest @ products @ rest)
        total = np.einsum("n,nij->ij", weight, products)
        shares = np.linalg.solve(total[:2, :2], total[:2, 2])
    return shares


def main(arguments: Sequence[str]) -> None:
    """Print the tables of a folder."""
    parser = argparse.ArgumentParser(prog="python -m workers.training.teeth.spacing_table", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with manifest.csv, images and labels")
    parser.add_argument("--closed", type=float, nargs=2, help="shares that close, upper and lower jaw; else fitted")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{fit(centres(options.data), options.closed)}\n")
    except ConfigurationError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
