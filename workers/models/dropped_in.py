"""Bundles that a site drops into a folder: each becomes a model when a worker starts, without a line of code.

A bundle named like a model that ships (the user trained it anew) takes that model's place; one with ``dentgate.json``
is served by its mapping; one that is broken stays visible: it refuses every image and says why, and ``dentgate models``
shows it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from pydicom.dataset import Dataset

from service.domain.errors import ConfigurationError
from workers.models import LoadedModel, Model, Verdict
from workers.models.bundle_config import read_config
from workers.models.dropped_classifier import KIND, DroppedClassifier
from workers.models.foreign import ForeignBundle
from workers.models.mapping import NAME

_METADATA = "configs/metadata.json"


class _Retrained(Protocol):
    """A class of models that ship: takes the folder of another bundle."""

    def __call__(self, bundle: Path) -> Model:
        """The same model with other weights."""
        ...


class BrokenBundle:
    """Stands for a bundle that cannot serve."""

    looks_for: tuple[str, ...] = ()

    def __init__(self, path: Path, reason: str) -> None:
        """``reason``: in words for the user."""
        self.name, self._reason = path.name, reason

    def judge(self, _header: Dataset) -> Verdict:
        """No."""
        return Verdict(accepted=False, reason=f"the dropped-in bundle cannot serve: {self._reason}")

    def load(self, _device: str) -> LoadedModel:
        """Raises ConfigurationError with the reason."""
        raise ConfigurationError(self._reason)


def with_dropped_in(shipped: Sequence[Model], folder: Path, known: Sequence[Model] = ()) -> tuple[Model, ...]:
    """The models that ship, those of the same name replaced, and the others of the folder behind them.

    Args:
        shipped: the models in their order.
        folder: holds a folder for each bundle; need not be there.
        known: more models that a bundle may belong to, of those whose own bundle does not ship.
    """
    models = {model.name: model for model in shipped}
    for found in dropped_in(folder, (*shipped, *known)):
        models[found.name] = found
    return tuple(models.values())


def dropped_in(folder: Path, shipped: Sequence[Model] = ()) -> tuple[Model, ...]:
    """The models of a folder of bundles, by name of their folders; empty where there is no such folder."""
    if not folder.is_dir():
        return ()
    paths = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return tuple(_model(path, shipped) for path in paths)


def _model(path: Path, shipped: Sequence[Model]) -> Model:
    try:
        metadata = read_config(path / _METADATA)
        if (path / NAME).is_file():
            return DroppedClassifier(path) if metadata.get("kind") == KIND else ForeignBundle(path)
        for model in shipped:
            if model.name == metadata.get("name"):
                return cast("_Retrained", type(model))(bundle=path)
    except ConfigurationError as error:
        return BrokenBundle(path, str(error))
    message = (
        f"{path} has no {NAME}, which says which images it takes and what its channels mean "
        '(docs/training.md, "A bundle made elsewhere")'
    )
    return BrokenBundle(path, message)
