"""Which images the tooth model takes."""

import pytest
from pydicom.dataset import Dataset

from workers.models import MODELS


def header(**attributes: object) -> Dataset:
    """A header of a panoramic, some attributes changed; None leaves one out."""
    ds = Dataset()
    given = {"Modality": "PX", "Rows": 1504, "Columns": 2880, "SamplesPerPixel": 1} | attributes
    for keyword, value in given.items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"Columns": 1880},
        {"Modality": "DX", "BodyPartExamined": "JAW"},
        {"Modality": "OT", "StudyDescription": "OPG"},
        {"Modality": "CR", "SeriesDescription": "Panoramic x-ray"},
        {"PresentationIntentType": "FOR PROCESSING"},
        {"NumberOfFrames": 1},
    ],
)
def test_accepted(attributes: dict[str, object]) -> None:
    """Panoramics are accepted by modality or by description, with the reason."""
    verdict = MODELS[0].judge(header(**attributes))
    assert verdict.accepted, verdict.reason
    assert verdict.reason


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "CT"}, "modality CT"),
        ({"Modality": "DX", "BodyPartExamined": "CHEST"}, "no description"),
        ({"Modality": "DX", "StudyDescription": "Optometry", "BodyPartExamined": None}, "no description"),
        ({"Modality": None}, "modality unknown"),
        ({"Columns": 1504}, "shape"),
        ({"Modality": "DX", "BodyPartExamined": "JAW", "Columns": 1504}, "shape"),
        ({"NumberOfFrames": 200}, "frames"),
        ({"Modality": "XC", "SamplesPerPixel": 3}, "photograph"),
        ({"Modality": "OT", "SamplesPerPixel": 3, "StudyDescription": "dental"}, "colour"),
        ({"Rows": None}, "size"),
        ({"Columns": 0}, "size"),
    ],
)
def test_refused(attributes: dict[str, object], reason: str) -> None:
    """Everything else is refused with a reason that says why."""
    verdict = MODELS[0].judge(header(**attributes))
    assert not verdict.accepted
    assert reason in verdict.reason


def test_empty_header() -> None:
    """A data set without anything is refused, not an error."""
    assert not MODELS[0].judge(Dataset()).accepted
