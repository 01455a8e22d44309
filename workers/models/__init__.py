"""The models: what a model is, and the list of them. A new one is a file here, a line in the list and a bundle."""

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


from workers.models.bundle import BUNDLES  # noqa: E402 - the models need the classes above
from workers.models.conditions import ToothConditions  # noqa: E402 - as above
from workers.models.fracture import Fracture  # noqa: E402 - as above
from workers.models.intraoral_teeth import IntraoralTeeth  # noqa: E402 - as above
from workers.models.oral_photo import OralPhoto  # noqa: E402 - as above
from workers.models.panoramic_teeth import PanoramicTeeth  # noqa: E402 - as above
from workers.models.spine import Spine  # noqa: E402 - as above

#: All that there is code for, in the order in which they run; a site may drop in a bundle for any of them.
KNOWN: tuple[Model, ...] = (
    PanoramicTeeth(),
    IntraoralTeeth(),
    ToothConditions(),  # builds on the teeth before it
    OralPhoto(),
    Fracture(),
    Spine(),
)

#: In the order in which they run. A site may take out the bundle of a model that it does not want.
MODELS: tuple[Model, ...] = tuple(
    model for model in KNOWN if (BUNDLES / str(getattr(model, "bundle_name", model.name))).is_dir()
)
