"""The tooth chart as a picture."""

import numpy as np
import pytest

from service.domain.finding import Finding
from service.results.colours import drawn_colour
from service.results.odontogram import DARK, LIGHT, draw_chart, is_dental

WIDTH = 900


def corner(fdi_row: int, place: int, rows: int = 2, width: int = WIDTH) -> tuple[int, int]:
    """x, y of a point inside a cell of sixteen places, beside its number."""
    side = width / 18
    return round(side * (place + 1.85)), round(side * 0.8 * (fdi_row + 0.1 + 0.92 - 0.12 * rows / 2))


@pytest.mark.parametrize(
    ("fdi", "row", "place"), [(18, 0, 0), (11, 0, 7), (21, 0, 8), (28, 0, 15), (48, 1, 0), (38, 1, 15)]
)
def test_a_tooth_fills_its_cell(fdi: int, row: int, place: int) -> None:
    """The patient's right is at the left, the upper jaw above; one tooth fills one cell with its colour."""
    tooth = Finding("tooth", fdi, 0.9)
    pixels = np.asarray(draw_chart([tooth], WIDTH, DARK))
    colour = np.array(drawn_colour(tooth, fdi, [tooth]))
    x, y = corner(row, place)
    np.testing.assert_array_equal(pixels[y, x], colour)
    filled = (pixels == colour).all(-1)
    assert filled.sum() < (WIDTH / 18) ** 2
    assert (np.asarray(draw_chart([], WIDTH, DARK)) != colour).any(-1).all()


def test_deciduous_teeth_get_rows_of_their_own() -> None:
    """The chart grows by two rows where a deciduous tooth was found."""
    permanent = draw_chart([Finding("tooth", 11, 0.9)], WIDTH, DARK)
    mixed = draw_chart([Finding("tooth", 11, 0.9), Finding("tooth", 55, 0.9)], WIDTH, DARK)
    assert mixed.height > 1.7 * permanent.height


def test_a_finding_marks_its_tooth() -> None:
    """A square in the colour of the finding stands in the cell of its tooth, found or not."""
    caries = Finding("caries", 18, 0.9)
    pixels = np.asarray(draw_chart([caries], WIDTH, LIGHT))
    marked = (pixels == drawn_colour(caries, 0, [caries])).all(-1)
    rows, columns = np.nonzero(marked)
    side = WIDTH / 18
    assert marked.sum() > 20
    assert columns.min() > side
    assert columns.max() < 2 * side
    assert rows.max() < side * 0.9


def test_only_teeth_need_a_chart() -> None:
    """A fracture or a tooth without number gives no chart."""
    assert is_dental([Finding("tooth", 11, 0.9)])
    assert not is_dental([Finding("fracture", None, 0.9), Finding("tooth", None, 0.9)])
