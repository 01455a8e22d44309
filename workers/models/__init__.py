"""The models: what a model is. A new one is a file here, a line in the list (``shipped``) and a bundle."""

from collections.abc import Sequence
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

    def analyze(self, image: Image, before: Sequence[Detection] = ()) -> tuple[Detection, ...]:
        """What it sees, in the geometry of the oriented image.

        Args:
            image: the picture.
            before: what the models before it in ``MODELS`` saw in the same image, for a model that builds on them.

        Raises:
            Declined: the pixels are not what the model was made for (too dark, not a mouth, cut off); says why. The
                reason goes into the results.
        """
        ...


class Model(Protocol):
    """A model before anything expensive happened."""

    name: str

    @property
    def looks_for(self) -> tuple[str, ...]:
        """Kinds of finding that it can find, keys of ``service.domain.codes.FINDINGS``."""
        ...

    def judge(self, header: Dataset) -> Verdict:
        """Whether it fits an image, from the data set without pixels; never raises on odd values."""
        ...

    def load(self, device: str) -> LoadedModel:
        """Read the weights and make them ready; once per worker process. Raises ConfigurationError."""
        ...
