"""Which images the tooth model takes."""

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from workers.models.shipped import MODELS


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
        {"BodyPartExamined": "HEAD", "SeriesDescription": "Panorama"},
        {"SeriesDescription": "Panoramic, TMJ included", "StudyDescription": "Ceph and pan"},
        {"Modality": "DX", "BodyPartExamined": None, "SeriesDescription": "XR/OPG"},
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
        ({"Modality": "DX", "BodyPartExamined": "SKULL"}, "no description"),
        ({"Modality": "DX", "BodyPartExamined": "CHEST"}, "chest"),
        ({"Modality": "DX", "StudyDescription": "Optometry", "BodyPartExamined": None}, "no description"),
        ({"Modality": None}, "modality unknown"),
        ({"Columns": 1504}, "shape"),
        ({"Modality": "DX", "BodyPartExamined": "JAW", "Columns": 1504}, "shape"),
        ({"NumberOfFrames": 200}, "frames"),
        ({"Modality": "XC", "SamplesPerPixel": 3}, "photograph"),
        ({"Modality": "OT", "SamplesPerPixel": 3, "StudyDescription": "dental"}, "colour"),
        ({"Rows": None}, "size"),
        ({"Columns": 0}, "size"),
        ({"BodyPartExamined": "SPINE"}, "body part spine is not the jaws"),
        ({"BodyPartExamined": "HAND"}, "body part hand is not the jaws"),
        ({"SeriesDescription": "TMJ open/closed"}, "described as tmj"),
        ({"BodyPartExamined": "JAW", "ProtocolName": "Extraoral Bitewing"}, "described as bitewing"),
        ({"StudyDescription": "Panoramic", "SeriesDescription": "Maxillary sinus"}, "described as sinus"),
        ({"Modality": "DX", "SeriesDescription": "Temporomandibular joint"}, "described as temporomandibular"),
        ({"PositionerType": "CEPHALOSTAT"}, "cephalostat"),
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


def odd_header(tag: int, vr: str, value: bytes) -> Dataset:
    """A panoramic's header, as read from a file, in which one element is not what it should be."""
    ds = header(BodyPartExamined="JAW", SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1", NumberOfFrames=1)
    raw = RawDataElement(BaseTag(tag), vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True)
    ds._dict[raw.tag] = raw  # noqa: SLF001 - pydicom's way to hold what it has not converted yet
    return ds


@pytest.mark.parametrize(
    ("tag", "vr", "value", "keyword"),
    [
        (0x00080060, "ZZ", b"PX", "Modality"),
        (0x00080016, "ZZ", b"1.2", "SOPClassUID"),
        (0x00280010, "ZZ", b"\xe0\x05", "Rows"),
        (0x00280010, "US", b"\xe0\x05\x01", "Rows"),
        (0x00280011, "LO", b"wide", "Columns"),
        (0x00280008, "IS", b"many", "NumberOfFrames"),
        (0x00280002, "SQ", b"\xff\xff", "SamplesPerPixel"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(tag: int, vr: str, value: bytes, keyword: str) -> None:
    """Whatever pydicom raises when it converts a value that decides: refused by name, never raised."""
    verdict = MODELS[0].judge(odd_header(tag, vr, value))
    assert not verdict.accepted
    assert verdict.reason == f"its header cannot be read ({keyword})"


def test_a_description_that_cannot_be_read_says_nothing() -> None:
    """A panoramic by its modality is accepted, whatever is wrong with texts beside it."""
    for tag in (0x00180015, 0x00081030, 0x00082218):
        assert MODELS[0].judge(odd_header(tag, "ZZ", b"JAW ")).accepted
