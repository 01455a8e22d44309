"""Teeth of one film in the places of another's."""

import numpy as np
from scipy import ndimage

from workers.models.arch import CLASS_OF
from workers.training.teeth.panoramics import IGNORED, Sample, phantom_samples
from workers.training.teeth.transplant import transplant


def films() -> tuple[Sample, Sample]:
    """A film, and one that is darker throughout."""
    film, donor = phantom_samples([31, 32])
    film = Sample(film.pixels, film.classes.copy(), film.aspect)
    return film, Sample((donor.pixels * 0.6).astype(np.uint8), donor.classes.copy(), donor.aspect)


def middle(classes: np.ndarray, tooth: int) -> np.ndarray:
    """Centre of a tooth, rows and columns."""
    centre: np.ndarray = np.argwhere(classes == tooth).mean(0)
    return centre


def test_same_numbers_in_the_same_places() -> None:
    """Every tooth keeps its number and, within some pixels, its place; the film it came from stays as it was."""
    film, donor = films()
    kept = film.pixels.copy(), film.classes.copy()
    changed = 0
    for seed in range(12):
        new = transplant(film, donor, np.random.default_rng(seed))
        assert set(np.unique(new.classes)) == set(np.unique(film.classes))
        for tooth in np.unique(film.classes)[1:].tolist():
            old, area = film.classes == tooth, (new.classes == tooth).sum()
            assert np.abs(middle(new.classes, tooth) - middle(film.classes, tooth)).max() < 8
            assert 0.5 < area / old.sum() < 2
            changed += bool((new.classes[old] != tooth).any() or area != old.sum())
    assert 12 <= changed <= 12 * 10 * 1.5  # some of the neighbours lose a pixel or two
    assert (film.pixels == kept[0]).all()
    assert (film.classes == kept[1]).all()


def test_pixels_come_with_the_labels() -> None:
    """Far from any exchanged tooth nothing changes, and in one the donor's grey is brought to that of the film."""
    film, donor = films()
    new = transplant(film, donor, np.random.default_rng(3))
    differs = np.abs(new.pixels.astype(int) - film.pixels) > 3
    far = ~ndimage.binary_dilation(film.classes > 0, iterations=20)
    assert differs.any()
    assert not differs[far].any()
    assert differs.mean() < 0.2
    teeth = film.classes > 0
    assert abs(float(new.pixels[teeth].mean()) - float(film.pixels[teeth].mean())) < 15


def test_a_tooth_that_one_lacks_stays() -> None:
    """What only the film has stays, what only the donor has does not come, and the unknown stays unknown."""
    film, donor = films()
    film.classes[film.classes == CLASS_OF[48]] = 0
    film.classes[:20, :20] = IGNORED
    donor.classes[np.isin(donor.classes, [CLASS_OF[16], CLASS_OF[26]])] = 0
    for seed in range(8):
        new = transplant(film, donor, np.random.default_rng(seed))
        assert not (new.classes == CLASS_OF[48]).any()
        assert ((new.classes == CLASS_OF[16]) == (film.classes == CLASS_OF[16])).all()
        assert (new.classes[:20, :20] == IGNORED).all()


def test_nothing_in_common() -> None:
    """A film without teeth comes back as it is."""
    film, donor = films()
    film.classes[:] = 0
    new = transplant(film, donor, np.random.default_rng(0))
    assert (new.pixels == film.pixels).all()
    assert not new.classes.any()
