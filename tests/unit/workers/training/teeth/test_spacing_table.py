"""The tables of spacing: fitted to drawn arches whose tables are known, and to the maps that the shipped ones had."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from workers.models import spacing
from workers.models.arch import CLASS_OF, FDI
from workers.training.teeth.panoramics import UNKNOWN
from workers.training.teeth.spacing_table import Table, centres, fit

DATA = os.environ.get("DENTGATE_TEST_DATA", "")  # noqa: TID251 - names real images that cannot be committed
SIDE = np.array([-1.0 if fdi // 10 in {1, 4} else 1.0 for fdi in FDI])
HALF = (*range(8), *range(24, 32))  # 11 to 18, 41 to 48
OTHER = (*range(8, 16), *range(16, 24))  # their likes on the other side
NUMBER = np.array([fdi % 10 for fdi in FDI])
DISTANCE = np.where(np.array(FDI) < 30, 9.0 + 20.0 * (NUMBER - 1), 7.0 + 22.0 * (NUMBER - 1))
SHARES = (0.2, 0.5)


def known_covariance() -> NDArray[np.float64]:
    """(32, 32) of places: neighbours and antagonists lean alike; no part of it shifts or widens the whole arch."""
    place = SIDE * DISTANCE
    near = np.exp(-((place[:, None] - place) ** 2) / 2 / 60**2)
    jaws = np.where(np.equal.outer(np.array(FDI) < 30, np.array(FDI) < 30), 1.0, 0.5)
    covariance = 30 * near * jaws + np.diag(2.0 + 0.1 * DISTANCE)
    return np.asarray(apart(place) @ covariance @ apart(place))


def apart(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """(32, 32) takes shift and width out of places."""
    basis = np.stack([np.ones(32), place], 1)
    return np.asarray(np.eye(32) - basis @ np.linalg.pinv(basis))


def drawn(films: int, seed: int) -> NDArray[np.float64]:
    """(films, 32) places: a tenth of the teeth and most third molars lost, room partly closed, arches anywhere."""
    rng = np.random.default_rng(seed)
    x = SIDE * DISTANCE + rng.multivariate_normal(np.zeros(32), known_covariance(), films)
    gone = rng.random((films, 32)) < np.where(NUMBER == 8, 0.6, 0.1)
    for film, row in enumerate(gone):
        for index in np.flatnonzero(row & (NUMBER >= 4) & (NUMBER <= 7)):
            upper = FDI[index] < 30
            behind = (np.array(FDI) // 10 == FDI[index] // 10) & (NUMBER[index] < NUMBER)
            x[film, behind] -= SIDE[behind] * SHARES[0 if upper else 1] * (20.0 if upper else 22.0)
    x = np.where(gone, np.nan, x)
    return np.asarray(rng.normal(256, 15, (films, 1)) + rng.normal(1, 0.05, (films, 1)) * x)


def whole(table: Table) -> NDArray[np.float64]:
    """(32, 32) covariance of places of a table, without shift and width."""
    covariance = np.zeros((32, 32))
    for own, other in ((HALF, OTHER), (OTHER, HALF)):
        covariance[np.ix_(own, own)] = table.same_side
        covariance[np.ix_(own, other)] = table.other_side
    place = SIDE * DISTANCE
    return np.asarray(apart(place) @ (covariance * np.outer(SIDE, SIDE)) @ apart(place))


@pytest.fixture(scope="module")
def found() -> Table:
    """Of 300 drawn films."""
    return fit(drawn(300, 1))


def test_known_distances_come_back(found: Table) -> None:
    """Distances from the midline are found within one unit, but for the width of all films together."""
    known = DISTANCE[list(HALF)]
    width = (found.from_midline @ known) / (known @ known)
    assert width == pytest.approx(1, abs=0.02)
    assert np.abs(found.from_midline / width - known).max() < 1.0


def test_known_shares_come_back(found: Table) -> None:
    """What closes of the room of a lost tooth is found within 0.06, in each jaw its own."""
    assert np.abs(found.closed - SHARES).max() < 0.06


def test_known_covariance_comes_back(found: Table) -> None:
    """Covariances within a side and across are found within four standard errors, 0.06 of the deviations' product."""
    known = known_covariance()
    spread = np.sqrt(np.diag(known))
    off = (whole(found) - known) / np.outer(spread, spread)
    assert np.abs(off).max() < 0.24
    assert np.sqrt((off**2).mean()) < 0.06


def test_both_sides_count_alike() -> None:
    """Films shown from behind give the same table: no side has one of its own."""
    x = drawn(60, 2)
    right, left = fit(x), fit(-x[:, [CLASS_OF[fdi + (10 if fdi // 10 in {1, 3} else -10)] - 1 for fdi in FDI]])
    assert np.abs(right.from_midline - left.from_midline).max() < 1e-6
    assert np.abs(right.same_side - left.same_side).max() < 1e-6
    assert np.abs(right.other_side - left.other_side).max() < 1e-6


def test_given_shares_are_kept() -> None:
    """Shares that are given are not fitted, but room is taken out by them."""
    x = drawn(60, 3)
    none, half = fit(x, (0.0, 0.0)), fit(x, (0.5, 0.5))
    assert half.closed.tolist() == [0.5, 0.5]
    assert half.from_midline[7] > none.from_midline[7] + 1


def test_too_few_films_are_refused() -> None:
    """Where hardly any film shows a tooth there is nothing to fit; the message names the tooth."""
    x = drawn(60, 4)
    x[2:, CLASS_OF[38] - 1] = np.nan
    with pytest.raises(ConfigurationError, match="of 60 films show tooth 38"):
        fit(x)


def folder_of(folder: Path, labels: NDArray[np.uint8], split: str = "train") -> Path:
    """A data folder with one label map."""
    Picture.fromarray(labels).save(folder / "map.png")
    row = {"file": "film.png", "split": split, "group": "", "label_file": "map.png"}
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return folder


@pytest.mark.parametrize(("columns", "unit"), [(512, 1.0), (1024, 16 / 9)])
def test_centres_of_a_map(columns: int, unit: float, tmp_path: Path) -> None:
    """A centre is the mean column of a tooth, in 1/512 of the width of a 16:9 film, also where that became a square.

    What is unknown, deciduous or a slip of the brush is no tooth.
    """
    labels = np.zeros((512, columns), np.uint8)
    labels[200:230, 100:121], labels[300:330, 40:51] = 16, 46
    labels[10:20, 10:15], labels[400:450, 300:350], labels[400:450, 400:450] = 11, 55, UNKNOWN
    (x,) = centres(folder_of(tmp_path, labels))
    assert np.flatnonzero(np.isfinite(x)).tolist() == [CLASS_OF[16] - 1, CLASS_OF[46] - 1]
    assert x[[CLASS_OF[16] - 1, CLASS_OF[46] - 1]] * unit == pytest.approx([110, 45])


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    """A folder without training films ends the command with one line that says so."""
    folder = folder_of(tmp_path, np.full((64, 64), 11, np.uint8), split="val")
    command = [sys.executable, "-m", "workers.training.teeth.spacing_table", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "has no image of split 'train'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not DATA, reason="DENTGATE_TEST_DATA names no folder of real images")
def test_shipped_tables_come_out_again() -> None:
    """The training maps give the tables that ship, with the shares that ship: distances to 0.2, covariances to 1.0.

    Fitted, the shares are 0.24 and 0.21. The 0.3 of the lower jaw that ships lies between two earlier fits with another
    covariance (0.25 and 0.42); the figures of the model were measured with it.
    """
    x = centres(Path(DATA) / "pano_fdi_ufba425")
    shipped = spacing._CLOSED  # noqa: SLF001 - the tables have no other door
    again = fit(x, (shipped[True], shipped[False]))
    assert np.abs(again.from_midline - spacing._FROM_MIDLINE).max() < 0.2  # noqa: SLF001
    assert np.abs(again.same_side - spacing._SAME_SIDE).max() < 1.0  # noqa: SLF001
    assert np.abs(again.other_side - spacing._OTHER_SIDE).max() < 1.0  # noqa: SLF001
    assert np.abs(fit(x).closed - (0.24, 0.21)).max() < 0.03
