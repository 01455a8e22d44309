"""How two looks become one opinion."""

import numpy as np

from workers.models.arch import CLASS_OF, WHOLE
from workers.models.instances import Instance
from workers.models.looks import number_look

GRID = (100, 200)


def instance(x: float, fdi: int, sure: float = 5.0) -> Instance:
    """A tooth of the upper row whose pixels speak for a number."""
    log_p = np.zeros(32)
    log_p[CLASS_OF[fdi] - 1] = sure
    log_p[16:] -= 9
    soft = np.ones((20, 8), np.float32)
    return Instance(x, 50.0, 40, int(x) - 4, soft, 0.8, log_p - np.logaddexp.reduce(log_p))


def test_looks_agree() -> None:
    """Where both looks say the same the margin is larger than by a weak look alone."""
    weak = number_look(WHOLE, GRID, [instance(60, 14, 2), instance(70, 13, 2)], None)
    strong = number_look(WHOLE, GRID, [instance(60, 14), instance(70, 13)], None)
    both = number_look(WHOLE, GRID, [instance(60, 14, 2), instance(70, 13, 2)], strong)
    assert [tooth.fdi for tooth in both.teeth] == [14, 13]
    assert both.teeth[0].margin > weak.teeth[0].margin


def test_looks_disagree() -> None:
    """Where the first look was sure of another number the second gives in or is less certain."""
    first = number_look(WHOLE, GRID, [instance(60, 15, 8)], None)
    second = number_look(WHOLE, GRID, [instance(60, 14, 3)], first).teeth[0]
    fresh = number_look(WHOLE, GRID, [instance(60, 14, 3)], None).teeth[0]
    assert second.fdi == 15 or second.margin < fresh.margin


def test_another_tooth_has_no_say() -> None:
    """What the first look saw elsewhere changes nothing."""
    first = number_look(WHOLE, GRID, [instance(60, 15, 8)], None)
    far, alone = (number_look(WHOLE, GRID, [instance(120, 24)], before).teeth[0] for before in (first, None))
    assert (far.fdi, far.margin) == (alone.fdi, alone.margin)


def test_centres_are_fractions_of_the_image() -> None:
    """A tooth in the middle of the grid over the whole image lies in the middle of the image."""
    look = number_look(WHOLE, GRID, [instance(99.5, 11)], None)
    assert look.centres()[11] == (0.5, 0.505)
