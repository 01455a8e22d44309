"""How found teeth are drawn and charted."""

from itertools import combinations

import pytest

from service import clock
from service.db import overview
from service.domain.finding import Finding
from service.domain.job import State
from service.domain.tooth import PERMANENT, TEETH
from service.web.analyses import AnalysisShelf
from service.web.figures import Figure, chart_of, figures_of, palmer
from tests.builders import analysis_of, tooth_boxes, xray
from tests.unit.web.rows import Site


def drawn(gateway: Site, *seeds: str) -> tuple[Figure, ...]:
    """The figures of a study with full dentitions."""
    job = gateway.job(gateway.study(), State.REPORTED)
    for seed in seeds:
        gateway.analysis(job, analysis_of(xray(seed=seed), PERMANENT))
    with gateway.db.session() as session:
        study = overview.find_study(session, "2.25.1", clock.now())
    assert study is not None
    return figures_of(study.jobs[0], AnalysisShelf(gateway.storage))


def test_labels_cover_neither_teeth_nor_each_other(gateway: Site) -> None:
    """In a full dentition every number stands free, inside what is shown."""
    (figure,) = drawn(gateway, "a")
    assert len(figure.marks) == 32
    assert figure.analysis is not None
    teeth = tooth_boxes(figure.analysis.rows, figure.analysis.columns, PERMANENT).values()
    labels = [mark.label for mark in figure.marks]
    for a, b in [*combinations(labels, 2), *((label, box) for label in labels for box in teeth)]:
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    x, y, width, height = figure.view
    assert all(x <= a and y <= b and c <= x + width and d <= y + height for a, b, c, d in labels)


def test_every_image_has_its_figure(gateway: Site) -> None:
    """Several images of a study are drawn one after the other, each with its own preview."""
    figures = drawn(gateway, "a", "b")
    assert len(figures) == 2
    assert len({figure.preview.name for figure in figures if figure.preview}) == 2


def test_chart_shows_all_permanent_teeth() -> None:
    """The chart has two rows of sixteen, the patient's right at the left; certainty stands at what was found."""
    upper, lower = chart_of([Finding("tooth", 36, 0.93), Finding("tooth", 11, 0.5, flags=("number-uncertain",))])
    assert [cell.tooth.fdi for cell in upper][:9] == [18, 17, 16, 15, 14, 13, 12, 11, 21]
    assert [cell.tooth.fdi for cell in lower][7:9] == [41, 31]
    assert {cell.tooth.fdi: (cell.found, cell.certainty) for cell in (*upper, *lower) if cell.found != "no"} == {
        36: ("yes", "certainty 93 %"),
        11: ("uncertain", "certainty 50 %"),
    }


def test_chart_shows_milk_teeth_where_there_are_some() -> None:
    """One deciduous tooth brings the two rows of the deciduous dentition."""
    chart = chart_of([Finding("tooth", 55, 0.9)])
    assert [len(row) for row in chart] == [16, 10, 10, 16]
    assert chart[1][0].found == "yes"


@pytest.mark.parametrize(("fdi", "text"), [(16, "6┘"), (26, "└6"), (36, "┌6"), (46, "6┐"), (55, "E┘"), (71, "┌A")])
def test_palmer(fdi: int, text: str) -> None:
    """Palmer notation names position and quadrant, and letters for milk teeth."""
    assert palmer(TEETH[fdi]) == text
