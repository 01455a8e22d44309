"""The transforms of a bundle made with MONAI's tools: understood by name, with the numbers that MONAI itself gives."""

import json
from pathlib import Path
from typing import Any

import monai.networks.blocks
import monai.transforms
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from PIL import Image as Picture

from service.domain.errors import ConfigurationError
from tests.unit.workers.models.foreign_bundle import BRIGHT, bright_network, image_of, make_bundle
from workers.models.foreign import ForeignBundle
from workers.models.foreign_input import ByTransforms, Seen
from workers.models.foreign_steps import read_steps
from workers.models.mapping import Activation, read_mapping
from workers.pixels import Image

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")  # MONAI's LoadImage says so at every start

HAND: dict[str, Any] = {"modality": ["DX"], "channels": {"1": {"finding": "fracture"}}}
LOAD = {"_target_": "LoadImaged", "keys": "image"}
FIRST = {"_target_": "EnsureChannelFirstd", "keys": "image"}
RANGE = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": 0.0, "b_max": 1.0}
SIZED = {"_target_": "Resized", "keys": "image", "spatial_size": [32, 48]}


def t(name: str, **arguments: object) -> dict[str, Any]:
    """A transform of dictionaries, as MONAI's bundles write it."""
    return {"_target_": name, "keys": "image"} | arguments


def bundle(folder: Path, steps: object, mapping: dict[str, Any] = HAND, **more: object) -> Path:
    """A bundle with these transforms between reading a file and the network, and ``more`` in its configuration."""
    path = make_bundle(folder, bright_network(), BRIGHT, mapping)
    config = path / "configs" / "inference.json"
    document = json.loads(config.read_text()) | {"preprocessing": steps} | more
    config.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return path


def compose(*steps: dict[str, Any]) -> dict[str, Any]:
    """MONAI's Compose."""
    return {"_target_": "Compose", "transforms": list(steps)}


def see(path: Path, image: Image) -> Seen:
    """What the gateway shows the network of a bundle."""
    mapping, reading = read_mapping(path, {}), read_steps(path, before=True, after=True)
    assert reading.steps is not None
    return ByTransforms(reading.steps, reading, mapping, path).see(image)


def picture(rows: int = 70, columns: int = 110, *, colour: bool = False) -> np.ndarray[Any, Any]:
    """Any picture of 8 bits."""
    shape = (rows, columns, 3) if colour else (rows, columns)
    return np.random.default_rng(rows).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    "steps",
    [
        [t("ScaleIntensityd"), SIZED],
        [
            t("monai.transforms.ScaleIntensityd", minv=-1.0, maxv=1.0),
            t("ResizeD", spatial_size="@size", mode="bilinear"),
        ],
        [RANGE | {"a_min": 20, "a_max": 200, "clip": True}, SIZED | {"mode": "$'nearest'"}],
        [t("ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=0, b_max=1, clip=True), SIZED],
        [t("ClipIntensityPercentilesd", lower=2, upper=98), t("NormalizeIntensityd"), SIZED],
        [t("NormalizeIntensityd", subtrahend=[127.5], divisor=[64.0], channel_wise=True), SIZED],
        [t("NormalizeIntensityDict", nonzero=True), t("CenterSpatialCropd", roi_size=[50, 40])],
        [t("AdjustContrastd", gamma=0.7), t("ThresholdIntensityd", threshold=200, above=False, cval=200), SIZED],
        [t("HistogramNormalized", num_bins=64, min=0, max=1), SIZED],
        [
            RANGE,
            t("Resized", spatial_size=48, size_mode="longest", mode="bilinear"),
            t("SpatialPadd", spatial_size=[48, 48]),
        ],
        [RANGE, SIZED | {"mode": "area", "anti_aliasing": True}, t("RepeatChanneld", repeats=3)],
        [RANGE, t("ResizeWithPadOrCropd", spatial_size=[80, 80], mode="edge"), t("BorderPadd", spatial_border=3)],
        [RANGE, t("Rotate90d", k=1, spatial_axes=[0, 1]), t("Flipd", spatial_axis=1), SIZED],
        [t("Transposed", indices=[0, 2, 1]), t("CastToTyped", dtype="$torch.float32"), t("ScaleIntensityd"), SIZED],
        [SIZED, t("DivisiblePadd", k=[16, 32]), t("EnsureTyped", device="@device"), t("ToTensord")],
        [
            RANGE,
            SIZED | {"keys": ["image", "label"], "mode": ["bilinear", "nearest"]},
            t("Lambdad", keys="label", func="$f"),
        ],
        [t("Lambdad", func="$print", _disabled_=True), compose(RANGE, SIZED)],
    ],
    ids=lambda steps: "-".join(str(step["_target_"]).rpartition(".")[2] for step in steps),
)
def test_a_network_sees_what_monai_would_show_it(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    """The input of an image is, number for number, that of MONAI's own transforms for the same picture file."""
    agree(tmp_path, LOAD, steps)


def test_a_reader_that_does_not_turn_pictures_is_believed(tmp_path: Path) -> None:
    """MONAI's LoadImage gives columns before rows, unless it is told otherwise."""
    agree(tmp_path, LOAD | {"reader": "PILReader", "reverse_indexing": False}, [RANGE, SIZED])


def agree(folder: Path, load: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    """Compare both ways from a picture to an input."""
    path = bundle(folder / "b", compose(load, FIRST, *steps), size=[40, 56], device="cpu")
    pixels = picture()
    Picture.fromarray(pixels).save(folder / "a.png")
    parser = ConfigParser(json.loads((path / "configs" / "inference.json").read_text()))
    parser["preprocessing"] = compose(load, FIRST, *(step for step in steps if step.get("keys") != "label"))
    data = {"image": str(folder / "a.png"), "label": torch.zeros(1, 110, 70)}
    wanted = np.asarray(parser.get_parsed_content("preprocessing")(data)["image"], np.float32)
    seen = see(path, image_of(pixels / 255))
    assert seen.planes.shape == wanted.shape
    assert seen.planes == pytest.approx(wanted, abs=1e-5 * max(1.0, float(wanted.max())))


def test_colours_reach_the_network_as_monai_reads_them(tmp_path: Path) -> None:
    """Three channels where the network takes three, of a picture in colours and of a grey one; one, where told."""
    pixels = picture(colour=True)
    Picture.fromarray(pixels).save(tmp_path / "a.png")
    grey = np.asarray(Picture.fromarray(pixels).convert("L"))
    image = image_of(grey / 255)
    coloured = Image(
        image.pixels, image.header, flipped_x=False, flipped_y=False, notes=(), colour=(pixels / 255).astype(np.float32)
    )
    for name, converter, mapped, channels in (
        ("rgb", {}, {"colour": True}, 3),
        ("L", {"converter": "$lambda image: image.convert('L')"}, {}, 1),
        ("RGB", {"converter": '$lambda im : im.convert("RGB")'}, {}, 3),
    ):
        steps = compose(LOAD | converter, FIRST, RANGE, SIZED)
        parser = ConfigParser({"preprocessing": steps})
        wanted = parser.get_parsed_content("preprocessing")({"image": str(tmp_path / "a.png")})["image"]
        seen = see(bundle(tmp_path / name, steps, HAND | mapped), coloured)
        assert seen.planes.shape == (channels, 32, 48)
        assert seen.planes == pytest.approx(np.asarray(wanted), abs=1e-5)
    assert see(bundle(tmp_path / "grey", compose(LOAD, SIZED), HAND | {"colour": True}), image).planes.shape[0] == 3


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([t("Orientationd", axcodes="RAS")], "the transform Orientationd is not one that Dentgate reads"),
        ([t("Spacingd", pixdim=[1, 1])], "Spacingd is not one"),
        ([t("Lambdad", func="$lambda x: x / 2")], "Lambdad is not one"),
        ([t("RandFlipd", prob=0.5)], "RandFlipd is not one"),
        ([t("os.system", command="true")], r"os\.system is not one"),
        ([t("mine.transforms.Resized", spatial_size=[32, 32])], r"mine\.transforms\.Resized is not one"),
        ([SIZED | {"spatial_size": "$__import__('os').getpid()"}], "would have to be computed"),
        ([SIZED | {"spatial_size": "@nowhere"}], "would have to be computed"),
        ([SIZED | {"spatial_size": "@preprocessing::transforms::1::spatial_size"}], "would have to be computed"),
        ([SIZED | {"spatial_size": [90000, 90000]}], "makes more than 4096 rows or columns"),
        ([SIZED | {"no_such": 1}], "Resize cannot be made"),
        ([RANGE | {"a_max": 4095}, SIZED], "expects other values than a picture of 8 bits"),
        ([RANGE | {"a_min": -1000, "a_max": 200}, SIZED], "expects other values"),
        ([t("NormalizeIntensityd", subtrahend=2048, divisor=500), SIZED], "expects other values"),
        ([t("CastToTyped", dtype="$torch.uint8"), SIZED], "would round or cut values"),
        ([t("Transposed", indices=[1, 0, 2])], "mixes channels with rows or columns"),
        ([t("CenterSpatialCropd", roi_size=[8, 8]), t("Transposed", indices=None)], "mixes channels"),
        ("$build()", "is no list of transforms that can be read"),
        ([t("SpatialPadd", spatial_size=[2000, 2000], mode="strange"), SIZED], "its transforms fail"),
    ],
)
def test_what_is_not_known_is_refused_with_its_name_and_the_mend(tmp_path: Path, steps: Any, words: str) -> None:  # noqa: ANN401 - right or wrong
    """No input is made by guessing; what the mapping says by hand lets the same bundle serve."""
    given = compose(LOAD, *steps) if isinstance(steps, list) else steps
    with pytest.raises(ConfigurationError, match=words) as told:
        ForeignBundle(bundle(tmp_path / "b", given))
    assert "would have to" in str(told.value) or "dentgate.json" in str(told.value)
    ForeignBundle(bundle(tmp_path / "by_hand", given, HAND | {"scale": "unit", "size": [32, 32]})).load("cpu")


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ({"reader": "NumpyReader"}, "reader 'NumpyReader' does not say"),
        ({"converter": "$lambda image: image.resize((5, 5))"}, "a converter, which is code"),
        ({"strange": 5}, "arguments that Dentgate does not read"),
    ],
)
def test_readers_of_other_things_are_refused(tmp_path: Path, load: dict[str, Any], words: str) -> None:
    """What LoadImage would do to a picture must be known."""
    with pytest.raises(ConfigurationError, match=words):
        ForeignBundle(bundle(tmp_path / "b", compose(LOAD | load, SIZED)))


def test_the_size_comes_from_transforms_metadata_or_mapping(tmp_path: Path) -> None:
    """Where transforms leave the size as it is the metadata or the mapping say it; nobody, or two, are refused."""
    steps = compose(LOAD, FIRST, t("ScaleIntensityd"))
    with pytest.raises(ConfigurationError, match=r"say how large its input is; give size .*dentgate\.json"):
        ForeignBundle(bundle(tmp_path / "nobody", steps))
    with pytest.raises(ConfigurationError, match=r"gives the size \(64, 64\), the bundle's own transforms \(32, 48\)"):
        ForeignBundle(bundle(tmp_path / "two", compose(LOAD, SIZED), HAND | {"size": [64, 64]}))
    seen = see(bundle(tmp_path / "mapped", steps, HAND | {"size": [24, 40]}), image_of(picture() / 255))
    assert seen.planes.shape == (1, 24, 40)
    assert (seen.planes.min(), seen.planes.max()) == (0, 1)
    told = bundle(tmp_path / "told", steps)
    shape = {"inputs": {"image": {"num_channels": 1, "spatial_shape": [16, 24]}}, "outputs": {}}
    metadata = told / "configs" / "metadata.json"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"network_data_format": shape}))
    assert ForeignBundle(told).load("cpu").eye.shape == (1, 16, 24)


@pytest.mark.parametrize(
    ("after", "activation", "threshold", "argmax"),
    [
        ([("Activationsd", {"softmax": True}), ("AsDiscreted", {"argmax": True})], "softmax", None, True),
        ([("Activationsd", {"sigmoid": True}), ("AsDiscreted", {"threshold": 0.4})], "sigmoid", 0.4, False),
        ([("Activations", {"sigmoid": True}), ("AsDiscrete", {"rounding": "torchrounding"})], "sigmoid", 0.5, False),
        ([("AsDiscreted", {"threshold": 0.3})], "none", 0.3, False),
        (
            [("AsDiscreted", {"argmax": [True, False], "to_onehot": [3, 3], "keys": ["pred", "label"]})],
            None,
            None,
            True,
        ),
        ([("EnsureTyped", {}), ("Invertd", {"transform": "@preprocessing"}), ("SaveImaged", {})], None, None, False),
        ([("Lambdad", {"keys": "label"})], None, None, False),
    ],
)
def test_the_postprocessing_says_what_a_finding_is(
    tmp_path: Path,
    after: list[Any],
    activation: str | None,
    threshold: float | None,
    argmax: bool,  # noqa: FBT001 - a case
) -> None:
    """Activation, threshold and argmax are those of the bundle."""
    entries = [{"_target_": name, "keys": "pred", **more} for name, more in after]
    for entry in entries:
        if not entry["_target_"].endswith("d"):
            del entry["keys"]
    reading = read_steps(
        bundle(tmp_path / "b", compose(LOAD), postprocessing=compose(*entries)), before=False, after=True
    )
    assert reading.steps is None
    assert (reading.activation, reading.threshold, reading.argmax) == (activation, threshold, argmax)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}, "KeepLargestConnectedComponentd is not one"),
        ({"_target_": "Activationsd", "keys": "pred", "other": "$torch.tanh"}, "neither sigmoid nor softmax"),
        ({"_target_": "AsDiscreted", "keys": "pred", "threshold": 3.0}, "must lie between 0 and 1"),
        ({"_target_": "AsDiscreted", "keys": "pred", "logit_thresh": 0.2}, "does not read"),
    ],
)
def test_other_postprocessing_is_refused_unless_the_mapping_says_it(
    tmp_path: Path, after: dict[str, Any], words: str
) -> None:
    """The message names the transform and the key of the mapping."""
    more = {"postprocessing": compose(after)}
    with pytest.raises(ConfigurationError, match=rf"{words}.*say activation .*dentgate\.json"):
        ForeignBundle(bundle(tmp_path / "b", compose(LOAD, SIZED), HAND, **more))
    path = bundle(tmp_path / "by_hand", compose(LOAD, SIZED), HAND | {"activation": "softmax"}, **more)
    assert ForeignBundle(path).load("cpu").eye.shape == (1, 32, 48)


def kinds(path: Path, brightness: float) -> list[tuple[str, float]]:
    """What a bundle finds in an even image, and how sure it is."""
    found = ForeignBundle(path).load("cpu").analyze(image_of(np.full((32, 48), brightness)))
    return [(each.kind, each.certainty) for each in found]


def test_threshold_and_argmax_of_the_bundle_hold_unless_the_mapping_says_another(tmp_path: Path) -> None:
    """``BRIGHT`` says .018 for channel 1 of a grey of .4, .98 of one of .6: found from the threshold that counts."""
    softmax = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
    low, high, most = (
        compose(softmax, {"_target_": "AsDiscreted", "keys": "pred"} | arguments)
        for arguments in ({"threshold": 0.01}, {"threshold": 0.99}, {"argmax": True})
    )
    steps = compose(LOAD | {"reverse_indexing": False}, RANGE, SIZED)
    for number, (after, mapped, expected) in enumerate(
        (
            (low, {}, [True, True]),
            (high, {}, [False, False]),
            (most, {}, [False, True]),
            (high, {"threshold": 0.9}, [False, True]),
            (most, {"threshold": 0.999}, [False, False]),
        )
    ):
        mapping = HAND | {"channels": {"1": {"finding": "fracture"} | mapped}}
        path = bundle(tmp_path / f"b{number}", steps, mapping, postprocessing=after)
        assert [bool(kinds(path, grey)) for grey in (0.4, 0.6)] == expected, (after, mapped)


def test_the_most_probable_of_three_holds_below_one_half(tmp_path: Path) -> None:
    """Argmax is no threshold: .40 against .30 and .30 is a finding where the bundle says argmax, and else is none."""
    net = monai.networks.blocks.Convolution(2, 1, 3, kernel_size=1, conv_only=True)
    net.load_state_dict({"conv.weight": torch.zeros(3, 1, 1, 1), "conv.bias": torch.tensor([0.0, 0.3, 0.0])})
    most = compose({"_target_": "AsDiscreted", "keys": "pred", "argmax": True})
    for name, after, expected in (("argmax", most, [("fracture", 0.403)]), ("half", [], [])):
        path = make_bundle(tmp_path / name, net, BRIGHT | {"out_channels": 3}, HAND)
        config = path / "configs" / "inference.json"
        steps: dict[str, Any] = {"preprocessing": compose(LOAD, RANGE, SIZED), "postprocessing": after}
        config.write_text(json.dumps(json.loads(config.read_text()) | steps))
        assert kinds(path, 0.5) == expected


def test_one_channel_is_a_sigmoid(tmp_path: Path) -> None:
    """A network with a single output says how probable it is; softmax over one channel would always say 1."""
    net = monai.networks.blocks.Convolution(2, 3, 1, kernel_size=1, conv_only=True)
    state = {"conv.weight": torch.full((1, 3, 1, 1), 10 / 3), "conv.bias": torch.tensor([-5.0])}
    net.load_state_dict(state)
    definition = BRIGHT | {"in_channels": 3, "out_channels": 1}
    mapping = {"modality": ["DX"], "channels": {"0": {"finding": "fracture"}}}

    def lone(name: str, after: object) -> Path:
        path = make_bundle(tmp_path / name, net, definition, mapping)
        config = path / "configs" / "inference.json"
        steps = {"preprocessing": compose(LOAD, RANGE, SIZED), "postprocessing": after}
        config.write_text(json.dumps(json.loads(config.read_text()) | steps))
        return path

    assert ForeignBundle(lone("a", [])).load("cpu").eye.channels == 3, "as the network takes, since nobody else says"
    assert [kinds(lone(f"b{grey}", []), grey) for grey in (0.2, 0.6)] == [[], [("fracture", 0.731)]]
    for k, after in enumerate(
        ({"_target_": "Activationsd", "softmax": True}, {"_target_": "AsDiscreted", "argmax": True})
    ):
        with pytest.raises(ConfigurationError, match="softmax and argmax of a single channel say nothing"):
            ForeignBundle(lone(f"c{k}", [after | {"keys": "pred"}])).load("cpu")


def test_a_training_configuration_lends_its_validation_transforms(tmp_path: Path) -> None:
    """A bundle that holds train.yaml only is read from its validate section, never from the random ones of training."""
    path = bundle(tmp_path / "b", None)
    (path / "configs" / "inference.json").unlink()
    train = {"deterministic": [LOAD, RANGE, SIZED], "preprocessing": compose(t("RandFlipd", prob=0.5))}
    validate = {
        "preprocessing": {"_target_": "Compose", "transforms": "%train::deterministic"},
        "postprocessing": compose(t("Activationsd", sigmoid=True, keys="pred")),
    }
    document = {"network_def": BRIGHT, "train": train, "validate": validate}
    (path / "configs" / "train.yaml").write_text(yaml.safe_dump(document))
    model = ForeignBundle(path).load("cpu")
    assert model.eye.shape == (1, 32, 48)
    assert read_steps(path, before=True, after=True).activation is Activation.SIGMOID


def test_every_name_of_the_table_is_monais() -> None:
    """A transform that MONAI renames is noticed here, not at a patient."""
    from workers.models import foreign_steps as table  # noqa: PLC0415 - its private lists

    for name in table._VALUES | table._PLACES | {"RepeatChannel"}:  # noqa: SLF001 - the lists themselves
        assert hasattr(monai.transforms, name)
