"""How findings that are no teeth are drawn, listed and told by the API; refusals; why which model was chosen."""

import dataclasses
import json
from itertools import combinations

import httpx

from service import clock
from service.db import overview
from service.domain.finding import Analysis, Finding, HeatMap, Measurement, Region
from service.domain.job import State
from service.web.analyses import AnalysisShelf
from service.web.figures import Figure, figures_of
from tests.builders import ALGORITHM, analysis_of, tooth_boxes, xray
from tests.unit.web.rows import Site

BOX = Region((20, 30, 60, 90))
HEAT = HeatMap(2, 4, (0, 0, 0, 255, 0, 41, 39, 0))


def found(*findings: Finding, name: str, looks_for: tuple[str, ...] = (), refused: str = "") -> Analysis:
    """What a model found in the image of ``xray()``."""
    kinds = looks_for or tuple(dict.fromkeys(finding.kind for finding in findings))
    analysis = analysis_of(xray(), (), algorithm=dataclasses.replace(ALGORITHM, name=name))
    return dataclasses.replace(analysis, findings=findings, looks_for=kinds, refused=refused)


def show(gateway: Site, first: Analysis, *others: Analysis, choices: object = ()) -> Figure:
    """A study of one image with these analyses; its figure."""
    job = gateway.job(gateway.study(), State.REPORTED)
    gateway.analysis(job, first)
    for analysis in others:
        name = f"{analysis.sop_instance_uid}/{analysis.algorithm.name}"
        gateway.artifact(job, "analysis", name, analysis.to_json(), "application/json")
    gateway.artifact(job, "choices", first.sop_instance_uid, json.dumps(choices).encode(), "application/json")
    with gateway.db.session() as session:
        study = overview.find_study(session, "2.25.1", clock.now())
    assert study is not None
    (figure,) = figures_of(study.jobs[0], AnalysisShelf(gateway.storage))
    return figure


def test_conditions_stand_with_their_tooth(gateway: Site) -> None:
    """What another model found of a tooth is said with that tooth, not outlined twice; of a missing one it is drawn."""
    teeth = analysis_of(xray(), (36, 37))
    conditions = found(
        Finding("filling", 36, 0.91, BOX),
        Finding("implant", 46, 0.8, BOX, ("number-uncertain",)),
        name="tooth_conditions",
    )
    figure = show(gateway, teeth, conditions)
    assert {mark.tooth.fdi: mark.conditions for mark in figure.marks} == {36: "filling 91 %", 37: ""}
    assert [spot.words for spot in figure.spots] == ["46? implant"]
    assert [(row.place, row.words, row.certainty, row.uncertain) for row in figure.rows] == [
        ("Tooth 36", "filling", "91 %", False),
        ("Tooth 46", "implant", "80 %", True),
    ]
    assert [analysis.algorithm.name for analysis in figure.analyses] == [ALGORITHM.name, "tooth_conditions"]


def test_vertebrae_are_outlined_and_curves_listed(gateway: Site) -> None:
    """Vertebrae stand in the image only; a curve is listed with its angle and what is said of it; no chart of teeth."""
    boxes = tooth_boxes(200, 320, range(31, 38))
    vertebrae = [
        Finding("vertebra", None, 0.9, Region(box), (), f"T{number}") for number, box in enumerate(boxes.values(), 5)
    ]
    curve = Finding("scoliosis", None, 0.9, BOX, ("double-curve",), "T5-T11", (Measurement("cobb-angle", 34.2),))
    figure = show(gateway, found(curve, *vertebrae, name="spine"))
    assert figure.chart == ()
    assert [row.words for row in figure.rows] == ["scoliosis 34 degrees (double curve)"]
    assert [spot.words for spot in figure.spots] == ["T5", "T6", "T7", "T8", "T9", "T10", "T11", "T5-T11 34 degrees"]
    for a, b in combinations([spot.label for spot in figure.spots], 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_heat_maps_lie_over_the_whole_image(gateway: Site) -> None:
    """Warm cells only, each at its place in the stored image; the row names its heat map."""
    plain, hot = Finding("caries", None, 0.6), Finding("gingivitis", None, 0.7, heat=HEAT)
    figure = show(gateway, found(plain, hot, name="oral_photo"))
    (heat,) = figure.heats
    assert (heat.width, heat.height) == (80, 100)
    assert [(cell.x, cell.y) for cell in heat.cells] == [(240, 0), (80, 100)]
    assert heat.cells[0].opacity > heat.cells[1].opacity > 0
    assert [(row.words, row.heat) for row in figure.rows] == [("caries", 0), ("gingivitis", 1)]


def test_page_and_api_tell_everything(gateway: Site, client: httpx.Client) -> None:
    """Findings with certainty, measurements in UCUM, heat switch, refusals and the chooser's reasons."""
    curve = Finding("scoliosis", None, 0.93, BOX, (), "T5-T11", (Measurement("cobb-angle", 34.2),), HEAT)
    choices = [
        {"model": "spine", "accepted": True, "reason": "modality DX, body part TSPINE"},
        {"model": "fracture", "accepted": False, "reason": "the spine is no limb <b>"},
    ]
    refused = found(name="fracture", looks_for=("fracture",), refused="the image is too dark")
    show(gateway, found(curve, name="spine"), refused, choices=choices)
    body = client.get("/api/studies/2.25.1").json()
    assert (body["study"]["teeth_found"], body["study"]["found"]) == (None, "scoliosis")
    spine, fracture = body["findings"]
    assert spine["findings"][0] == {
        "kind": "scoliosis",
        "words": "scoliosis 34 degrees",
        "tooth": None,
        "site": "T5-T11",
        "certainty": 0.93,
        "box": [20, 30, 60, 90],
        "flags": [],
        "measurements": [{"kind": "cobb-angle", "value": 34.2, "unit": "deg"}],
    }
    assert (fracture["refused"], fracture["findings"]) == ("the image is too dark", [])
    assert body["choices"] == [{"sop_instance_uid": xray().SOPInstanceUID, "models": choices}]
    page = client.get("/studies/2.25.1").text
    for text in (
        "T5-T11",
        "93 %",
        'data-show-heat="1"',
        "the image is too dark",
        "body part TSPINE",
        "no limb &lt;b&gt;",
    ):
        assert text in page


def test_a_study_that_was_not_read_says_so(gateway: Site, client: httpx.Client) -> None:
    """No outline, no chart, no "nothing found": the reason, on the page and in the list."""
    show(gateway, found(name="image_gate", looks_for=("tooth",), refused="the image is too dark"))
    page = client.get("/studies/2.25.1").text
    assert "the image is too dark" in page
    assert "No image of this study could be read" in page
    assert "Nothing else was found" not in page
    assert 'role="table"' not in page
    assert "not read" in client.get("/").text


def test_damaged_choices_leave_the_rest(gateway: Site, client: httpx.Client) -> None:
    """A choices file that is none hides nothing else."""
    show(gateway, found(Finding("caries", None, 0.6), name="oral_photo"), choices={"no": "list"})
    assert "caries" in client.get("/studies/2.25.1").text
    assert client.get("/api/studies/2.25.1").json()["choices"] == []


def test_the_list_says_what_was_found(gateway: Site, client: httpx.Client) -> None:
    """Teeth as a number, other findings in words, "nothing found" where nothing was."""
    show(gateway, found(name="fracture", looks_for=("fracture",)))
    assert client.get("/api/studies").json()["studies"][0]["found"] == "nothing found"
