"""Groups of findings with a region as bytes: the same report as highdicom makes, in a part of the time."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from service.domain.codes import FINDINGS, QUALITIES, VERTEBRAE
from service.domain.errors import Permanent
from service.domain.finding import Finding, Measurement, Region
from service.domain.tooth import TEETH
from service.results import measurement_report
from service.results.subject import Subject
from tests.builders import IO, analysis_of, header_of, xray
from tests.subjects import subject_of

BOX = Region((10, 20, 33, 47))


def findings() -> Iterator[Finding]:
    """Every tooth, every kind of finding, every vertebra, and everything that may be said of one."""
    for fdi in TEETH:
        yield Finding("tooth", fdi, fdi / 100, BOX)
    for place, kind in enumerate(FINDINGS):
        yield Finding(kind, 36 if place % 2 else None, 1 / (place + 1), BOX, ("number-uncertain", *QUALITIES))
    for name in VERTEBRAE:
        yield Finding("vertebra", None, 0.5, BOX, site=name)
    angles = (Measurement("cobb-angle", 34.26), Measurement("cobb-angle", 0.0))
    yield Finding("scoliosis", None, 1.0, BOX, site="T5-L1", measurements=angles)
    yield Finding("caries", None, 0.0, Region((-5, -5, 10_000, 10_000)))
    yield Finding("caries", None, 0.123456, BOX)  # the second of its label


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"modality": "IO", "sop_class": IO},
        {"PatientName": "山田^太郎"},
        {"BodyPartExamined": "TSPINE", "StudyID": None},
    ],
)
def test_the_report_is_that_of_highdicom(attributes: dict[str, object]) -> None:
    """Byte for byte, hence element for element, for everything that a group can say."""
    ds = xray(**attributes)  # type: ignore[arg-type]  # keywords of xray
    subject = subject_of(ds, replace(analysis_of(header_of(ds)), findings=tuple(findings())))
    assert measurement_report.write(subject) == measurement_report.write(subject, by_highdicom=True)


@pytest.mark.parametrize("number", [1, 2])
def test_few_groups_are_the_same_too(number: int) -> None:
    """One group and two groups come out alike; private codes are declared wherever the group stands."""
    ds = xray()
    found = (Finding("tooth", 36, 0.9, BOX), Finding("discoloration", 11, 0.9, BOX))[:number]
    subject = subject_of(ds, replace(analysis_of(header_of(ds)), findings=found))
    fast = measurement_report.write(subject)
    assert fast == measurement_report.write(subject, by_highdicom=True)
    assert (b"CodingSchemeIdentification" in fast[0].content) is False
    assert (b"99DENTAI" in fast[0].content) == (number > 1)


def test_it_is_many_times_as_fast() -> None:
    """A report of 32 teeth takes a fifth of the time at most; the benchmark measures how much less."""
    subject = subject_of(xray(), analysis_of(header_of(xray()), [fdi for fdi in TEETH if fdi < 50]))
    assert fastest(subject, by_highdicom=False) < fastest(subject, by_highdicom=True) / 5


def fastest(subject: Subject, *, by_highdicom: bool) -> float:
    """Seconds of this process for the best of three."""
    taken = []
    for _ in range(3):
        begun = time.process_time()
        measurement_report.write(subject, by_highdicom=by_highdicom)
        taken.append(time.process_time() - begun)
    return min(taken)


def test_unknown_kinds_are_refused() -> None:
    """A finding without a code is an error that says so, also beyond the first group."""
    ds = xray()
    found = (Finding("tooth", 36, 0.9, BOX), Finding("dragon", 36, 0.9, BOX))
    with pytest.raises(Permanent, match="dragon"):
        measurement_report.write(subject_of(ds, replace(analysis_of(header_of(ds)), findings=found)))
