"""Image classifiers in service: the canvas, what the heat map shows, and what becomes a finding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.special import expit

from service.domain.errors import ConfigurationError, Declined
from workers.models.canvas import canvas_of, off_canvas
from workers.models.grad_cam import class_maps, grad_cam, hot_box, to_heat
from workers.models.image_classifier import ImageClassifier
from workers.networks.convolutions import FourConvolutions
from workers.networks.residual import ResNetV2, SmallResNet
from workers.pixels import Image
from workers.training.images.export import Facts, Serving, export_bundle
from workers.training.images.plan import Plan

FACTS = Facts("test", "test", "test", "drawn", "drawn")
SERVING = Serving((0.5, 0.5), ((2.0, 0.1), (1.0, -0.2)), (1.0, 99.0), findings={"one": "fracture"})
PLAN = Plan(
    classes=("one", "two"),
    network={"_target_": "workers.networks.convolutions.FourConvolutions", "widths": [4, 4, 8, 8]},
    minutes=1,
    size=(64, 64),
)


def image_of(pixels: NDArray[np.float32], colour: NDArray[np.float32] | None = None) -> Image:
    """An image as the pipeline hands it over."""
    return Image(pixels, Dataset(), flipped_x=False, flipped_y=False, notes=(), colour=colour)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bundle")
    network = FourConvolutions(2, 1, widths=(4, 4, 8, 8))
    network.fc.weight.data *= 20
    export_bundle(network.eval(), PLAN, path, FACTS, SERVING, {})
    return path


def test_the_canvas_keeps_the_aspect() -> None:
    """A tall image stands in the middle of a square canvas, black at its sides, its grey values between 0 and 1."""
    pixels = np.tile(np.linspace(100, 200, 80, dtype=np.float32)[:, None], (1, 20))
    canvas = canvas_of(pixels, (40, 40), (1, 99))
    assert canvas.shape == (1, 40, 40)
    assert not canvas[0, :, :14].any()
    assert not canvas[0, :, 26:].any()
    assert canvas[0, 5:, 16:24].min() > 0
    assert canvas[0, -1, 20] == pytest.approx(1, abs=0.05)
    colours = canvas_of(np.stack([pixels / 400, pixels / 200, pixels / 800], 2), (40, 40), None)
    assert colours[1, 20, 20] == pytest.approx(2 * colours[0, 20, 20])


@pytest.mark.parametrize("shape", [(200, 50), (60, 300), (100, 100)])
def test_heat_comes_back_to_its_place(shape: tuple[int, int]) -> None:
    """What is hot on the canvas over a corner of the image is hot in that corner of the image."""
    pixels = np.random.default_rng(0).random(shape, np.float32) * np.float32(0.1)  # an even one would be all border
    pixels[: shape[0] // 4, -(shape[1] // 4) :] = 1
    canvas = canvas_of(pixels, (64, 64), None)[0]
    heat = off_canvas(canvas.reshape(16, 4, 16, 4).mean((1, 3)), shape, (64, 64))
    box = hot_box(heat, shape)
    assert box is not None
    assert np.array(box) == pytest.approx(
        [0.75 * shape[1], 0, shape[1], 0.25 * shape[0]], abs=max(0.07 * max(shape), 2)
    )


def test_the_class_map_is_exact() -> None:
    """The mean of the map is the logit, and gradients give the same map but for the offset."""
    network = SmallResNet(3, 1, widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1)).eval()
    pictures = np.random.default_rng(0).standard_normal((2, 1, 96, 64)).astype(np.float32)
    exact = class_maps(network)
    assert exact is not None
    with torch.inference_mode():
        maps, logits = exact(torch.from_numpy(pictures)).numpy(), network(torch.from_numpy(pictures)).numpy()
    assert maps.mean((2, 3)) == pytest.approx(logits, abs=1e-5)
    cells = maps.shape[2] * maps.shape[3]
    by_gradient = grad_cam(network, pictures) * cells
    assert to_heat(by_gradient[0, 1]) == pytest.approx(to_heat(maps[0, 1]), abs=1e-3)


def test_dense_layers_go_by_gradients(tmp_path: Path) -> None:
    """A network whose head is more than one layer has no exact map; its bundle serves all the same."""
    network = ResNetV2(2, 1, depth=26, added=(8,), dense=(8,)).eval()
    assert class_maps(network) is None
    target = {"_target_": "workers.networks.residual.ResNetV2", "depth": 26, "added": [8], "dense": [8]}
    export_bundle(network, replace(PLAN, network=target, dropout=0.3), tmp_path, FACTS, SERVING, {})
    reading = ImageClassifier(tmp_path, "cpu", "torch").read(np.random.default_rng(0).random((70, 50), np.float32))
    assert reading.probabilities.shape == (2,)
    assert reading.maps.shape[0] == 2
    assert np.isfinite(reading.maps).all()


def test_heat_is_between_nothing_and_one() -> None:
    """The hottest place is 1; a flat map is cold and has no box."""
    plane = np.zeros((7, 7), np.float32)
    assert hot_box(to_heat(plane), (70, 70)) is None
    plane[2, 5] = 3
    heat = to_heat(plane)
    assert heat.max() == 1
    assert heat[0, 0] == 0
    box = hot_box(heat, (70, 140))
    assert box is not None
    x0, y0, x1, y1 = box
    assert 95 <= x0 < 105
    assert 115 < x1 <= 125
    assert 18 <= y0 < 25
    assert 25 < y1 <= 32


def test_probabilities_are_calibrated_logits_of_both_sides(bundle: Path) -> None:
    """The logits of an image and its mirror image are averaged, scaled and shifted as the bundle says."""
    model = ImageClassifier(bundle, "cpu", "torch")
    pixels = np.random.default_rng(1).random((90, 60), np.float32)
    reading, mirrored = model.read(pixels), model.read(np.ascontiguousarray(pixels[:, ::-1]))
    canvas = torch.from_numpy((model.canvas(pixels) - 0.45) / 0.25)[None]
    network = class_maps(model.network)
    assert network is not None
    with torch.inference_mode():
        maps = torch.cat([network(canvas), network(canvas.flip(-1))])
    logits = maps.mean((0, 2, 3)).numpy()
    assert reading.probabilities == pytest.approx(expit([2 * logits[0] + 0.1, logits[1] - 0.2]), abs=1e-4)
    assert reading.probabilities == pytest.approx(mirrored.probabilities, abs=1e-5)
    assert reading.maps == pytest.approx(mirrored.maps[..., ::-1], abs=1e-4)


def test_only_named_classes_over_their_threshold_are_findings(bundle: Path) -> None:
    """A class that is no finding is never one; below the threshold there is none; above it has certainty and heat."""
    model = ImageClassifier(bundle, "cpu", "torch")
    image = image_of(np.random.default_rng(1).random((90, 60), np.float32))
    sure = model.read(image.pixels).probabilities
    model.settings = replace(model.settings, thresholds=(float(sure[0]) - 0.01, 0.0))
    (found,) = model.analyze(image)
    assert (found.kind, found.tooth) == ("fracture", None)
    assert found.certainty == pytest.approx(sure[0], abs=1e-3)
    assert found.heat is not None
    assert found.heat.max() == 1
    assert found.box is not None
    assert found.box[2] <= 60
    model.settings = replace(model.settings, thresholds=(float(sure[0]) + 0.01, 0.0))
    assert model.analyze(image) == ()
    model.settings = replace(model.settings, exclusive=True, thresholds=(0.0, 0.0))
    assert len(model.said(np.array([0.4, 0.6]))) == 1


def test_engines_agree(bundle: Path) -> None:
    """OpenVINO and torch give the same probabilities within 1e-3."""
    pytest.importorskip("openvino")
    pixels = np.random.default_rng(2).random((64, 80), np.float32)
    first, second = (ImageClassifier(bundle, "cpu", engine).read(pixels) for engine in ("torch", "openvino"))
    assert first.probabilities == pytest.approx(second.probabilities, abs=1e-3)


def test_a_grey_model_declines_colours(bundle: Path) -> None:
    """A photograph is not read as an X-ray."""
    colour = np.zeros((64, 64, 3), np.float32)
    with pytest.raises(Declined, match="colour"):
        ImageClassifier(bundle, "cpu").analyze(image_of(colour[..., 0], colour))


def test_odd_settings_name_the_bundle(bundle: Path, tmp_path: Path) -> None:
    """A threshold too few is a clear error."""
    export_bundle(
        FourConvolutions(2, 1, widths=(4, 4, 8, 8)), PLAN, tmp_path, FACTS, replace(SERVING, thresholds=(0.5,)), {}
    )
    assert bundle != tmp_path
    with pytest.raises(ConfigurationError, match="one threshold and calibration for each class"):
        ImageClassifier(tmp_path, "cpu")
