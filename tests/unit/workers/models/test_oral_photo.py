"""Findings on photographs: calibrated, placed, the same for a mirrored picture; refusals instead of wrong answers.

The networks have random weights here; what they find is chance, but what becomes of it is not.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from pydicom.dataset import Dataset

from service.domain.codes import FINDINGS, SITES
from service.domain.errors import ConfigurationError, Declined
from service.web.pictures import PictureKind
from service.web.wrapping import PictureLabel, wrap_picture
from tests.mouths import mouth_picture, photograph_of
from workers import pixels
from workers.inference import TorchRunner
from workers.models.bundle import load_bundle
from workers.models.dropped_in import with_dropped_in
from workers.models.oral_photo import LoadedOralPhoto, OralPhoto, Settings, heat_of, hot_part
from workers.models.photo_view import Window
from workers.models.shipped import KNOWN
from workers.networks.photo_net import PhotoNet
from workers.regions import finding_of
from workers.training.photos.export import Parts, export_bundle

CLASSES = ("caries", "healthy", "ulcer")
SMALL: dict[str, Any] = {"classes": 3, "widths": [8, 8, 8, 8, 8], "blocks": [1, 1, 1, 1]}
WHOLE = Window(0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two small random networks; every class is over its threshold, and everything is a mouth."""
    torch.manual_seed(3)
    parts = Parts(CLASSES, [PhotoNet(**SMALL), PhotoNet(**SMALL)], torch.nn.Conv2d(8, 1, 1), [SMALL, SMALL], {})
    path = tmp_path_factory.mktemp("bundles") / "oral_photo"
    export_bundle(parts, path)
    change(path, thresholds=[0.0, 0.0, 0.0], least_mouth=-99.0)
    return path


def change(bundle: Path, **settings: object) -> None:
    """Alter configs/inference.json; None removes an entry."""
    file = bundle / "configs" / "inference.json"
    document = json.loads(file.read_text(encoding="utf-8")) | settings
    file.write_text(json.dumps({key: value for key, value in document.items() if value is not None}), encoding="utf-8")


def with_settings(bundle: Path, tmp_path: Path, **settings: object) -> Path:
    """A copy of the bundle with other settings."""
    for file in bundle.rglob("*.*"):
        copy = tmp_path / "oral_photo" / file.relative_to(bundle)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    change(tmp_path / "oral_photo", **settings)
    return tmp_path / "oral_photo"


def opened(path: Path) -> LoadedOralPhoto:
    """The model of a bundle, run by torch: a network of two small ones is not worth the conversion."""
    bundle = load_bundle(path)
    runner = TorchRunner(bundle.network, torch.device("cpu"))
    return LoadedOralPhoto(bundle.algorithm, runner, Settings.of(path, bundle.settings))


@pytest.fixture(scope="module")
def model(bundle: Path) -> LoadedOralPhoto:
    """The model with these networks."""
    return opened(bundle)


def test_it_opens_from_its_bundle(bundle: Path, model: LoadedOralPhoto) -> None:
    """The usual way to load it gives the same answers."""
    image = photograph_of(mouth_picture())
    usual = OralPhoto(bundle).load("cpu")
    assert usual.algorithm == model.algorithm
    assert [d.certainty for d in usual.analyze(image)] == pytest.approx(
        [d.certainty for d in model.analyze(image)], abs=2e-3
    )


def test_each_finding_has_a_place_and_a_heat_map(model: LoadedOralPhoto) -> None:
    """Findings belong to the mouth, the most certain first, each with heat and region; "healthy" is none."""
    image = photograph_of(mouth_picture())
    found = model.analyze(image)
    assert sorted(detection.kind for detection in found) == ["caries", "ulcer"]
    assert found[0].certainty >= found[1].certainty
    for detection in found:
        assert detection.kind in FINDINGS
        assert detection.site in SITES
        assert detection.heat is not None
        assert (detection.heat.min(), detection.heat.max()) == (0, 1)
        finding = finding_of(detection, image)
        assert finding.region is not None
        assert finding.heat is not None
        x0, y0, x1, y1 = finding.region.box
        assert 0 <= x0 < x1 <= 300
        assert 0 <= y0 < y1 <= 200


@pytest.mark.parametrize("shape", [(200, 300), (120, 290), (300, 210)])
def test_a_mirrored_photograph_gives_the_mirrored_answer(model: LoadedOralPhoto, shape: tuple[int, int]) -> None:
    """The same findings with the same certainty, heat and regions on the other side."""
    picture = mouth_picture(*shape)
    plain = {found.kind: found for found in model.analyze(photograph_of(picture))}
    mirrored = {found.kind: found for found in model.analyze(photograph_of(np.ascontiguousarray(picture[:, ::-1])))}
    assert plain.keys() == mirrored.keys()
    for kind, found in plain.items():
        other = mirrored[kind]
        assert other.certainty == pytest.approx(found.certainty, abs=0.01)
        assert found.heat is not None
        assert other.heat is not None
        np.testing.assert_allclose(other.heat, found.heat[:, ::-1], atol=0.1)


def test_only_what_is_over_its_threshold_is_said(bundle: Path, tmp_path: Path) -> None:
    """A class below its threshold is not reported; with none above, nothing is."""
    image = photograph_of(mouth_picture())
    some = opened(with_settings(bundle, tmp_path / "a", thresholds=[2.0, 0.0, 0.0]))
    assert [found.kind for found in some.analyze(image)] == ["ulcer"]
    none = opened(with_settings(bundle, tmp_path / "b", thresholds=[2.0, 0.0, 2.0]))
    assert none.analyze(image) == ()


def test_certainties_follow_the_calibration(bundle: Path, tmp_path: Path) -> None:
    """The certainty is the logistic curve of the bundle at the logit."""
    path = with_settings(bundle, tmp_path, slopes=[0.0, 1.0, 0.0], offsets=[0.0, 0.0, float(np.log(3))])
    found = {d.kind: d.certainty for d in opened(path).analyze(photograph_of(mouth_picture()))}
    assert found == {"ulcer": 0.75, "caries": 0.5}


def test_no_mouth_no_findings(bundle: Path, tmp_path: Path, model: LoadedOralPhoto) -> None:
    """What has no colours, is dark, or shows no mouth in the eyes of the network is declined with the reason."""
    with pytest.raises(Declined, match="too dark"):
        model.analyze(photograph_of(mouth_picture() * np.float32(0.1)))
    grey = photograph_of(mouth_picture())
    with pytest.raises(Declined, match="no colours"):
        model.analyze(type(grey)(grey.pixels, Dataset(), flipped_x=False, flipped_y=False, notes=()))
    strict = opened(with_settings(bundle, tmp_path, least_mouth=99.0))
    with pytest.raises(Declined, match="no mouth is seen"):
        strict.analyze(photograph_of(mouth_picture()))


@pytest.mark.parametrize(
    "settings",
    [{"classes": None}, {"thresholds": [0.5]}, {"canvas": "large"}, {"mean": [0.5]}, {"least_mouth": None}],
)
def test_odd_settings_name_the_bundle(bundle: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    """A bundle whose settings do not fit is a configuration error that names it."""
    path = with_settings(bundle, tmp_path, **settings)
    with pytest.raises(ConfigurationError, match="oral_photo"):
        OralPhoto(path).load("cpu")


def test_without_weights_it_declines(bundle: Path, tmp_path: Path) -> None:
    """Where no bundle is installed a photograph is refused with what can be done; with one it is accepted."""
    header = Dataset()
    header.SOPClassUID, header.Modality = "1.2.840.10008.5.1.4.1.1.77.1.4", "XC"
    assert OralPhoto(bundle).judge(header).accepted
    verdict = OralPhoto(tmp_path / "nothing").judge(header)
    assert not verdict.accepted
    assert "dentgate train photos" in verdict.reason


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_uploaded_photograph_is_read(bundle: Path, model: LoadedOralPhoto, form: str) -> None:
    """A picture from a browser, of which nobody said what it shows, is taken as a photograph and read in colour."""
    picture, file = mouth_picture(), io.BytesIO()
    Picture.fromarray(np.round(picture * 255).astype(np.uint8)).save(file, form, quality=95)
    label = PictureLabel(PictureKind.AUTOMATIC, "P1", "Doe", "Jane", "", "2.25.1", "2.25.2")
    image = pixels.load(io.BytesIO(wrap_picture(file.getvalue(), label)))
    assert OralPhoto(bundle).judge(image.header).accepted
    plain = {found.kind: found.certainty for found in model.analyze(photograph_of(picture))}
    assert {found.kind: found.certainty for found in model.analyze(image)} == pytest.approx(plain, abs=0.03)


def test_a_dropped_in_bundle_serves_where_none_ships(bundle: Path) -> None:
    """A site that trained its own weights, or was handed some, puts them into its folder of bundles."""
    (model,) = with_dropped_in((), bundle.parent, KNOWN)
    header = Dataset()
    header.SOPClassUID, header.Modality = "1.2.840.10008.5.1.4.1.1.77.1.4", "XC"
    assert isinstance(model, OralPhoto)
    assert model.judge(header).accepted


def test_the_hot_part_is_where_the_heat_is() -> None:
    """Heat in one corner gives a region there, in pixels of a picture of any size; no lesser spot elsewhere."""
    maps = np.zeros((8, 12), np.float32)
    maps[1:3, 8:10], maps[6, 1] = 4, 3
    for shape in ((200, 300), (31, 40), (3000, 4000)):
        heat = heat_of([(WHOLE, maps)], shape)
        (x0, y0, x1, y1), mask = hot_part(heat, shape)
        assert mask.shape == (y1 - y0, x1 - x0)
        assert mask.any()
        assert 0.6 < x0 / shape[1] < 0.75 < x1 / shape[1] < 0.95
        assert 0.05 < y0 / shape[0] < 0.25 < y1 / shape[0] < 0.55


def test_even_heat_is_everywhere() -> None:
    """Where no part spoke more than another there is no heat, and the region is the picture."""
    heat = heat_of([(WHOLE, np.ones((8, 12), np.float32))], (80, 120))
    assert not heat.any()
    box, mask = hot_part(heat, (80, 120))
    assert box == (0, 0, 120, 80)
    assert mask.all()
