"""Other anatomy that came as a limb: named and declined; limbs are left alone."""

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from service.domain.errors import ConfigurationError, Declined
from workers.inference import open_network
from workers.models.bundle import BUNDLES
from workers.models.elsewhere import Elsewhere
from workers.models.fracture import Fracture, LoadedFracture
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.models.spine import Spine
from workers.pixels import Image
from workers.training.phantom import panoramic_phantom
from workers.training.spine.phantom import spine_phantom

Plane = NDArray[np.float32]
TEETH, SPINE = BUNDLES / "teeth_panoramic", BUNDLES / "spine_landmarks"

pytestmark = pytest.mark.skipif(
    not all(path.is_dir() for path in (TEETH, SPINE, BUNDLES / "fracture")), reason="a bundle was taken out"
)


def panoramic() -> Plane:
    """A drawn panoramic."""
    return (panoramic_phantom(1, rows=600, columns=1150).pixels / 4095).astype(np.float32)


def spine() -> Plane:
    """A drawn spine film."""
    return (spine_phantom(1).pixels / 255).astype(np.float32)


def limb() -> Plane:
    """Two long bones in soft tissue."""
    across = np.linspace(0, 2, 200)
    tissue = 0.25 * np.exp(-(((across - 1) / 0.7) ** 4))
    bones = 0.5 * np.exp(-(((across - 0.75) / 0.15) ** 2)) + 0.4 * np.exp(-(((across - 1.3) / 0.1) ** 2))
    grain = 0.02 * np.random.default_rng(0).random((300, 200))
    return (tissue + bones + grain).astype(np.float32)


def image_of(pixels: Plane) -> Image:
    """An image as the pipeline hands it over; nothing in its header speaks against a limb."""
    return Image(pixels, Dataset(), flipped_x=False, flipped_y=False, notes=())


@pytest.fixture(scope="module")
def fracture() -> LoadedFracture:
    """The model that ships."""
    loaded = Fracture().load("cpu")
    assert isinstance(loaded, LoadedFracture)
    return loaded


def test_a_panoramic_that_calls_itself_a_limb_is_declined(fracture: LoadedFracture) -> None:
    """However sure of a fracture the network would be, the reason names teeth; so on a part of a panoramic."""
    whole = panoramic()
    for pixels in (whole, whole[:, : whole.shape[1] // 2]):
        with pytest.raises(Declined, match=r"\d+ teeth are seen in it, but it came as an image of an arm or a leg"):
            fracture.analyze(image_of(pixels))


def test_a_spine_that_calls_itself_a_limb_is_declined(fracture: LoadedFracture) -> None:
    """The reason names the spine."""
    with pytest.raises(Declined, match="a spine is seen in it, but it came as an image of an arm or a leg"):
        fracture.analyze(image_of(spine()))


def test_a_limb_is_read(fracture: LoadedFracture) -> None:
    """Nothing of the kind is seen in two long bones, nor in an even plane: the classifier answers."""
    for pixels in (limb(), limb().T, np.full((300, 240), 0.5, np.float32)):
        expected = fracture.detections(fracture.read(pixels), pixels.shape)
        found = fracture.analyze(image_of(pixels))
        assert [(d.kind, d.certainty, d.box) for d in found] == [(d.kind, d.certainty, d.box) for d in expected]


def test_a_network_that_was_taken_out_sees_nothing(tmp_path: Path) -> None:
    """A site may take out the bundle for teeth: then panoramics go unnoticed and spines do not; and the other way."""
    (tmp_path / "spine_landmarks").symlink_to(SPINE)
    without_teeth = Elsewhere.open("cpu", tmp_path)
    assert without_teeth.reason(panoramic()) == ""
    assert without_teeth.reason(spine())
    assert Elsewhere(None, None).reason(spine()) == ""


def test_a_broken_bundle_is_named(tmp_path: Path) -> None:
    """It is an error that names the bundle, not a check that is left out in silence."""
    (tmp_path / "teeth_panoramic").mkdir()
    with pytest.raises(ConfigurationError, match="teeth_panoramic"):
        Elsewhere.open("cpu", tmp_path)


def test_what_knows_other_anatomy_is_opened_once_for_all_models() -> None:
    """A worker that reads panoramics, spines and limbs holds each network once."""
    shared = mock.Mock(side_effect=open_network)
    with mock.patch("workers.models.opened.open_network", shared):
        held = [PanoramicTeeth(TEETH).load("cpu"), Spine(SPINE).load("cpu")]
        before = shared.call_count
        held_too = Elsewhere.open("cpu")
    assert (before <= len(held), shared.call_count) == (True, before)
    assert held_too.reason(limb()) == ""
