"""Where the places of a foreign network's input lie in the image, whatever its transforms did to the picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer

from service.domain.errors import ConfigurationError, Declined
from tests.unit.workers.models.foreign_bundle import bright_network, image_of
from tests.unit.workers.models.test_foreign_steps import HAND, LOAD, RANGE, bundle, compose, t
from workers.models.foreign import ForeignBundle
from workers.models.foreign_input import Seen

LONGEST = t("Resized", spatial_size=64, size_mode="longest", mode="bilinear")
PADDED = t("SpatialPadd", spatial_size=[64, 64])


def with_box(rows: int, columns: int) -> np.ndarray[Any, Any]:
    """Dark but for a rectangle that lies neither in the middle nor alike from any side."""
    pixels = np.zeros((rows, columns))
    pixels[20:50, 60:80] = 1.0
    return pixels


@pytest.mark.parametrize(
    "steps",
    [
        [t("Resized", spatial_size=[48, 80])],
        [LONGEST, PADDED],
        [LONGEST, t("SpatialPadd", spatial_size=[64, 64], method="end"), t("Flipd", spatial_axis=0)],
        [t("Flipd", spatial_axis=1), LONGEST, PADDED, t("Rotate90d", k=1, spatial_axes=[0, 1])],
        [t("Transposed", indices=[0, 2, 1]), t("Rotate90d", k=3), t("Resized", spatial_size=[40, 72])],
        [t("ResizeWithPadOrCropd", spatial_size=[140, 90])],
        [t("CenterSpatialCropd", roi_size=[78, 78]), t("BorderPadd", spatial_border=4)],
    ],
    ids=lambda steps: "-".join(step["_target_"] for step in steps),
)
@pytest.mark.parametrize("straight", [False, True])
def test_regions_lie_where_they_were_seen(tmp_path: Path, steps: list[dict[str, Any]], straight: bool) -> None:  # noqa: FBT001 - a case
    """Stretched, padded, cut or turned: the bright part of the image is found at its own place, and nothing else."""
    load = LOAD | ({"reverse_indexing": False} if straight else {})
    path = bundle(tmp_path / "b", compose(load, RANGE, *steps))
    model = ForeignBundle(path).load("cpu")
    for shape in ((80, 120), (120, 100)):
        (found,) = model.analyze(image_of(with_box(*shape)))
        assert found.box is not None
        assert np.abs(np.array(found.box) - (60, 20, 80, 50)).max() <= 2
        assert found.mask is not None
        assert found.mask.mean() > 0.9


def test_what_was_cut_off_is_no_finding(tmp_path: Path) -> None:
    """What the network did not see gets no answer, and what it saw in the padding is not in the image."""
    path = bundle(tmp_path / "b", compose(LOAD, RANGE, t("CenterSpatialCropd", roi_size=[60, 60])))
    pixels = np.ones((100, 100))
    (found,) = ForeignBundle(path).load("cpu").analyze(image_of(pixels))
    assert found.box == (20, 20, 80, 80)
    with pytest.raises(Declined, match=r"it becomes 60 x 40 pixels where its model takes 60 x 60"):
        ForeignBundle(path).load("cpu").analyze(image_of(np.ones((40, 100))))
    bright = t("ResizeWithPadOrCropd", spatial_size=[128, 128], value=1.0)
    padded = bundle(tmp_path / "c", compose(LOAD, RANGE, bright))
    assert ForeignBundle(padded).load("cpu").analyze(image_of(np.zeros((100, 100)))) == ()


def test_heat_lies_on_the_image(tmp_path: Path) -> None:
    """A plane of another grid over a padded and turned input: its hot cell is over the pixels that it stands for."""
    model = ForeignBundle(bundle(tmp_path / "b", compose(LOAD, RANGE, LONGEST, PADDED))).load("cpu")
    seen = model.eye.see(image_of(with_box(80, 120)))
    assert seen.turned
    row, column = np.unravel_index(int(seen.on_image(seen.planes[0], (16, 24)).argmax()), (16, 24))
    assert 4 <= row < 10
    assert 12 <= column < 16
    plain = Seen(np.zeros((1, 8, 6), np.float32), np.eye(3), (8, 6))
    plane = np.arange(48, dtype=np.float32).reshape(8, 6)
    assert np.array_equal(plain.on_image(plane), plane)


def test_sliding_windows_are_monais(tmp_path: Path) -> None:
    """A bundle with SlidingWindowInferer sees the image at its own size, window by window, blended as MONAI blends."""
    steps = compose(LOAD, RANGE, t("DivisiblePadd", k=8))
    windows = {"_target_": "SlidingWindowInferer", "roi_size": [32, 48], "sw_batch_size": 4, "overlap": 0.5}
    path = bundle(tmp_path / "b", steps, inferer=windows | {"mode": "gaussian"})
    metadata = path / "configs" / "metadata.json"
    window = {"num_channels": 1, "spatial_shape": [32, 48], "is_patch_data": True}
    told = json.loads(metadata.read_text()) | {"network_data_format": {"inputs": {"image": window}, "outputs": {}}}
    metadata.write_text(json.dumps(told))
    model = ForeignBundle(path).load("cpu")
    assert model.eye.shape is None, "what the metadata tell is the size of a window"
    for shape in ((90, 130), (20, 90)):
        pixels = np.random.default_rng(1).random(shape)
        seen = model.eye.see(image_of(pixels))
        assert seen.planes.shape[1:] == tuple(int(np.ceil(side / 8)) * 8 for side in reversed(shape))
        inferer = SlidingWindowInferer([32, 48], 4, 0.5, "gaussian")
        with torch.inference_mode():
            wanted = inferer(torch.from_numpy(seen.planes)[None], bright_network()).softmax(1)[0].numpy()  # type: ignore[union-attr]
        assert model.probabilities(seen) == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(Declined, match="larger than 8192"):
        model.eye.see(image_of(np.zeros((8, 9000))))


@pytest.mark.parametrize(
    ("inferer", "words"),
    [
        ({"_target_": "SliceInferer", "roi_size": [32, 32]}, "the inferer SliceInferer is not one"),
        ({"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32]}, "not rows and columns"),
        ({"_target_": "SlidingWindowInferer", "roi_size": [-1, 32]}, "not rows and columns"),
        ("$make()", r"the inferer \$make\(\) is not one"),
    ],
)
def test_other_inferers_are_refused(tmp_path: Path, inferer: object, words: str) -> None:
    """A network that is to see the input in another way is not shown it as a whole."""
    with pytest.raises(ConfigurationError, match=words):
        ForeignBundle(bundle(tmp_path / "b", compose(LOAD, RANGE), HAND | {"size": [64, 64]}, inferer=inferer))
