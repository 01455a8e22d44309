"""The chooser: every model answers for every image, each answer has a reason, and the right models take each kind."""

import json
from dataclasses import dataclass

import pytest
from pydicom.dataset import Dataset

from service.domain.codes import FINDINGS
from tests.builders import DX, IO, header_of, xray
from workers.models import LoadedModel, Model, Verdict
from workers.models.choose import Choice, choose, refusals, to_json
from workers.models.conditions import ToothConditions
from workers.models.fracture import Fracture
from workers.models.intraoral_teeth import IntraoralTeeth
from workers.models.oral_photo import OralPhoto
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.models.spine import Spine

OURS: tuple[Model, ...] = (
    PanoramicTeeth(), IntraoralTeeth(), ToothConditions(), OralPhoto(), Fracture(), Spine(),
)  # fmt: skip
VL = "1.2.840.10008.5.1.4.1.1.77.1.4"
PLAIN: dict[str, object] = dict.fromkeys(("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence"))


@dataclass
class Fixed:
    """A model that always says the same."""

    name: str
    accepted: bool
    reason: str
    looks_for: tuple[str, ...] = ("tooth",)

    def judge(self, _header: Dataset) -> Verdict:
        """As told."""
        return Verdict(self.accepted, self.reason)

    def load(self, _device: str) -> LoadedModel:
        """Never asked."""
        raise NotImplementedError


def test_every_model_answers_in_order() -> None:
    """Accepted or not, each model is named with its reason, in the order in which they run."""
    models = (Fixed("a", accepted=True, reason="yes"), Fixed("b", accepted=False, reason="no"))
    judged = choose(Dataset(), models)
    assert [choice for _, choice in judged] == [Choice("a", True, "yes"), Choice("b", False, "no")]  # noqa: FBT003 - a record
    assert [model for model, _ in judged] == list(models)
    assert json.loads(to_json([choice for _, choice in judged]))[1] == {"model": "b", "accepted": False, "reason": "no"}


def test_equal_reasons_are_told_once() -> None:
    """Six models that all miss the image size say so once."""
    choices = [Choice("a", False, "no size"), Choice("b", False, "a photo"), Choice("c", False, "no size")]  # noqa: FBT003 - records
    assert refusals(choices) == ["a: no size", "b: a photo"]


@pytest.mark.parametrize(
    ("attributes", "takers"),
    [
        ({}, {"teeth_panoramic", "tooth_conditions"}),
        ({"modality": "IO", "sop_class": IO}, {"teeth_intraoral"}),
        ({"modality": "DX", "sop_class": DX, "BodyPartExamined": "WRIST", "StudyDescription": "Wrist"}, {"fracture"}),
        ({"modality": "CT", "BodyPartExamined": "JAW"}, set()),
        ({"modality": "DX", "BodyPartExamined": "CHEST", "StudyDescription": "Chest"}, set()),
    ],
    ids=["panoramic", "intra-oral", "wrist", "ct", "chest"],
)
def test_the_right_models_take_an_image(attributes: dict[str, object], takers: set[str]) -> None:
    """By modality, SOP class, body part and view; every other model says why not."""
    plain = PLAIN if "BodyPartExamined" in attributes else {}
    judged = choose(header_of(xray(**(plain | attributes))), OURS)  # type: ignore[arg-type] # keywords of xray
    assert {choice.model for _, choice in judged if choice.accepted} == takers
    assert all(choice.reason for _, choice in judged)


def test_a_whole_spine_goes_to_the_spine_model() -> None:
    """A film from the front that is higher than wide, and to no other model."""
    ds = xray(modality="DX", BodyPartExamined="TSPINE", StudyDescription="Whole spine AP", ViewPosition="AP", **PLAIN)  # type: ignore[arg-type] # keywords of xray
    ds.Rows, ds.Columns = 1600, 700
    assert {choice.model for _, choice in choose(ds, OURS) if choice.accepted} == {"spine_landmarks"}


def test_a_photograph_goes_to_no_xray_model() -> None:
    """Whatever the photograph model says, no other one takes a photograph."""
    ds = xray(modality="XC", sop_class=VL, BodyPartExamined="MOUTH", StudyDescription="Intraoral", **PLAIN)  # type: ignore[arg-type] # keywords of xray
    assert {choice.model for _, choice in choose(header_of(ds), OURS) if choice.accepted} <= {"oral_photo"}


def test_an_empty_header_is_refused_by_all() -> None:
    """Nothing known, nothing accepted, everything explained."""
    judged = choose(Dataset(), OURS)
    assert not any(choice.accepted for _, choice in judged)
    assert all(choice.reason for _, choice in judged)


def test_our_models_have_codes_for_all_they_look_for() -> None:
    """Each names kinds that the code table knows, and no two models have one name."""
    assert all(model.looks_for and set(model.looks_for) <= set(FINDINGS) for model in OURS)
    assert len({model.name for model in OURS}) == len(OURS)
