"""The list of the models. Importing it brings torch (seconds, hundreds of megabytes): only who analyzes should."""

from collections.abc import Sequence
from pathlib import Path

from service.settings import Settings
from workers.models import Model
from workers.models.bundle import BUNDLES
from workers.models.conditions import ToothConditions
from workers.models.dropped_in import with_dropped_in
from workers.models.fracture import Fracture
from workers.models.intraoral_teeth import IntraoralTeeth
from workers.models.oral_photo import OralPhoto
from workers.models.panoramic_teeth import PanoramicTeeth
from workers.models.spine import Spine

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


def models_of(settings: Settings) -> Sequence[Model]:
    """The models that ship, and those of the folder of bundles that the settings name, if it is there."""
    return with_dropped_in(MODELS, Path(settings.analysis.bundles), KNOWN)
