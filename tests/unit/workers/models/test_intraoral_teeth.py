"""Intra-oral films: which are taken, what their headers tell, and what the network sees in a window of an arch."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.domain.finding import UNCERTAIN
from service.domain.tooth import TEETH
from service.domain.tooth_codes import codes_of
from workers.models.arch import CLASS_OF, FDI, LOWER, UPPER
from workers.models.fit_for_intraoral import Told, judge_intraoral, told
from workers.models.fit_for_panoramics import judge_panoramic
from workers.models.intraoral_teeth import (
    JAW_CONTRADICTS,
    ORIENTATION_CONTRADICTS,
    TEETH_CONTRADICT,
    IntraoralTeeth,
    LoadedIntraoralTeeth,
    film_frame,
    jaws,
)
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
        ({"PatientOrientation": ["F", "A"]}, "on its side"),
        ({"PatientOrientation": ["H", "P"]}, "on its side"),
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


@pytest.mark.parametrize("keyword", ["PrimaryAnatomicStructureSequence", "AnatomicRegionSequence"])
def test_every_code_of_a_tooth_is_read(keyword: str) -> None:
    """Each code of each tooth, of today and of older editions, in either sequence."""
    for fdi in TEETH:
        for code, scheme in codes_of(fdi):
            named = item(code)
            named[0].CodingSchemeDesignator = scheme
            assert told(header(**{keyword: named})).teeth == {fdi}
            assert told(header(**{keyword: item(code)})).teeth == {fdi}
    long = Dataset()
    long.LongCodeValue, long.CodingSchemeDesignator = TEETH[11].snomed, "SCT"
    assert told(header(**{keyword: [long]})).teeth == {11}


def test_a_named_tooth_is_a_prior() -> None:
    """Numbers near a tooth that is named are more likely than those far away; a deciduous one means its place."""
    named = Told(teeth=frozenset({36, 37}))
    prior = {fdi: named.prior()[CLASS_OF[fdi] - 1] for fdi in FDI}
    assert prior[36] == prior[37] == 0 > prior[35] > prior[34] > prior[33] == prior[31] > -20
    assert Told(teeth=frozenset({75})).prior()[CLASS_OF[35] - 1] == 0
    assert not Told().contradicts([11, 12])
    assert named.contradicts([31, 41])
    assert not named.contradicts([31, 35])
    assert not named.contradicts([])


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


def test_a_wide_border_hides_no_teeth(model: LoadedIntraoralTeeth, windows: list[WindowCase]) -> None:
    """A film in the middle of a much larger scan gives the teeth of the film, at their place in the scan."""
    window = windows[0]
    plain = model.analyze(film(window, header_of(window)))
    rows, columns = window.case.pixels.shape
    around = ((rows, 2 * rows), (columns, columns // 2))
    scan = replace(window, case=replace(window.case, pixels=np.pad(window.case.pixels, around)))
    found = model.analyze(film(scan, header_of(window)))
    assert plain
    assert [detection.tooth for detection in found] == [detection.tooth for detection in plain]
    for one, other in zip(found, plain, strict=True):
        assert one.box is not None
        assert other.box is not None
        x0, y0, x1, y1 = other.box
        assert one.box == pytest.approx((x0 + columns, y0 + rows, x1 + columns, y1 + rows), abs=4)


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


def test_another_tooth_in_the_header_is_flagged(model: LoadedIntraoralTeeth, windows: list[WindowCase]) -> None:
    """Where the header names a tooth far from those in the picture, many films say so; told a right one, hardly any."""
    flagged, films = {True: 0, False: 0}, 0
    for window in windows:
        truths = [truth.tooth for truth in truths_of(window.case.labels) if truth.tooth not in window.cut]
        jaw = LOWER if truths and truths[0] // 10 in (3, 4) else UPPER
        places = [jaw.index(fdi) for fdi in truths if fdi in jaw]
        far = next((fdi for place, fdi in enumerate(jaw) if all(abs(place - other) > 5 for other in places)), None)
        if not truths or far is None:
            continue
        films += 1
        for lie in (True, False):
            told_by = header(PrimaryAnatomicStructureSequence=item(TEETH[far if lie else truths[0]].snomed))
            found = model.analyze(film(window, told_by))
            flagged[lie] += any(TEETH_CONTRADICT in detection.flags for detection in found)
    assert films >= 4
    assert flagged[True] >= films // 3 > 3 * flagged[False]


def test_a_mirrored_film_is_turned(model: LoadedIntraoralTeeth, windows: list[WindowCase]) -> None:
    """A film whose front lies where its back belongs gives the same teeth, their boxes mirrored.

    It may as well be its side that is told wrongly, so every number is uncertain and says why.
    """
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
        assert {UNCERTAIN, ORIENTATION_CONTRADICTS} <= set(one.flags)
        assert ORIENTATION_CONTRADICTS not in other.flags


@pytest.mark.parametrize("shape", [(8, 8), (60, 90), (200, 120)])
def test_nothing_to_see(model: LoadedIntraoralTeeth, shape: tuple[int, int]) -> None:
    """Uniform grey of any size gives no findings and no error."""
    image = Image(np.full(shape, 0.5, np.float32), Dataset(), flipped_x=False, flipped_y=False, notes=())
    assert model.analyze(image) == ()
