"""The one model chooser: which models fit an image, and why each of them does or does not.

Header first (modality, SOP class, body part, view: every model judges for itself), then the pixels: the gate refuses
what no model should see, and a model may still decline while it works. Every answer is kept as a ``Choice`` for the
reader; nothing is left out in silence.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydicom.dataset import Dataset

from workers.models import Model


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided about one model and one image.

    Attributes:
        model: name of the model, or of the gate that all images pass.
        accepted: it was to run, or ran.
        reason: why, or why not, in words for the user.
    """

    model: str
    accepted: bool
    reason: str


def choose(header: Dataset, models: Sequence[Model]) -> tuple[tuple[Model, Choice], ...]:
    """The verdict of every model on an image, from its data set without pixels, in the order in which they run."""
    judged = ((model, model.judge(header)) for model in models)
    return tuple((model, Choice(model.name, verdict.accepted, verdict.reason)) for model, verdict in judged)


def refusals(choices: Sequence[Choice]) -> list[str]:
    """Why no model took an image, as "model: reason"; a reason that several gave stands once, with the first."""
    first: dict[str, str] = {}
    for choice in choices:
        first.setdefault(choice.reason, choice.model)
    return [f"{model}: {reason}" for reason, model in first.items()]


def to_json(choices: Sequence[Choice]) -> bytes:
    """The choices as UTF-8 JSON, for the record."""
    return json.dumps([asdict(choice) for choice in choices], separators=(",", ":")).encode()
