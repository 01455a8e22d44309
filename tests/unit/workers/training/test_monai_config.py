"""MONAI's own tools read our bundles: its ConfigParser builds what gives the gateway's answer for the same file."""

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from service.domain.finding import Algorithm
from tests.builders import as_bytes, xray
from tests.mouths import mouth_picture
from workers.inference import TorchRunner
from workers.models.bundle import BUNDLES, load_bundle
from workers.models.conditions import HEADS, Judged, LoadedToothConditions
from workers.models.conditions import Settings as ConditionSettings
from workers.models.fit_for_intraoral import Told
from workers.models.folder_run import ANSWERS, pictures
from workers.models.image_classifier import ImageClassifier
from workers.models.intraoral_teeth import LoadedIntraoralTeeth
from workers.models.oral_photo import OralPhoto
from workers.models.panoramic_teeth import LoadedPanoramicTeeth
from workers.models.picture_files import is_dicom, read_picture
from workers.models.sight import Settings as SightSettings
from workers.models.sight import Sight
from workers.models.spine import LoadedSpine
from workers.models.spine import Settings as SpineSettings
from workers.models.tooth_crops import Jaws, Place
from workers.networks.convolutions import FourConvolutions
from workers.networks.photo_net import PhotoNet
from workers.networks.spine_net import OUTPUTS as SPINE_OUTPUTS
from workers.networks.tooth_net import OUTPUTS as TOOTH_OUTPUTS
from workers.regions import Detection
from workers.training.images.export import Facts, Serving, export_bundle
from workers.training.images.plan import Plan
from workers.training.monai_config import classifier, conditions, first_look, photos
from workers.training.phantom import panoramic_phantom
from workers.training.photos import export as photo_export
from workers.training.teeth.scoring import truths_of

SHIPPED = sorted(path for path in BUNDLES.iterdir() if path.is_dir())
Floats = np.ndarray[Any, np.dtype[np.float32]]


def parser_of(bundle: Path) -> ConfigParser:
    """MONAI's parser of a bundle, which knows nothing of Dentgate."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    return parser


def by_monai(bundle: Path, **data: object) -> tuple[Floats, Floats]:
    """What the network sees of a file, and what comes out behind the last transform, as MONAI's tools would have it."""
    parser = parser_of(bundle)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", map_location="cpu", weights_only=True))
    seen = parser.get_parsed_content("preprocessing")(data)["image"]
    with torch.inference_mode():
        logits = parser.get_parsed_content("inferer")(seen[None], network)[0]
    post = parser.get_parsed_content("postprocessing") if "postprocessing" in parser else lambda found: found
    return np.asarray(seen), np.asarray(post({"pred": logits})["pred"])


def drawn(folder: Path, rows: int = 150, columns: int = 90) -> Path:
    """A grey picture file with shapes."""
    plane = np.asarray(panoramic_phantom(4, rows=rows, columns=2 * columns).pixels, np.float32)[:, :columns]
    Picture.fromarray((plane / plane.max() * 255).astype(np.uint8)).save(folder / "drawn.png")
    return folder / "drawn.png"


def test_what_the_parts_refer_to_decides(tmp_path: Path) -> None:
    """Colours, exclusive classes, no mirror: numbers stand once, so changing one changes MONAI's answer and ours."""
    plan = Plan(
        ("a", "b", "c"), {"_target_": "workers.networks.convolutions.FourConvolutions", "widths": [4, 4, 8, 8]}, 1.0,
        exclusive=True, size=(48, 32), channels=3, mean=(0.4, 0.5, 0.6), deviation=(0.2, 0.3, 0.2),
    )  # fmt: skip
    torch.manual_seed(0)
    network = FourConvolutions(3, 3, widths=(4, 4, 8, 8)).eval()
    network.fc.weight.data *= 50
    serving = Serving((0.3,) * 3, ((2.0, 0.1), (2.0, -0.3), (2.0, 0.0)), None, mirrored=False)
    export_bundle(network, plan, tmp_path, Facts("n", "t", "d", "x", "y"), serving, {})
    pixels = np.random.default_rng(0).integers(0, 255, (70, 50, 3)).astype(np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "a.png")
    file = tmp_path / "configs" / "inference.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    answers = []
    for change in ({}, {"percentiles": [20, 80]}, {"mean": [0.1, 0.1, 0.1]}, {"exclusive": False}, {"mirrored": True}):
        file.write_text(json.dumps(document | change), encoding="utf-8")
        ours = ImageClassifier(tmp_path, "cpu", "torch").read(read_picture(tmp_path / "a.png")).probabilities
        assert by_monai(tmp_path, image=tmp_path / "a.png")[1] == pytest.approx(ours, abs=1e-4)
        answers.append(tuple(ours.round(5)))
    assert len(set(answers)) == len(answers)


def run_by_monai(bundle: Path, folder: Path, out: Path) -> list[list[str]]:
    """``monai.bundle.run``, as ``python -m monai.bundle run`` calls it; the rows of its table."""
    config = str(bundle / "configs" / "inference.json")
    given = {"bundle_root": str(bundle), "dataset_dir": str(folder)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of configurations in general: they are code
        monai.bundle.run(config_file=config, output_dir=str(out), **given)
        workflow = ConfigWorkflow(config, workflow_type="inference", **given)
    workflow.initialize()
    assert workflow.check_properties() == []
    return list(csv.reader((out / ANSWERS).read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("exclusive", [False, True])
def test_monais_run_gives_the_gateways_probabilities(tmp_path: Path, exclusive: bool) -> None:  # noqa: FBT001 - a case
    """Of a folder of pictures and DICOM files MONAI's own ``run`` writes what the gateway would say of each."""
    architecture = {"_target_": "workers.networks.convolutions.FourConvolutions", "widths": [4, 4, 8, 8]}
    plan = Plan(
        ("a", "b"), architecture, 1.0, exclusive=exclusive, size=(48, 32), channels=1, mean=(0.4,), deviation=(0.2,)
    )
    torch.manual_seed(0)
    network = FourConvolutions(2, 1, widths=(4, 4, 8, 8)).eval()
    network.fc.weight.data *= 50
    serving = Serving((0.3,) * 2, ((2.0, 0.1), (2.0, -0.3)), (1.0, 99.0), mirrored=True)
    bundle, folder = tmp_path / "bundle", tmp_path / "films"
    export_bundle(network, plan, bundle, Facts("n", "t", "d", "x", "y"), serving, {})
    (folder / "below").mkdir(parents=True)
    drawn(folder)
    (folder / "below" / "1.2.3").write_bytes(as_bytes(xray(photometric="MONOCHROME1")))
    (folder / "notes.txt").write_text("no picture")
    table = run_by_monai(bundle, folder, tmp_path / "out")
    assert table[0] == ["file", "a", "b"]
    assert [Path(row[0]).name for row in table[1:]] == ["1.2.3", "drawn.png"]
    model = ImageClassifier(bundle, "cpu", "torch")
    for file, *told in table[1:]:
        assert [float(value) for value in told] == pytest.approx(
            model.read(read_picture(Path(file))).probabilities, abs=1e-4
        )
    with pytest.raises(ConfigurationError, match="--dataset_dir"):
        pictures(str(tmp_path / "out" / "nothing"))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("teeth_panoramic", first_look("Panoramic")),
        ("teeth_intraoral", first_look("Film")),
        ("spine_landmarks", first_look("Spine")),
        ("fracture", classifier()),
        ("tooth_conditions", conditions()),
    ],
)
def test_shipped_bundles_hold_what_an_export_writes(name: str, written: dict[str, Any]) -> None:
    """Nobody has to write a released bundle again for its configuration."""
    document = json.loads((BUNDLES / name / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert document | written == document


def test_a_run_of_a_dense_network_writes_its_maps(tmp_path: Path) -> None:
    """Each film gets a file with what the network says of its first look."""
    (tmp_path / "films").mkdir()
    film = drawn(tmp_path / "films", 400, 200)
    table = run_by_monai(BUNDLES / "spine_landmarks", tmp_path / "films", tmp_path / "out")
    assert table == [["file", "maps"], [str(film), "00000.npy"]]
    seen, maps = by_monai(BUNDLES / "spine_landmarks", image=film)
    assert np.load(tmp_path / "out" / "00000.npy") == pytest.approx(maps, abs=1e-4)
    assert maps.shape[1:] == tuple(side // 2 for side in seen.shape[1:])


def test_photographs_too(tmp_path: Path) -> None:
    """Two looks, mirrored, by two networks: the certainties of the photograph model."""
    torch.manual_seed(3)
    small: dict[str, Any] = {"classes": 3, "widths": [8] * 5, "blocks": [1] * 4}
    networks = [PhotoNet(**small), PhotoNet(**small)]
    parts = photo_export.Parts(("caries", "healthy", "ulcer"), networks, torch.nn.Conv2d(8, 1, 1), [small, small], {})
    photo_export.export_bundle(parts, tmp_path)
    Picture.fromarray((mouth_picture(1, 120, spot=True) * 255).astype(np.uint8)).save(tmp_path / "mouth.png")
    model = OralPhoto(tmp_path).load("cpu")
    seen = model.see(read_picture(tmp_path / "mouth.png"))
    _, certainties = by_monai(tmp_path, image=tmp_path / "mouth.png")
    assert certainties == pytest.approx(model.certainties(seen), abs=1e-4)
    verify(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "mouth.png").rename(tmp_path / "photos" / "mouth.png")
    table = run_by_monai(tmp_path, tmp_path / "photos", tmp_path / "out")
    assert table[0] == ["file", "caries", "healthy", "ulcer"]
    assert [float(value) for value in table[1][1:]] == pytest.approx(certainties, abs=1e-4)


def test_a_dicom_file_is_read_as_the_gateway_reads_it(tmp_path: Path) -> None:
    """A negative seen from behind gives the shipped model's probabilities of the image that the gateway makes of it."""
    ds = xray(photometric="MONOCHROME1")
    ds.PatientOrientation = ["R", "F"]
    file = tmp_path / "1.2.3.4"  # as archives name it
    file.write_bytes(as_bytes(ds))
    assert is_dicom(file)
    upright = read_picture(file)
    model = ImageClassifier(BUNDLES / "fracture", "cpu", "torch")
    assert by_monai(BUNDLES / "fracture", image=file)[1] == pytest.approx(model.read(upright).probabilities, abs=1e-3)
    ds.PatientOrientation = ["L", "F"]
    file.write_bytes(as_bytes(ds))
    assert np.array_equal(read_picture(file), upright[:, ::-1])
    Picture.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3)).astype(np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(ConfigurationError, match=r"c\.png is in colour"):
        parser_of(BUNDLES / "fracture").get_parsed_content("preprocessing").transforms[0]({"image": tmp_path / "c.png"})


def test_a_crop_of_a_tooth_gets_the_certainties_of_the_condition_model(tmp_path: Path) -> None:
    """Panoramic, boxes of the teeth and the mask of one: MONAI's parser gives what the shipped model says of it."""
    phantom = panoramic_phantom(3, rows=376, columns=720)
    Picture.fromarray((phantom.pixels / 4095 * 255).astype(np.uint8)).save(tmp_path / "pano.png")
    teeth = [Detection("tooth", t.tooth, 1.0, t.box, t.mask) for t in truths_of(phantom.labels)]
    bundle = load_bundle(BUNDLES / "tooth_conditions")
    runner = TorchRunner(bundle.network.get_submodule("teeth"), torch.device("cpu"))
    settings = ConditionSettings.of(BUNDLES / "tooth_conditions", bundle.settings)
    model = LoadedToothConditions(bundle.algorithm, runner, runner, settings)
    jaws = Jaws(read_picture(tmp_path / "pano.png"), teeth)
    tooth = teeth[5]
    assert tooth.box is not None
    place = Place(tooth.box, tooth.mask, tooth.tooth)
    judged = Judged(place, tooth, None, model.logits([jaws.crop(place, model.settings.size)])[0])
    boxes = {str(each.tooth): each.box for each in teeth}
    given = {"image": tmp_path / "pano.png", "teeth": boxes, "tooth": tooth.tooth, "mask": tooth.mask}
    seen, certainties = by_monai(BUNDLES / "tooth_conditions", **given)
    assert len(certainties) == len(HEADS)
    assert certainties == pytest.approx(model.certainties(judged), abs=1e-3)
    boxed, _ = by_monai(BUNDLES / "tooth_conditions", **(given | {"mask": None}))
    crop = jaws.crop(Place(tooth.box, None, tooth.tooth), model.settings.size)
    assert boxed[1] == pytest.approx((crop[..., 1] / 255 - 0.3) / 0.4, abs=1e-4)
    assert not np.array_equal(boxed, seen)


@pytest.mark.parametrize("bundle", SHIPPED, ids=lambda path: path.name)
def test_shipped_bundles_pass_monais_check(bundle: Path) -> None:
    """``monai.bundle``'s ``verify_net_in_out`` is content with every bundle that ships, and its ``load`` loads it."""
    verify(bundle)
    with pytest.warns(UserWarning, match="allow list"):
        loaded: Any = monai.bundle.load(bundle.name, bundle_dir=bundle.parent, workflow_type="inference", device="cpu")
    ours = load_bundle(bundle).network.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in loaded.state_dict().items())


def verify(bundle: Path) -> None:
    """MONAI's check of input and output against the metadata; its check of the metadata needs the internet."""
    meta, config = (str(bundle / "configs" / name) for name in ("metadata.json", "inference.json"))
    monai.bundle.verify_net_in_out("network_def", meta_file=meta, config_file=config, device="cpu")


@pytest.mark.parametrize("kind", ["Panoramic", "Film", "Spine"])
def test_dense_networks_get_their_first_look(kind: str, tmp_path: Path) -> None:
    """Of teeth and spines MONAI's parser gives what the gateway shows the network first."""
    file, shown = drawn(tmp_path, *((400, 200) if kind == "Spine" else (150, 260))), list[Floats]()
    canvas, outputs = {"Spine": ((576, 192), SPINE_OUTPUTS)}.get(kind, ((224, 448), TOOTH_OUTPUTS))

    def runner(batch: Floats) -> Floats:
        shown.append(batch[0])
        return np.full((len(batch), outputs, canvas[0] // 2, canvas[1] // 2), -9, np.float32)  # nothing is seen

    runner.engine = "none"  # type: ignore[attr-defined]
    pixels, algorithm = read_picture(file), Algorithm("a", "0", "", "", research=True)
    numbers = {"canvas": list(canvas), "mean": 0.4, "deviation": 0.3}
    sight = Sight(runner, SightSettings(canvas, 0.4, 0.3, (0, 0, 0), (0, 0, 0), 0.5))  # type: ignore[arg-type]
    if kind == "Spine":
        settings = SpineSettings(canvas, 0.4, 0.3, 0.5, 1.0, (0, 0, 0), (0, 0, 0), 0.5)
        LoadedSpine(algorithm, runner, settings).see(pixels)  # type: ignore[arg-type]
    elif kind == "Film":
        LoadedIntraoralTeeth(algorithm, sight).see(pixels, Told())
    else:
        LoadedPanoramicTeeth(algorithm, sight).see(pixels)
    seen = ConfigParser(numbers | first_look(kind)).get_parsed_content("preprocessing")({"image": file})["image"]
    assert np.asarray(seen) == pytest.approx(shown[0], abs=1e-5)


def test_the_transforms_hold_no_numbers_of_their_own() -> None:
    """What the gateway and MONAI could read differently stands once: transforms refer to it."""
    for part in (classifier(), photos(), conditions(), first_look("Spine")):
        assert not set(_numbers(part)) - {1, 3}, "channels of a picture"


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for entry in value.values() for n in _numbers(entry)]
    if isinstance(value, list):
        return [n for entry in value for n in _numbers(entry)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []
