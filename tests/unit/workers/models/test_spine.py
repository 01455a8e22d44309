"""The spine model: which images it takes, and what it says of drawn ones. Weights are stood in for by drawn outputs."""

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset
from scipy.special import logit

from service.domain.codes import FINDINGS, MEASUREMENTS, SITES
from service.domain.errors import ConfigurationError, Declined
from service.domain.finding import Algorithm
from workers.models.bundle import BUNDLES
from workers.models.cobb import LEVELS, CurveType
from workers.models.fit_for_spines import pixel_shape
from workers.models.spine import LoadedSpine, Settings, Spine
from workers.networks.spine_net import OUTPUTS
from workers.pixels import NOTE_ORIENTATION, Image
from workers.training.spine.phantom import SpinePhantom, spine_phantom
from workers.training.spine.targets import dense_targets

DATA = os.environ.get("DENTGATE_TEST_DATA", "")  # noqa: TID251 - names real images that cannot be committed
CANVAS = (576, 192)
ALGORITHM = Algorithm("spine_landmarks", "0.0.0", "0" * 64, "Dentgate", research=True)
SETTINGS = Settings(
    canvas=CANVAS,
    mean=0.45,
    deviation=0.25,
    direct_share=0.5,
    angle_gain=1.0,
    vertebra_certainty=(1.0, 0.5, 1.0),
    curve_certainty=(1.0, 0.2, 0.3),
    uncertain_below=0.75,
)
DOUBLE = 18 * np.cos(2 * np.pi * np.arange(17) / 16)
SINGLE = 16 * np.cos(np.pi * np.arange(17) / 16)


class Drawn:
    """Stands for the network: says what a perfect one would say of a film, whatever part of it is shown."""

    engine = "drawn"

    def __init__(self, phantom: SpinePhantom, levels: slice = slice(None)) -> None:
        """``levels``: of the vertebrae that are to be seen."""
        self.film, self.corners = phantom.pixels.shape, phantom.corners[levels]
        self.looks = 0

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(2, 1, rows, columns), plain and mirrored, to what is drawn in the frame of the whole film.

        The second look is told from the first by the call; its frame is computed as the model does.
        """
        low, high = np.zeros(2), np.array([self.film[1], self.film[0]], float)
        if self.looks:
            low, high = self.corners.min((0, 1)), self.corners.max((0, 1))
            rim = 0.07 * (high[1] - low[1])
            low, high = low - rim, high + rim
        self.looks += 1
        scale = max((high[1] - low[1]) / CANVAS[0], (high[0] - low[0]) / CANVAS[1])
        placed = (self.corners - (low + high) / 2) / scale + np.array([CANVAS[1], CANVAS[0]]) / 2
        mirrored = placed[:, [1, 0, 3, 2]] * [-1, 1] + [CANVAS[1], 0]
        assert batch.shape == (2, 1, *CANVAS)
        return np.stack([_output(placed), _output(mirrored)])


def _output(corners: NDArray[np.floating]) -> NDArray[np.float32]:
    targets = dense_targets(corners.astype(np.float32), CANVAS)
    heats = logit(np.clip(targets.heats.numpy(), 0.002, 0.98))
    return np.concatenate([heats, targets.ways.numpy(), targets.tilt.numpy()]).astype(np.float32)


def image_of(pixels: NDArray[np.uint8]) -> Image:
    """An oriented image."""
    plane = pixels.astype(np.float32) / np.float32(255)
    return Image(pixels=plane, header=Dataset(), flipped_x=False, flipped_y=False, notes=())


def read(
    tilts: NDArray[np.float64], levels: slice = slice(None), settings: Settings = SETTINGS
) -> tuple[SpinePhantom, tuple[Any, ...]]:
    """What the model says of a drawn spine with these tilts."""
    phantom = spine_phantom(7, tilts)
    if levels.stop:  # the film ends below the last of them
        lowest = phantom.corners[levels.stop - 1, :, 1].max()
        phantom = SpinePhantom(phantom.pixels[: int(lowest) + 4], phantom.corners)
    model = LoadedSpine(ALGORITHM, Drawn(phantom, levels), settings)
    return phantom, model.analyze(image_of(phantom.pixels))


def test_normal_spine() -> None:
    """Of a straight spine the 17 vertebrae are reported by level, and nothing else."""
    phantom, found = read(np.zeros(17))
    assert [d.kind for d in found] == ["vertebra"] * 17
    assert [d.site for d in found] == list(LEVELS)
    for detection, corners in zip(found, phantom.corners, strict=True):
        x0, y0, x1, y1 = detection.box
        assert (x0, y0) == pytest.approx(corners.min(0), abs=4)
        assert (x1, y1) == pytest.approx(corners.max(0), abs=4)
        assert detection.mask.shape == (y1 - y0, x1 - x0)
        assert detection.mask.mean() > 0.7
        assert 0 < detection.certainty < 1
        assert detection.measurements == ()


def test_pixels_that_are_not_square() -> None:
    """A film whose pixels are half as tall as wide gives the angles of the spine, and its corners in its own pixels."""
    phantom = spine_phantom(7, SINGLE)
    usual = image_of(phantom.pixels)
    oblong = image_of(phantom.pixels.repeat(2, axis=1))
    for keyword, sides in (("ImagerPixelSpacing", ["0.2", "0.1"]), ("PixelAspectRatio", ["2", "1"])):
        oblong.header.clear()
        setattr(oblong.header, keyword, sides)
        first, second = (
            LoadedSpine(ALGORITHM, Drawn(seen), SETTINGS).analyze(image)
            for seen, image in ((phantom, usual), (doubled(phantom), oblong))
        )
        assert [d.kind for d in first] == [d.kind for d in second]
        assert second[0].measurements[0].value == pytest.approx(first[0].measurements[0].value, abs=1.0)
        for one, other in zip(first, second, strict=True):
            assert one.box is not None
            assert other.box == pytest.approx(np.multiply(one.box, [2, 1, 2, 1]), abs=4)


def doubled(phantom: SpinePhantom) -> SpinePhantom:
    """The film of twice the size in both directions, as it is shown to the network."""
    return SpinePhantom(phantom.pixels.repeat(2, axis=0).repeat(2, axis=1), phantom.corners * 2)


@pytest.mark.parametrize("sides", [None, ["0.15", "0.15"], ["0.15"], ["odd", "1"], ["0", "1"], ["9", "1"]])
def test_odd_spacing_says_nothing(sides: list[str] | None) -> None:
    """Square, missing and implausible pixels count as square."""
    ds = Dataset()
    if sides is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of what is no number
            ds.add_new(0x00181164, "LO" if "odd" in sides else "DS", sides)
    assert pixel_shape(ds) == 1.0


def test_double_curve() -> None:
    """A double is two findings with their angles, the larger first, each over its own vertebrae, both flagged."""
    phantom, found = read(DOUBLE)
    curves = [d for d in found if d.kind == "scoliosis"]
    assert [d.measurements[0].value for d in curves] == pytest.approx([36.0, 36.0], abs=3.0)
    assert all("double-curve" in d.flags for d in curves)
    assert all(d.measurements[0].kind == "cobb-angle" for d in curves)
    upper, lower = sorted(curves, key=lambda d: d.box[1])
    assert upper.site == "thoracic-spine"
    assert lower.site in {"thoracolumbar-spine", "lumbar-spine"}
    assert upper.box[1] == pytest.approx(phantom.corners[0].min(0)[1], abs=5)
    assert lower.box[3] == pytest.approx(phantom.corners[-1].max(0)[1], abs=5)
    assert len([d for d in found if d.kind == "vertebra"]) == 17


def test_single_curve() -> None:
    """A single curve is one finding that names its ends, its apex and the side of the image to which it bulges."""
    _, found = read(SINGLE)
    (curve,) = [d for d in found if d.kind == "scoliosis"]
    assert curve.measurements[0].value == pytest.approx(32.0, abs=3.0)
    assert "single-curve" in curve.flags
    assert "from-T1-to-L5" in curve.flags
    assert "convex-to-left-of-image" in curve.flags
    assert any(flag.startswith("apex-T") for flag in curve.flags)


def test_the_side_is_that_of_the_stored_image() -> None:
    """Of a film that was mirrored for the model, the bulge is told as the stored image shows it, like the outlines."""
    phantom = spine_phantom(7, SINGLE)
    image = replace(image_of(phantom.pixels), flipped_x=True)
    (curve, *_) = LoadedSpine(ALGORITHM, Drawn(phantom), SETTINGS).analyze(image)
    assert "convex-to-right-of-image" in curve.flags


@pytest.mark.parametrize(("least", "curves"), [(24.0, 1), (40.0, 0)])
def test_a_bundle_says_from_which_angle_a_spine_is_scoliotic(least: float, curves: int) -> None:
    """A curve that is measured smaller than the bundle's limit is no finding; the vertebrae are."""
    _, found = read(SINGLE, settings=replace(SETTINGS, scoliosis_from=least))
    assert sum(d.kind == "scoliosis" for d in found) == curves
    assert sum(d.kind == "vertebra" for d in found) == 17


def test_everything_has_a_code() -> None:
    """Every kind, site and measurement that is reported has a code."""
    _, found = read(DOUBLE)
    assert {d.kind for d in found} == set(Spine.looks_for) <= set(FINDINGS)
    assert {d.site for d in found} <= set(SITES)
    assert {m.kind for d in found for m in d.measurements} <= set(MEASUREMENTS)


def test_cut_off_spine() -> None:
    """Where some vertebrae are missing below, levels count from T1 and are flagged as uncertain."""
    _, found = read(DOUBLE, slice(0, 13))
    vertebrae = [d for d in found if d.kind == "vertebra"]
    assert [d.site for d in vertebrae] == list(LEVELS[: len(vertebrae)])
    assert len(vertebrae) < 17
    assert all("level-uncertain" in d.flags for d in found)


def test_no_spine() -> None:
    """Where no spine is seen the model declines and says how many vertebrae it found."""

    def blind(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        output = np.zeros((len(batch), OUTPUTS, CANVAS[0] // 2, CANVAS[1] // 2), np.float32)
        output[:, :5] = -7
        return output

    blind.engine = "blind"  # type: ignore[attr-defined]
    model = LoadedSpine(ALGORITHM, blind, SETTINGS)  # type: ignore[arg-type]
    with pytest.raises(Declined, match="no whole spine is seen in it \\(0 vertebrae found, 17 expected\\)"):
        model.analyze(image_of(np.zeros((300, 100), np.uint8)))


def test_vertebrae_that_are_too_crowded_are_none() -> None:
    """A lateral film of a few large vertebrae, into which seventeen were read, is no spine from the front."""
    phantom = spine_phantom(7, SINGLE)
    column = LoadedSpine(ALGORITHM, Drawn(phantom), SETTINGS).see(image_of(phantom.pixels).pixels)
    assert LoadedSpine.refusal(column) == ""
    assert "too crowded" in LoadedSpine.refusal(replace(column, corners=column.corners * [1, 0.4]))


@pytest.mark.parametrize(("notes", "declined"), [((NOTE_ORIENTATION,), True), ((), False)])
def test_upside_down(monkeypatch: pytest.MonkeyPatch, notes: tuple[str, ...], declined: bool) -> None:  # noqa: FBT001 - a test parameter
    """A spine that is seen better the other way up is not read, unless the film says that it is upright."""
    phantom = spine_phantom(7, SINGLE)
    image = replace(image_of(phantom.pixels), notes=notes)
    model = LoadedSpine(ALGORITHM, Drawn(phantom), SETTINGS)
    clear = model.see(image.pixels)
    faint = replace(clear, vertebrae=tuple(replace(v, seen=0.6 * v.seen) for v in clear.vertebrae))
    monkeypatch.setattr(model, "see", lambda way: faint if np.array_equal(way, image.pixels) else clear)
    if declined:
        with pytest.raises(Declined, match="upside down"):
            model.analyze(image)
    else:
        assert model.analyze(image)


@pytest.mark.skipif(not DATA, reason="DENTGATE_TEST_DATA names no folder of real images")
def test_real_spines_upside_down() -> None:
    """Of real films that do not say where up is those upright are read, those upside down are not."""
    model, folder = Spine().load("cpu"), Path(DATA) / "scoliosis_aasce609" / "images"
    for name in ("tr_000.jpg", "tr_183.jpg", "tr_329.jpg"):
        with Picture.open(folder / name) as opened:
            pixels = np.asarray(opened.convert("L"))
        assert model.analyze(replace(image_of(pixels), notes=(NOTE_ORIENTATION,)))
        with pytest.raises(Declined):
            model.analyze(replace(image_of(pixels[::-1].copy()), notes=(NOTE_ORIENTATION,)))


@pytest.mark.skipif(not DATA, reason="DENTGATE_TEST_DATA names no folder of real images")
def test_a_real_lateral_film_is_declined() -> None:
    """A lateral film of the lumbar spine, in which the network sees a column of faint vertebrae, gets no angles."""
    with Picture.open(Path(DATA) / "scoliosis_fraiwan" / "images" / "s0289.jpg") as opened:
        pixels = np.asarray(opened.convert("L"))
    with pytest.raises(Declined, match="no whole spine"):
        Spine().load("cpu").analyze(image_of(pixels))


def test_certainty_falls_at_the_border() -> None:
    """The certainty of a type is lower where the angles are near another type."""
    phantom = spine_phantom(7, SINGLE)
    model = LoadedSpine(ALGORITHM, Drawn(phantom), SETTINGS)
    column = model.see(image_of(phantom.pixels).pixels)
    near = model.measure(column, 0.5, 0.35)
    assert column.type is near.type is CurveType.SINGLE
    assert near.features()[2] < column.features()[2]


HEADER = {"Modality": "DX", "Rows": 2400, "Columns": 1000, "BodyPartExamined": "WSPINE"}


def header(**changed: object) -> Dataset:
    """A data set of a spine film with some values changed; None removes one."""
    ds = Dataset()
    for keyword, value in (HEADER | changed).items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"BodyPartExamined": "SPINE", "ViewPosition": "PA"},
        {"BodyPartExamined": "TLSPINE", "ViewPosition": "AP", "Modality": "CR"},
        {"BodyPartExamined": None, "StudyDescription": "Scoliosis series"},
        {"BodyPartExamined": None, "Modality": "OT", "SeriesDescription": "spine ap"},
        {"BodyPartExamined": "CHEST", "StudyDescription": "whole spine standing"},
    ],
)
def test_accepted(changed: dict[str, object]) -> None:
    """Films of the spine are taken, with the reason."""
    verdict = Spine().judge(header(**changed))
    assert verdict.accepted, verdict.reason
    assert "1000 x 2400" in verdict.reason


def test_a_narrow_film_is_taken() -> None:
    """Spines are cut out narrowly: six times as tall as wide is still one."""
    assert Spine().judge(header(Rows=640, Columns=104)).accepted


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"BodyPartExamined": "CHEST"}, "neither body part nor description"),
        ({"BodyPartExamined": None}, "neither body part nor description"),
        ({"BodyPartExamined": "LSPINE"}, "part of the spine"),
        ({"BodyPartExamined": None, "StudyDescription": "XR cervical spine"}, "part of the spine"),
        ({"ViewPosition": "LL"}, "its view is ll"),
        ({"SeriesDescription": "Spine lateral"}, "its view is lateral"),
        ({"Modality": "MR"}, "modality MR"),
        ({"Modality": "PX"}, "modality PX"),
        ({"Modality": "XC"}, "photograph"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"NumberOfFrames": 5}, "several frames"),
        ({"Rows": 1000}, "its shape"),
        ({"Rows": 9000}, "its shape"),
        ({"PixelAspectRatio": ["1", "3"]}, "its shape"),
        ({"Rows": None}, "no image size"),
    ],
)
def test_refused(changed: dict[str, object], reason: str) -> None:
    """What is no film of the whole spine from the front or the back is refused, with the reason."""
    verdict = Spine().judge(header(**changed))
    assert not verdict.accepted
    assert reason in verdict.reason


@pytest.fixture
def settings() -> dict[str, object]:
    """configs/inference.json as it should be."""
    return {
        "canvas": [576, 192], "mean": 0.4, "deviation": 0.2, "direct_share": 0.5, "angle_gain": 1,
        "vertebra_certainty": [1, 2, 3], "curve_certainty": [1, 2, 3], "uncertain_below": 0.7,
    }  # fmt: skip


@pytest.mark.parametrize(
    "spoil",
    [lambda s: s.pop("canvas"), lambda s: s.update(mean="dark"), lambda s: s.update(curve_certainty=[1, 2])],
)
def test_odd_settings(settings: dict[str, object], spoil: Callable[[dict[str, object]], object]) -> None:
    """A bundle whose settings lack something or are no numbers is refused by name."""
    spoil(settings)
    with pytest.raises(ConfigurationError, match="spine_landmarks"):
        Settings.of(BUNDLES / Spine.name, settings)
