"""The shipped tooth model, end to end on drawn panoramics and on images without teeth."""

import contextlib
import csv
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset
from scipy import ndimage

from service.domain.errors import Declined
from workers.models.dentition import MIXED
from workers.models.panoramic_teeth import LoadedPanoramicTeeth, PanoramicTeeth
from workers.models.sight import unmirror
from workers.pixels import NOTE_ORIENTATION, NOTE_WINDOW, Image
from workers.training.phantom import Phantom, panoramic_phantom
from workers.training.teeth.scoring import score_image, summary, truths_of

DATA = os.environ.get("DENTGATE_TEST_DATA", "")  # noqa: TID251 - names real images that cannot be committed


@pytest.fixture(scope="module")
def model() -> LoadedPanoramicTeeth:
    """The model as a worker loads it on a CPU."""
    return PanoramicTeeth().load("cpu")


def image_of(pixels: NDArray[np.float32]) -> Image:
    """An oriented image."""
    return Image(pixels=pixels, header=Dataset(), flipped_x=False, flipped_y=False, notes=())


def phantom_image(phantom: Phantom) -> Image:
    """A drawn panoramic as the pixel reader hands it on."""
    return image_of(phantom.pixels.astype(np.float32) / np.float32(4095))


def test_phantoms(model: LoadedPanoramicTeeth) -> None:
    """Of phantoms that took no part in training, at least nine of ten teeth are found with the right number."""
    scores = []
    for seed in range(300, 306):
        phantom = panoramic_phantom(seed, rows=752, columns=1440)
        scores.append(score_image(model.analyze(phantom_image(phantom)), truths_of(phantom.labels), str(seed)))
    figures = summary(scores)
    assert figures["f1"] >= 0.9
    assert figures["duplicates"] == 0


@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_a_wide_border_hides_no_teeth(model: LoadedPanoramicTeeth, grey: float) -> None:
    """A film in the middle of a much larger even picture (a scan, a print layout) gives the teeth of the film."""
    plain = phantom_image(panoramic_phantom(300, rows=752, columns=1440))
    alone = [detection.tooth for detection in model.analyze(plain)]
    found = model.analyze(image_of(np.pad(plain.pixels, 600, constant_values=grey)))
    assert len(alone) >= 24
    assert [detection.tooth for detection in found] == alone


def test_full_size_phantom(model: LoadedPanoramicTeeth) -> None:
    """At the size of a real device each tooth has a certainty, a tight box and a mask; missing teeth are missing."""
    phantom = panoramic_phantom(42, missing=(16, 25, 36, 46))
    found = model.analyze(phantom_image(phantom))
    numbers = {detection.tooth for detection in found}
    assert not numbers & {16, 25, 36, 46}
    assert len(numbers) == len(found) >= 26
    for detection in found:
        assert detection.box is not None
        assert detection.mask is not None
        x0, y0, x1, y1 = detection.box
        assert 0 <= x0 < x1 <= 2880
        assert 0 <= y0 < y1 <= 1504
        assert detection.mask.shape == (y1 - y0, x1 - x0)
        assert detection.mask[0].any()
        assert detection.mask[:, -1].any()
        assert 0 < detection.certainty <= 1
        assert detection.kind == "tooth"


def header_of(**values: str) -> Dataset:
    """The header of a panoramic with some values."""
    header = Dataset()
    for keyword, value in {"Modality": "PX", "Rows": 752, "Columns": 1440, **values}.items():
        setattr(header, keyword, value)
    return header


def test_no_permanent_teeth_no_analysis() -> None:
    """A child too young for permanent teeth is refused with the reason; without an age nobody is."""
    young = PanoramicTeeth().judge(header_of(PatientBirthDate="20210301", StudyDate="20260228"))
    assert not young.accepted
    assert "deciduous" in young.reason
    assert PanoramicTeeth().judge(header_of(PatientAge="030Y")).accepted
    assert PanoramicTeeth().judge(header_of()).accepted


def test_mixed_dentition_is_flagged(model: LoadedPanoramicTeeth) -> None:
    """At an age of mixed dentition each number carries the remark that deciduous teeth are not told apart."""
    pixels = phantom_image(panoramic_phantom(300, rows=752, columns=1440)).pixels
    child, adult = (
        Image(pixels, header_of(PatientAge=age), flipped_x=False, flipped_y=False, notes=()) for age in ("009Y", "040Y")
    )
    assert all(MIXED in detection.flags for detection in model.analyze(child))
    assert not any(MIXED in detection.flags for detection in model.analyze(adult))


def turned_over(image: Image, note: str) -> Image:
    """The same upside down, with what the pixel reader notes."""
    return replace(image, pixels=np.ascontiguousarray(image.pixels[::-1]), notes=(note,))


def test_upside_down(model: LoadedPanoramicTeeth) -> None:
    """A film that does not say where up is and lies upside down is not read; upright, or where it says so, it is."""
    upright = phantom_image(panoramic_phantom(300, rows=752, columns=1440))
    with pytest.raises(Declined, match="upside down"):
        model.analyze(turned_over(upright, NOTE_ORIENTATION))
    assert model.analyze(turned_over(upright, NOTE_WINDOW))
    assert model.analyze(replace(upright, notes=(NOTE_ORIENTATION,)))


@pytest.mark.skipif(not DATA, reason="DENTGATE_TEST_DATA names no folder of real images")
def test_real_films_upside_down(model: LoadedPanoramicTeeth) -> None:
    """Of twelve real films that do not say where up is nearly all are read upright, and nearly none upside down."""
    folder = Path(DATA) / "pano_conditions655"
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        films = [folder / row["file"] for row in csv.DictReader(file) if row["split"] == "val"][::9]
    read = {True: 0, False: 0}
    for path in films:
        with Picture.open(path) as opened:
            pixels = np.asarray(opened.convert("L"), np.float32) / np.float32(255)
        for up in (True, False):
            image = replace(image_of(pixels if up else pixels[::-1]), notes=(NOTE_ORIENTATION,))
            with contextlib.suppress(Declined):
                read[up] += bool(model.analyze(image))
    assert read[True] >= len(films) - 1
    assert read[False] <= len(films) // 4


def noise(rng: np.random.Generator) -> NDArray[np.float32]:
    """White noise."""
    return rng.random((700, 1300), np.float32)


def flat(_rng: np.random.Generator) -> NDArray[np.float32]:
    """Uniform grey."""
    return np.full((700, 1300), 0.5, np.float32)


def clouds(rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth structure of all sizes."""
    plane = sum(ndimage.gaussian_filter(rng.standard_normal((700, 1300)), s) * s for s in (3, 10, 30, 90))
    return np.clip(0.5 + 0.2 * np.asarray(plane), 0, 1).astype(np.float32)


def chest(rng: np.random.Generator) -> NDArray[np.float32]:
    """Two dark lungs, ribs across them, a bright spine and heart."""
    y, x = np.mgrid[:700, :1300] / np.array([700, 1300])[:, None, None]
    plane = 0.6 - 0.4 * sum((((x - c) / 0.17) ** 2 + ((y - 0.5) / 0.4) ** 2 < 1) for c in (0.28, 0.72))
    plane = plane + 0.1 * (np.sin(40 * (y + 0.4 * (x - 0.5) ** 2)) > 0.6) + 0.25 * (abs(x - 0.5) < 0.05)
    return np.asarray(np.clip(plane + 0.03 * rng.standard_normal(plane.shape), 0, 1), np.float32)


def edentulous(_rng: np.random.Generator) -> NDArray[np.float32]:
    """A drawn jaw without a single tooth."""
    everything = [10 * quadrant + number for quadrant in range(1, 5) for number in range(1, 9)]
    return phantom_image(panoramic_phantom(77, rows=752, columns=1440, missing=everything)).pixels


@pytest.mark.parametrize("draw", [noise, flat, clouds, chest, edentulous])
def test_no_teeth_no_findings(
    model: LoadedPanoramicTeeth, draw: Callable[[np.random.Generator], NDArray[np.float32]]
) -> None:
    """Where there are no teeth at most one is seen, and none is called certain."""
    found = model.analyze(image_of(draw(np.random.default_rng(5))))
    assert len(found) <= 1
    assert all(detection.certainty < 0.6 for detection in found)


@pytest.mark.parametrize("shape", [(8, 8), (40, 90), (1, 500), (3000, 300)])
def test_odd_shapes(model: LoadedPanoramicTeeth, shape: tuple[int, int]) -> None:
    """A tiny or oddly shaped image gives no error."""
    assert model.analyze(image_of(np.random.default_rng(0).random(shape, np.float32))) is not None


def test_mirrored_output_turns_back() -> None:
    """Undoing the mirrored look of a mirrored output gives the plain output."""
    rng = np.random.default_rng(1)
    output = rng.standard_normal((36, 4, 6)).astype(np.float32)
    once = 2 * unmirror(np.zeros_like(output), output)
    np.testing.assert_allclose(2 * unmirror(np.zeros_like(output), once), output, atol=1e-6)


def test_fast_enough(model: LoadedPanoramicTeeth) -> None:
    """A full-size panoramic takes seconds at most, not minutes."""
    picture = phantom_image(panoramic_phantom(9))
    started = time.perf_counter()
    model.analyze(picture)
    assert time.perf_counter() - started < 10
