"""The shipped condition model on drawn panoramics: what it is asked about, and what it hands on."""

import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from workers.models.conditions import CONDITIONS, LoadedToothConditions, ToothConditions
from workers.models.tooth_crops import Jaws
from workers.pixels import Image
from workers.regions import Detection
from workers.training.phantom import Phantom, panoramic_phantom
from workers.training.teeth.scoring import truths_of


@pytest.fixture(scope="module")
def model() -> LoadedToothConditions:
    """The model as a worker loads it on a CPU."""
    return ToothConditions().load("cpu")


def image_of(pixels: NDArray[np.float32]) -> Image:
    """An oriented image."""
    return Image(pixels=pixels, header=Dataset(), flipped_x=False, flipped_y=False, notes=())


def drawn(seed: int, rows: int = 752, columns: int = 1440) -> tuple[Image, list[Detection]]:
    """A drawn panoramic, and its teeth as the tooth model would give them."""
    phantom: Phantom = panoramic_phantom(seed, rows=rows, columns=columns)
    teeth = [Detection("tooth", t.tooth, 0.99, t.box, t.mask) for t in truths_of(phantom.labels)]
    return image_of(phantom.pixels.astype(np.float32) / np.float32(4095)), teeth


def test_without_teeth_nothing_is_said(model: LoadedToothConditions) -> None:
    """Where the tooth model found nothing, or did not run, no condition is found."""
    image, _ = drawn(1)
    assert model.analyze(image) == ()
    assert model.analyze(image, [Detection("fracture", None, 0.9)]) == ()


def test_findings_belong_to_teeth(model: LoadedToothConditions) -> None:
    """A finding has the number, box and mask of its tooth and the tooth's doubt; one without a tooth says so."""
    image, teeth = drawn(3)
    doubts = {16: ("number-uncertain",), 26: ("deciduous-teeth-not-told-apart",)}
    doubted = [replace(d, flags=doubts.get(d.tooth or 0, ())) for d in teeth]
    shipped = model.settings.thresholds.copy()
    model.settings.thresholds[0] = 0.0  # everything is said of every tooth
    try:
        found = model.analyze(image, doubted)
    finally:
        model.settings.thresholds[:] = shipped
    of_teeth = {(d.tooth, d.kind): d for d in found if d.mask is not None}
    assert len(of_teeth) == len(teeth) * len(CONDITIONS)
    for tooth in teeth:
        finding = of_teeth[tooth.tooth, "filling"]
        assert finding.box == tooth.box
        assert finding.mask is tooth.mask
        assert 0 <= finding.certainty <= 1
        assert finding.flags == doubts.get(tooth.tooth or 0, ())
        assert "number-uncertain" in of_teeth[tooth.tooth, "implant"].flags  # none has a number of its own
    for finding in found:
        if finding.mask is None:
            assert finding.site == ("" if finding.tooth else "jaw")
            assert finding.flags == (("number-uncertain",) if finding.tooth else ())


def test_resolution_and_exposure_change_little(model: LoadedToothConditions) -> None:
    """A film of half the resolution, darker and flatter, gives nearly the same answers for the same teeth."""
    answers = []
    for rows, columns, gain in ((1504, 2880, 1.0), (752, 1440, 0.6)):
        image, teeth = drawn(5, rows, columns)
        pixels = image.pixels * np.float32(gain) + np.float32((1 - gain) / 3)
        judged = [j for j in model.judge(Jaws(pixels, teeth), teeth) if j.tooth is not None]
        answers.append(np.stack([model.certainties(j) for j in judged]))
    assert np.abs(answers[0] - answers[1]).mean() < 0.03


@pytest.mark.parametrize("shape", [(8, 8), (40, 90), (1, 500), (900, 300)])
def test_odd_images(model: LoadedToothConditions, shape: tuple[int, int]) -> None:
    """A tiny or oddly shaped image with a tooth somewhere gives no error."""
    tooth = Detection("tooth", 36, 0.5, (0, 0, max(shape[1] // 3, 1), max(shape[0] // 2, 1)))
    assert isinstance(model.analyze(image_of(np.random.default_rng(0).random(shape, np.float32)), [tooth]), tuple)


def test_it_takes_panoramics_only() -> None:
    """A panoramic is accepted, a chest film is not; both with a reason."""
    header = Dataset()
    header.Modality, header.Rows, header.Columns = "PX", 1504, 2880
    assert ToothConditions().judge(header).accepted
    header.PatientAge = "004Y"
    assert "deciduous" in ToothConditions().judge(header).reason
    header.Modality, header.BodyPartExamined = "DX", "CHEST"
    verdict = ToothConditions().judge(header)
    assert not verdict.accepted
    assert verdict.reason


def test_fast_enough(model: LoadedToothConditions) -> None:
    """All teeth of a full-size panoramic take seconds at most."""
    image, teeth = drawn(9, 1504, 2880)
    started = time.perf_counter()
    model.analyze(image, teeth)
    assert time.perf_counter() - started < 10
