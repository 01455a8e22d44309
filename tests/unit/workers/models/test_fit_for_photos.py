"""Which images the photograph model takes, by their headers."""

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from workers.models.fit_for_photos import judge_photo

PHOTOGRAPHIC, ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.840.10008.5.1.4.1.1.77.1.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def region(meaning: str) -> list[Dataset]:
    """An Anatomic Region Sequence."""
    item = Dataset()
    item.CodeMeaning = meaning
    return [item]


def header(**attributes: object) -> Dataset:
    """A header of an intra-oral photograph, some attributes changed; None leaves one out."""
    ds = Dataset()
    given: dict[str, object] = {
        "SOPClassUID": PHOTOGRAPHIC,
        "Modality": "XC",
        "PhotometricInterpretation": "YBR_FULL_422",
        "AnatomicRegionSequence": region("Mouth region"),
    }
    for keyword, value in (given | attributes).items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, "body part mouth"),
        ({"AnatomicRegionSequence": None}, "pixels decide"),
        ({"AnatomicRegionSequence": None, "BodyPartExamined": "HEAD"}, "pixels decide"),
        ({"AnatomicRegionSequence": region("Head"), "StudyDescription": "Orthodontic records"}, "orthodont"),
        ({"SOPClassUID": ENDOSCOPIC, "Modality": "ES"}, "intra-oral camera"),
        ({"SOPClassUID": ENDOSCOPIC, "Modality": "ES", "AnatomicRegionSequence": region("Teeth, gums")}, "teeth"),
        ({"SOPClassUID": CAPTURE, "PhotometricInterpretation": "RGB"}, "mouth"),
        ({"AnatomicRegionSequence": None, "SeriesDescription": "Lip"}, "lip"),
    ],
)
def test_accepted(attributes: dict[str, object], reason: str) -> None:
    """Photographs of mouths are accepted, with what speaks for it."""
    accepted, said = judge_photo(header(**attributes))
    assert accepted, said
    assert reason in said


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "PX", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1"}, "no photograph (modality PX)"),
        ({"SOPClassUID": CAPTURE, "Modality": "PX"}, "no photograph"),
        ({"Modality": None, "SOPClassUID": None}, "modality unknown"),
        ({"Modality": "OP"}, "eye"),
        ({"Modality": "DMS"}, "skin"),
        ({"Modality": "GM"}, "microscope"),
        ({"NumberOfFrames": 30}, "frames"),
        ({"PhotometricInterpretation": "MONOCHROME2"}, "without colours"),
        ({"AnatomicRegionSequence": region("Skin of forearm")}, "skin of forearm is not the mouth"),
        ({"AnatomicRegionSequence": None, "BodyPartExamined": "EYE"}, "eye is not the mouth"),
        ({"AnatomicRegionSequence": None, "StudyDescription": "Dermatology, mole"}, "derma"),
        ({"AnatomicRegionSequence": None, "SOPClassUID": ENDOSCOPIC, "Modality": "ES"}, "endoscope"),
        ({"AnatomicRegionSequence": region("Colon"), "SOPClassUID": ENDOSCOPIC, "Modality": "ES"}, "colon"),
    ],
)
def test_refused(attributes: dict[str, object], reason: str) -> None:
    """Everything else is refused with a reason that says why."""
    accepted, said = judge_photo(header(**attributes))
    assert not accepted
    assert reason in said


@pytest.mark.parametrize("tag", [0x00080060, 0x00280008, 0x00082218, 0x00081030, 0x00280004])
@pytest.mark.parametrize("vr", ["ZZ", "SQ", "US"])
def test_odd_values_are_no_crash(tag: int, vr: str) -> None:
    """A value that cannot be read leads to a verdict, not to an exception."""
    ds = header()
    ds[tag] = RawDataElement(BaseTag(tag), vr, 3, b"abc", 0, False, True)  # noqa: FBT003 - pydicom's own order
    accepted, said = judge_photo(ds)
    assert isinstance(accepted, bool)
    assert said
