"""Intra-oral films: which are taken, what their headers tell, and what the network sees in a window of an arch."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.domain.tooth import TEETH
from workers.models.arch import CLASS_OF, FDI
from workers.models.fit_for_intraoral import Told, judge_intraoral, told
from workers.models.fit_for_panoramics import judge_panoramic
from workers.models.intraoral_teeth import JAW_CONTRADICTS, IntraoralTeeth, LoadedIntraoralTeeth, film_frame, jaws
from workers.pixels import Image
from workers.training.teeth.cases import WindowCase, phantom_case, windows_of
from workers.training.teeth.evaluate import header_of, without_cut
from workers.training.teeth.scoring import score_image, summary, truths_of

IO = "1.2.840.10008.5.1.4.1.1.1.3"
OTHER_JAW = {"70925003": "91609006", "91609006": "70925003"}


def header(**values: object) -> Dataset:
    """A header of a film of a sensor, some attributes changed; None leaves one out."""
    made = Dataset()
    given = {"Modality": "IO", "SOPClassUID": IO, "Rows": 1200, "Columns": 1600, "SamplesPerPixel": 1} | values
    for keyword, value in given.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def item(code: str) -> list[Dataset]:
    """A sequence of one code."""
    made = Dataset()
    made.CodeValue = code
    return [made]


@pytest.mark.parametrize(
    "values",
    [{}, {"SOPClassUID": IO + ".1", "Modality": "DX"}, {"SOPClassUID": None}, {"Rows": 1600, "Columns": 1200}],
)
def test_accepted(values: dict[str, object]) -> None:
    """Films are taken by modality or kind of object; the panoramic model leaves them alone, also called dental."""
    assert judge_intraoral(header(**values))[0]
    wide = values | {"Rows": 1000, "Columns": 2000, "BodyPartExamined": "TEETH"}
    assert not judge_panoramic(header(**wide))[0]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Modality": "PX", "SOPClassUID": "1.2.3"}, "neither"),
        ({"Rows": None}, "size"),
        ({"NumberOfFrames": 3}, "frames"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"Columns": 4000}, "shape"),
        ({"SeriesDescription": "Panoramic", "Columns": 2400}, "panoramic"),
        ({"PatientAge": "004Y"}, "deciduous"),
    ],
)
def test_refused(values: dict[str, object], reason: str) -> None:
    """Everything else is refused with a reason that says why."""
    verdict = IntraoralTeeth().judge(header(**values))
    assert not verdict.accepted
    assert reason in verdict.reason


def test_what_a_header_tells() -> None:
    """Side, jaw, teeth and the way round; silence where it is silent."""
    assert told(Dataset()) == Told()
    assert told(header(ImageLaterality="R", AnatomicRegionSequence=item("91609006"))) == Told(right=True, upper=False)
    assert told(header(ImageLaterality="B", AnatomicRegionSequence=item("661005"))) == Told()
    assert told(header(AnatomicRegionSequence=item("T-11180"))).upper is False
    named = told(header(PrimaryAnatomicStructureSequence=item(TEETH[26].snomed)))
    assert named == Told(right=False, upper=True, teeth=frozenset({26}))
    assert told(header(PrimaryAnatomicStructureSequence=item(TEETH[65].snomed))).deciduous


@pytest.mark.parametrize(
    ("side", "orientation", "mirrored"),
    [("L", ["P", "F"], False), ("R", ["A", "F"], False), ("L", ["A", "F"], True), ("R", ["P", "F"], True)],
)
def test_the_way_round(side: str, orientation: list[str], mirrored: bool) -> None:  # noqa: FBT001 - a test parameter
    """The back of the mouth lies towards the image's right on the patient's left; otherwise the film is mirrored."""
    assert told(header(ImageLaterality=side, PatientOrientation=orientation)).mirrored == mirrored


def test_prior() -> None:
    """What the header contradicts is less likely, twice contradicted still less; nothing is impossible."""
    prior = Told(right=True, upper=True).prior()
    same, jaw, both = (prior[CLASS_OF[fdi] - 1] for fdi in (16, 46, 36))
    assert same > jaw > both > -20
    assert len(prior) == len(FDI)


def test_jaws_are_parted_by_one_line() -> None:
    """A tooth between others of its jaw belongs to it, even where its own pixels doubt."""
    upper, lower, doubt = np.full(32, -9.0), np.full(32, -9.0), np.full(32, -3.0)
    upper[3], lower[20] = 0.0, 0.0
    doubt[20] = -2.5
    assert jaws([10, 11, 12, 60], [upper, doubt, upper, lower]) == [True, True, True, False]
    assert jaws([10, 12], [lower, lower]) == [False, False]
    assert jaws([], []) == []


def test_frame() -> None:
    """The diagonal of a film is the share of the canvas's height that was asked for, and its shape is kept."""
    frame = film_frame((300, 400), (256, 512), 0.5)
    rows, columns = 256 / (2 * frame.half_height), 512 / (2 * frame.half_width)
    assert np.hypot(rows, columns) == pytest.approx(128)
    assert columns / rows == pytest.approx(4 / 3)


@pytest.fixture(scope="module")
def model() -> LoadedIntraoralTeeth:
    """The model as a worker loads it on a CPU."""
    return IntraoralTeeth().load("cpu")


def film(window: WindowCase, told_by: Dataset) -> Image:
    """A window as the pixel reader hands it on."""
    return Image(np.ascontiguousarray(window.case.pixels), told_by, flipped_x=False, flipped_y=False, notes=())


@pytest.fixture(scope="module")
def windows() -> list[WindowCase]:
    """Windows of drawn panoramics."""
    rng = np.random.default_rng(0)
    drawn = [phantom_case(seed) for seed in range(400, 404)]
    return [window for case in drawn for window in windows_of(case, rng)]


def test_windows_of_phantoms(model: LoadedIntraoralTeeth, windows: list[WindowCase]) -> None:
    """Told jaw and side, at least two of three teeth in windows of phantoms are found with the right number."""
    scores = []
    for window in windows:
        found = without_cut(model.analyze(film(window, header_of(window))), window)
        truths = [truth for truth in truths_of(window.case.labels) if truth.tooth not in window.cut]
        scores.append(score_image(found, truths, window.case.group))
    figures = summary(scores)
    assert figures["f1"] >= 0.67
    assert figures["duplicates"] == 0


def test_a_contradiction_is_flagged(model: LoadedIntraoralTeeth, windows: list[WindowCase]) -> None:
    """Where the header names the other jaw, most films carry a flag that says so; told the truth, few do."""
    flagged = {True: 0, False: 0}
    for window in windows:
        told_by = header_of(window)
        code = told_by.AnatomicRegionSequence[0].CodeValue
        if code not in OTHER_JAW:
            continue
        for lie in (True, False):
            told_by.AnatomicRegionSequence[0].CodeValue = OTHER_JAW[code] if lie else code
            found = model.analyze(film(window, told_by))
            flagged[lie] += any(JAW_CONTRADICTS in detection.flags for detection in found)
    assert flagged[True] > flagged[False]


def test_a_mirrored_film_is_turned(model: LoadedIntraoralTeeth, windows: list[WindowCase]) -> None:
    """A film whose front lies where its back belongs gives the same teeth, their boxes mirrored."""
    window = next(w for w in windows if header_of(w).ImageLaterality != "B")
    right = header_of(window)
    wrong = header_of(window)
    wrong.PatientOrientation = ["P" if wrong.ImageLaterality == "R" else "A", "F"]
    plain = model.analyze(film(window, right))
    turned = replace(window, case=replace(window.case, pixels=window.case.pixels[:, ::-1]))
    columns = window.case.pixels.shape[1]
    found = model.analyze(film(turned, wrong))
    assert plain
    assert [detection.tooth for detection in found] == [detection.tooth for detection in plain]
    for one, other in zip(found, plain, strict=True):
        assert one.box is not None
        assert other.box is not None
        assert one.box == (columns - other.box[2], other.box[1], columns - other.box[0], other.box[3])


@pytest.mark.parametrize("shape", [(8, 8), (60, 90), (200, 120)])
def test_nothing_to_see(model: LoadedIntraoralTeeth, shape: tuple[int, int]) -> None:
    """Uniform grey of any size gives no findings and no error."""
    image = Image(np.full(shape, 0.5, np.float32), Dataset(), flipped_x=False, flipped_y=False, notes=())
    assert model.analyze(image) == ()
