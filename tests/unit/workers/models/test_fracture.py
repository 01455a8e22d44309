"""Which images the fracture model takes, told by the header alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from service.domain.errors import Declined
from workers.models.fracture import Fracture, likeness_of_neighbours
from workers.pixels import Image


def header(**values: object) -> Dataset:
    """A radiograph unless said otherwise."""
    ds = Dataset()
    for keyword, value in ({"Modality": "DX", "Rows": 2000, "Columns": 1500} | values).items():
        setattr(ds, keyword, value)
    return ds


def region(meaning: str) -> list[Dataset]:
    """Anatomic Region Sequence."""
    item = Dataset()
    item.CodeMeaning = meaning
    return [item]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"BodyPartExamined": "HAND"}, "body part hand"),
        ({"BodyPartExamined": "WRIST", "Modality": "CR"}, "body part wrist"),
        ({"BodyPartExamined": "ANKLES"}, "body part ankle"),
        ({"AnatomicRegionSequence": region("Knee joint")}, "coded region knee"),
        ({"StudyDescription": "XR left foot, 2 views"}, "description foot"),
        ({"Modality": "OT", "SeriesDescription": "forearm ap/lat"}, "description forearm"),
        ({"StudyDescription": "XR TIB/FIB LT"}, "description tib"),
        ({"AnatomicRegionSequence": region("Fifth metatarsal bone")}, "coded region metatarsal"),
        ({"BodyPartExamined": "HAND", "StudyDescription": "chest and hand"}, "body part hand"),
    ],
)
def test_arms_and_legs_are_accepted(values: dict[str, Any], word: str) -> None:
    """The reason names where the part of the body stands and which it is."""
    verdict = Fracture().judge(header(**values))
    assert verdict.accepted
    assert word in verdict.reason


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "neither body part nor description"),
        ({"BodyPartExamined": "CHEST"}, "chest"),
        ({"BodyPartExamined": "LSPINE", "StudyDescription": "spine and hip"}, "lspine"),
        ({"BodyPartExamined": "JAW"}, "jaw"),
        ({"StudyDescription": "dental panoramic"}, "dental"),
        ({"AnatomicRegionSequence": region("Thoracic spine")}, "thoracic"),
        ({"Modality": "CT", "BodyPartExamined": "HAND"}, "modality CT"),
        ({"Modality": "MR", "BodyPartExamined": "KNEE"}, "modality MR"),
        ({"Modality": "PX"}, "modality PX"),
        ({"Modality": "IO"}, "modality IO"),
        ({"BodyPartExamined": "HAND", "SamplesPerPixel": 3}, "colour"),
        ({"BodyPartExamined": "HAND", "NumberOfFrames": "8"}, "frames"),
        ({"BodyPartExamined": "HAND", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4"}, "photograph"),
        ({"StudyDescription": "charm of the farm"}, "neither"),
    ],
)
def test_all_else_is_refused_with_a_reason(values: dict[str, Any], word: str) -> None:
    """Other parts of the body, other modalities and images that do not say what they show are refused."""
    verdict = Fracture().judge(header(**values))
    assert not verdict.accepted
    assert word in verdict.reason


def test_damaged_values_raise_nothing() -> None:
    """Values that cannot be read count as not there."""
    ds = header(BodyPartExamined="HAND")
    ds[Tag(0x0028, 0x0008)] = RawDataElement(Tag(0x0028, 0x0008), "IS", 3, b"odd", 0, False, True)  # noqa: FBT003 - as read
    assert Fracture().judge(ds).accepted
    ds = header()
    ds[Tag(0x0008, 0x2218)] = RawDataElement(Tag(0x0008, 0x2218), "SQ", 3, b"odd", 0, False, True)  # noqa: FBT003
    assert not Fracture().judge(ds).accepted


def test_noise_has_no_likeness() -> None:
    """Neighbours in noise have nothing in common, those of a slope and of an even plane nearly all."""
    noise = np.random.default_rng(0).random((600, 400)).astype(np.float32)
    slope = np.tile(np.linspace(0, 1, 400, dtype=np.float32), (600, 1))
    assert abs(likeness_of_neighbours(noise)) < 0.1
    assert likeness_of_neighbours(slope + 0.05 * noise) > 0.9
    assert likeness_of_neighbours(np.full((60, 40), 0.5, np.float32)) == 1


def test_a_blank_image_has_no_fracture() -> None:
    """The bundle that ships loads, says nothing of an even grey plane, and declines noise."""
    model = Fracture().load("cpu")
    blank = Image(np.full((300, 240), 0.5, np.float32), Dataset(), flipped_x=False, flipped_y=False, notes=())
    assert model.analyze(blank) == ()
    noise = replace(blank, pixels=np.random.default_rng(0).random((300, 240)).astype(np.float32))
    with pytest.raises(Declined, match="noise"):
        model.analyze(noise)
