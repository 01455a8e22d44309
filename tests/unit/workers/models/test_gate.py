"""The gate: refuses drawn bad cases with a reason, lets real pictures through."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from pydicom.dataset import Dataset

from workers.models import gate
from workers.pixels import Image
from workers.regions import Detection
from workers.training.phantom import panoramic_phantom

SETS = (
    "fracture_multiregion593", "oral_photos", "pano_conditions655", "pano_fdi_ufba425", "scoliosis_aasce609",
    "scoliosis_fraiwan",
)  # fmt: skip
DATA = os.environ.get("DENTGATE_TEST_DATA", "")  # noqa: TID251 - names real images that cannot be committed
Plane = NDArray[np.float32]


def image_of(pixels: NDArray[Any], modality: str = "PX") -> Image:
    """An image for models from grey (rows, columns) or colour (rows, columns, 3), 0 to 1."""
    header = Dataset()
    header.Modality = modality
    values = pixels.astype(np.float32)
    if values.ndim == 2:
        return Image(values, header, flipped_x=False, flipped_y=False, notes=())
    return Image(values.mean(2), header, flipped_x=False, flipped_y=False, notes=(), colour=values)


def phantom() -> Plane:
    """A good panoramic."""
    pixels = panoramic_phantom(5, rows=376, columns=720).pixels
    scaled: Plane = (pixels / pixels.max()).astype(np.float32)
    return scaled


def page(lines: int, *, picture: bool = False) -> Plane:
    """A page of text, black on white."""
    drawn = Picture.new("L", (850, 1100), 255)
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(16)
    for line in range(lines):
        draw.text(
            (60, 40 + 20 * line), "Findings of the examination of the upper and lower jaw, tooth by tooth", 0, font
        )
    if picture:
        noise = np.random.default_rng(1).normal(110, 30, (300, 500)).clip(0, 255).astype(np.uint8)
        drawn.paste(Picture.fromarray(noise), (150, 720))
    grey: Plane = np.asarray(drawn, np.float32) / np.float32(255)
    return grey


def photograph() -> NDArray[Any]:
    """Gums and teeth in colour."""
    y, x = np.mgrid[:200, :300] / 200
    teeth = (np.abs(y - 0.5) < 0.2) & (np.sin(x * 30) > -0.6)
    colours = np.where(teeth[..., None], [0.9, 0.85, 0.75], [0.75, 0.35, 0.35])
    shaded: NDArray[Any] = colours * (0.7 + 0.3 * y[..., None])
    return shaded


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((200, 400)), "too dark"),
        (phantom() * 0.15, "too dark"),
        (np.full((200, 400), 0.6), "nearly blank"),
        (0.5 + 0.1 * phantom(), "nearly blank"),
        (phantom()[:20], "too small"),
        (page(40), "a page"),
        (1 - page(40), "a page"),
        (page(30, picture=True), "a page of text"),
        (photograph(), "a colour picture"),
    ],
    ids=["black", "dark", "flat", "faint", "small", "page", "inverse-page", "page-with-picture", "photograph-as-px"],
)
def test_bad_pictures_are_refused(pixels: NDArray[Any], reason: str) -> None:
    """Each gets the reason that a person would give."""
    assert reason in gate.refuse(image_of(pixels))


def test_good_pictures_pass() -> None:
    """A panoramic, a brighter and a darker one, one in grey RGB, and a photograph that says that it is one."""
    good = phantom()
    for pixels in (good, good**0.5, good**2, 0.4 * good):
        assert gate.refuse(image_of(pixels)) == ""
    assert gate.refuse(image_of(np.repeat(good[..., None], 3, 2))) == ""
    assert gate.refuse(image_of(photograph(), "XC")) == ""


def tooth(fdi: int, box: tuple[int, int, int, int]) -> Detection:
    """A found tooth."""
    return Detection("tooth", fdi, 0.9, box)


@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_a_film_on_a_large_ground_is_no_page(grey: float) -> None:
    """A film in the middle of a picture seven times as high and as wide, black or white around it, is not refused."""
    film = phantom()
    rows, columns = film.shape[:2]
    around = ((3 * rows, 3 * rows), (3 * columns, 3 * columns))
    assert gate.refuse(image_of(np.pad(film, around, constant_values=grey))) == ""


def test_an_arch_that_is_cut_off() -> None:
    """Teeth inside: nothing; one at the edge: a note; three: the image is not read."""
    inside = tooth(36, (20, 20, 40, 60))
    left, right, top = tooth(48, (0, 20, 30, 60)), tooth(38, (280, 20, 300, 60)), tooth(11, (150, 0, 170, 40))
    assert gate.judge_arch([inside], (200, 300)) == ("", ())
    assert gate.judge_arch([inside, left], (200, 300)) == ("", (gate.NOTE_EDGE,))
    refused, _ = gate.judge_arch([inside, left, right, top], (200, 300))
    assert "3 teeth" in refused


def test_no_teeth_is_no_answer() -> None:
    """Where nothing looks like a tooth the image is not read; a panoramic must show a clear one, a film need not."""
    sure, doubtful = (Detection("tooth", 36, certainty, (20, 20, 40, 60)) for certainty in (0.77, 0.45))
    for panoramic in (True, False):
        assert gate.judge_teeth([], panoramic=panoramic) == gate.NO_TEETH
        assert gate.judge_teeth([Detection("implant", 36, 0.9)], panoramic=panoramic) == gate.NO_TEETH
        assert gate.judge_teeth([doubtful, sure], panoramic=panoramic) == ""
    assert gate.judge_teeth([doubtful, doubtful], panoramic=True) == gate.NO_CLEAR_TEETH
    assert gate.judge_teeth([doubtful], panoramic=False) == ""


def test_the_limits_are_part_of_the_identity() -> None:
    """Other limits are another algorithm, so that a refusal of before is not taken for one of now."""
    assert len(gate.ALGORITHM.weights_sha256) == 64
    assert not gate.ALGORITHM.research


@pytest.mark.skipif(not DATA, reason="DENTGATE_TEST_DATA names no folder of real images")
@pytest.mark.parametrize("name", SETS)
def test_real_pictures_pass(name: str) -> None:
    """Fewer than one in a hundred images of each real set is refused."""
    folder = Path(DATA) / name
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        files = [folder / row["file"] for row in csv.DictReader(file)]
    refused = 0
    for path in files:
        with Picture.open(path) as opened:
            photo = name == "oral_photos"
            pixels = np.asarray(opened.convert("RGB" if photo else "L"), np.float32) / 255
        refused += bool(gate.refuse(image_of(pixels, "XC" if photo else "DX")))
    assert refused < len(files) / 100, f"{refused} of {len(files)}"
