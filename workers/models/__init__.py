"""The models: what a model is, and the list of them. A new one is a file here, a line in the list and a bundle."""

from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset

from service.domain.finding import Algorithm
from workers.pixels import Image
from workers.regions import Detection


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model fits an image, and why (or why not), in words for the user."""

    accepted: bool
    reason: str


class LoadedModel(Protocol):
    """A model with its weights, ready to work."""

    algorithm: Algorithm

    def analyze(self, image: Image) -> tuple[Detection, ...]:
        """What it sees, in the geometry of the oriented image."""
        ...


class Model(Protocol):
    """A model before anything expensive happened."""

    name: str

    def judge(self, header: Dataset) -> Verdict:
        """Whether it fits an image, from the data set without pixels; never raises on odd values."""
        ...

    def load(self, device: str) -> LoadedModel:
        """Read the weights and make them ready; once per worker process. Raises ConfigurationError."""
        ...


from workers.models.panoramic_teeth import PanoramicTeeth  # noqa: E402 - it needs the classes above

MODELS: tuple[Model, ...] = (
    PanoramicTeeth(),
)  # fmt: skip
