"""From dense output to single teeth."""

import numpy as np
from numpy.typing import NDArray

from workers.models.instances import find_instances
from workers.networks.tooth_net import CLASSES, OFFSET_UNIT, OUTPUTS

GRID = (144, 288)


def ideal(teeth: list[tuple[int, int, int]], size: tuple[int, int] = (30, 10)) -> NDArray[np.float32]:
    """The output a perfect network would give for boxes: (class, centre row, centre column)."""
    output = np.zeros((OUTPUTS, *GRID), np.float32)
    output[0], output[CLASSES] = 6, -6
    rows, columns = np.mgrid[: GRID[0], : GRID[1]]
    for kind, row, column in teeth:
        inside = (abs(rows - row) <= size[0] // 2) & (abs(columns - column) <= size[1] // 2)
        output[0][inside], output[kind][inside] = -6, 6
        output[CLASSES] = np.maximum(output[CLASSES], 4 - 0.5 * ((rows - row) ** 2 / 6 + (columns - column) ** 2 / 2))
        output[CLASSES + 1][inside] = (row - rows[inside]) / OFFSET_UNIT
        output[CLASSES + 2][inside] = (column - columns[inside]) / OFFSET_UNIT
    return output


def test_neighbours_of_one_class_stay_two() -> None:
    """Two touching teeth that look like the same number are two teeth."""
    found = find_instances(ideal([(6, 50, 100), (6, 50, 111)]))
    assert [round(tooth.x) for tooth in found] == [100, 111]
    assert all(tooth.log_p.argmax() == 5 for tooth in found)


def test_extent() -> None:
    """A tooth is as large as its pixels."""
    tooth = find_instances(ideal([(3, 60, 150)]))[0]
    assert np.count_nonzero(tooth.soft > 0.5) == 31 * 11
    left, right = tooth.span
    assert (left, right) == (145.0, 156.0)
    assert tooth.seen > 0.8


def test_stray_pixels_do_not_count() -> None:
    """A far speck of the same class does not enlarge a tooth."""
    output = ideal([(3, 60, 150)])
    output[0, 60, 190], output[3, 60, 190] = -6, 6
    output[CLASSES + 2, 60, 190] = -40 / OFFSET_UNIT
    (tooth,) = find_instances(output)
    left, right = tooth.span
    assert (left, right) == (145.0, 156.0)


def test_nothing() -> None:
    """Background is no tooth."""
    assert find_instances(ideal([])) == []
