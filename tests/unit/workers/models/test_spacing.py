"""The spacing of an arch on synthetic teeth: no network, no image."""

from collections.abc import Mapping

import numpy as np
import pytest

from workers.models.arch import CLASS_OF, FDI, LOWER, MEAN_ARCH, UPPER
from workers.models.numbering import Evidence, number_teeth
from workers.models.spacing import laid_over, number_arch, strain

FULL = (*UPPER, *LOWER)


def tooth(place: int, looks_like: Mapping[int, float], scale: float = 1.0, shift: float = 0.0) -> Evidence:
    """A tooth where ``place`` stands on the mean arch, with log odds of some numbers."""
    log_p = np.full(32, -12.0)
    for fdi, odds in looks_like.items():
        log_p[CLASS_OF[fdi] - 1] = odds
    x = MEAN_ARCH[place][0] * scale + shift
    return Evidence(x, x - 0.015 * scale, x + 0.015 * scale, log_p - np.logaddexp.reduce(log_p))


def doubtful(scale: float = 1.0, shift: float = 0.0) -> list[Evidence]:
    """A mouth without 36 whose 37 and 38 look a little more like 36 and 37."""
    clear = [tooth(fdi, {fdi: 0.0}, scale, shift) for fdi in FULL if fdi not in {36, 37, 38}]
    molars = [tooth(37, {36: 0.0, 37: -2.0}, scale, shift), tooth(38, {37: 0.0, 38: -2.0}, scale, shift)]
    return [*clear, *molars]


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (700.0, 90.0), (0.4, -3.0)])
def test_place_against_the_other_teeth_tells_molars_apart(scale: float, shift: float) -> None:
    """Molars that stand where the second and third stand are 37 and 38, wherever the arch lies in the picture."""
    found = [number.fdi for number in number_arch(doubtful(scale, shift))]
    assert found[-2:] == [37, 38]
    assert found[:-2] == [fdi for fdi in FULL if fdi not in {36, 37, 38}]


def test_sure_pixels_outweigh_the_place() -> None:
    """Molars whose pixels leave no doubt keep their numbers although they stand half a tooth behind their place."""
    teeth = [tooth(fdi, {fdi: 0.0}) for fdi in FULL if fdi not in {36, 37, 38}]
    half = (MEAN_ARCH[37][0] - MEAN_ARCH[36][0]) / 2
    teeth += [tooth(fdi, {fdi: 0.0}, shift=half) for fdi in (36, 37)]
    assert [number.fdi for number in number_arch(teeth)][-2:] == [36, 37]


def test_few_teeth_are_left_to_the_pixels() -> None:
    """Five teeth do not show where the arch lies: their numbers and margins stay as they were."""
    teeth = [tooth(fdi, {fdi: 0.0}) for fdi in (11, 44, 43)] + doubtful()[-2:]
    assert number_arch(teeth) == number_teeth(teeth)


def test_no_margin_grows() -> None:
    """A tooth that keeps its number is never called surer than before."""
    teeth = doubtful()
    for before, after in zip(number_teeth(teeth), number_arch(teeth), strict=True):
        assert after.fdi != before.fdi or after.margin <= before.margin


def test_a_moved_number_has_the_margin_of_the_move() -> None:
    """A number that the spacing changed is as sure as the change was worth, and that is finite."""
    teeth = doubtful()
    changed = [a for b, a in zip(number_teeth(teeth), number_arch(teeth), strict=True) if a.fdi != b.fdi]
    assert changed
    assert all(0 < number.margin < np.inf for number in changed)


def test_each_number_once_on_noise() -> None:
    """Whatever the evidence, no number is given twice."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        logits = rng.normal(0, 3, (rng.integers(6, 36), 32))
        log_p = logits - np.logaddexp.reduce(logits, axis=1)[:, None]
        teeth = [Evidence(x, x - 0.5, x + 0.5, p) for x, p in zip(rng.uniform(0, 16, len(log_p)), log_p, strict=True)]
        given = [number.fdi for number in number_arch(teeth) if number.fdi is not None]
        assert len(given) == len(set(given))


def test_the_mean_arch_strains_least() -> None:
    """The places of the mean arch fit their own numbers better than any numbers one place along."""
    quadrant = [CLASS_OF[fdi] - 1 for fdi in FULL if fdi not in {18, 28, 38, 48}]
    classes = np.array(quadrant)
    places = laid_over(np.array([MEAN_ARCH[FDI[c]][0] for c in classes]), classes)
    assert places is not None
    behind = np.where(np.isin(classes, [CLASS_OF[36] - 1, CLASS_OF[37] - 1]), classes + 1, classes)
    own, moved = strain(places, np.array([classes, behind]))
    assert own + 5 < moved


def test_an_arch_that_runs_the_other_way_is_not_laid_over() -> None:
    """Numbers in the reverse order of the places give no arch."""
    classes = np.array([CLASS_OF[fdi] - 1 for fdi in UPPER])
    assert laid_over(-np.arange(16.0), classes) is None
