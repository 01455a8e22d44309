"""Words beside a finding, and the legend below a picture."""

from dataclasses import replace

import pytest

from service.domain.finding import Finding, HeatMap, Measurement, Region
from service.results.labels import drawn_label, finding_label, sureness
from service.results.legend import legend_of
from tests.builders import analysis_of, header_of, xray
from tests.subjects import subject_of

BOX = Region((1, 1, 9, 9))


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        (Finding("tooth", 36, 0.9), "36"),
        (Finding("tooth", 36, 0.9, flags=("number-uncertain",)), "36?"),
        (Finding("tooth", None, 0.9), "tooth"),
        (Finding("root-canal-treated", 36, 0.9), "36 Root-canal treated"),
        (Finding("fracture", None, 0.9), "Fracture"),
        (Finding("scoliosis", None, 0.9, site="T5-T11", measurements=(Measurement("cobb-angle", 34.21),)),
         "Scoliosis T5-T11 34 degrees"),
        (Finding("scoliosis", None, 0.9, flags=("from-T7-to-T12",), site="thoracic-spine"), "Scoliosis T7-T12"),
        (Finding("vertebra", None, 0.9, site="T5"), "T5"),
        (Finding("hypodontia", None, 0.9), "Missing tooth"),
        (Finding("calculus", None, 0.9), "Calculus or plaque"),
    ],
)  # fmt: skip
def test_labels(finding: Finding, label: str) -> None:
    """A label is short, and says where, what and how much."""
    assert finding_label(finding) == label


@pytest.mark.parametrize(
    ("certainty", "words"),
    [(1.0, "over 99 %"), (0.995, "over 99 %"), (0.994, "99 %"), (0.825, "83 %"), (0.0, "under 1 %")],
)
def test_nothing_is_certain(certainty: float, words: str) -> None:
    """No certainty of a program is rounded to 100 or 0 %; a half is rounded up, as people do."""
    assert sureness(Finding("fracture", None, certainty)) == [words]


def test_what_a_region_is_not() -> None:
    """A box that a heat map gave is not called the finding; a curve is called by its ends and its angle."""
    heat = HeatMap(1, 1, (255,))
    assert drawn_label(Finding("fracture", None, 0.9, BOX, heat=heat)) == "Fracture: the model looked here"
    angle = (Measurement("cobb-angle", 43.5),)
    assert drawn_label(Finding("scoliosis", None, 0.9, BOX, site="T7-T12", measurements=angle)) == "T7-T12 44 degrees"
    assert drawn_label(Finding("caries", 36, 0.9, BOX)) == "36 Caries"


def test_the_legend_says_everything() -> None:
    """One line for each kind, the surest first; uncertain numbers, heat, notes and the algorithm are told."""
    ds = xray()
    analysis = analysis_of(header_of(ds), flags={37: ("number-uncertain",)}, notes=("orientation assumed",))
    more = (
        Finding("caries", 36, 0.7, BOX),
        Finding("caries", 46, 0.82, BOX),
        Finding("fracture", None, 0.55, heat=HeatMap(1, 1, (9,))),
    )
    lines = legend_of(subject_of(ds, replace(analysis, findings=(*analysis.findings, *more))).sources)
    texts = [line.text for line in lines]
    assert texts[:3] == [
        "Caries: 46 (82 %), 36 (70 %)",
        "Fracture: 55 %",
        "3 teeth found (FDI numbers); number uncertain: 37",
    ]
    assert lines[0].colour is not None
    assert lines[1].colour is None
    assert any(text.startswith("Red and yellow") for text in texts)
    assert any(text.startswith("orientation assumed") for text in texts)
    assert texts[-1] == "Made by tooth-numbering 1.0.0"


def test_vertebrae_are_counted() -> None:
    """The legend of a spine names curves as the report does, and does not list seventeen landmarks."""
    ds = xray(modality="DX")
    curve = Finding(
        "scoliosis", None, 0.9, BOX, ("from-T7-to-T12",), "thoracic-spine", (Measurement("cobb-angle", 43.5),)
    )
    found = (curve, *(Finding("vertebra", None, 0.8, BOX, site=f"T{number}") for number in range(1, 13)))
    texts = [
        line.text for line in legend_of(subject_of(ds, replace(analysis_of(header_of(ds), ()), findings=found)).sources)
    ]
    assert texts[:2] == ["Vertebra: 12 outlined", "Scoliosis: T7-T12 44 degrees (90 %)"]


def test_the_legend_of_nothing_says_so() -> None:
    """An image without findings, and one that was not read, say which of the two they are."""
    ds = xray()
    none = analysis_of(header_of(ds), ())
    assert "tooth-numbering: nothing found" in [line.text for line in legend_of(subject_of(ds, none).sources)]
    refused = replace(none, refused="too dark")
    texts = [line.text for line in legend_of(subject_of(ds, refused).sources)]
    assert "tooth-numbering: image not read: too dark" in texts
    assert "tooth-numbering: nothing found" not in texts
