"""An image classifier that a user trained with ``dentgate train images`` and dropped into the folder of bundles.

Its dentgate.json says which images it takes, and which of its classes is which finding (see ``mapping``).
"""

from dataclasses import replace
from pathlib import Path

from pydicom.dataset import Dataset

from service.domain.errors import ConfigurationError
from workers.models import LoadedModel, Verdict
from workers.models.image_classifier import ImageClassifier
from workers.models.mapping import NAME, Mapping, read_mapping

KIND = "image_classifier"  #: in the bundle's metadata


class DroppedClassifier:
    """Serves such a bundle."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError where dentgate.json is missing or wrong."""
        self.name, self._path = path.name, path
        self._mapping: Mapping = read_mapping(path, {})
        self.looks_for = tuple(sorted({channel.finding for channel in self._mapping.channels.values()}))

    def judge(self, header: Dataset) -> Verdict:
        """Accept what the mapping names."""
        return Verdict(*self._mapping.judge(header))

    def load(self, device: str) -> LoadedModel:
        """Read the bundle and open the network. Raises ConfigurationError."""
        loaded = ImageClassifier(self._path, device)
        settings, channels = loaded.settings, self._mapping.channels
        if beyond := [index for index in channels if not 0 <= index < len(settings.classes)]:
            message = f"{self._path / NAME}: channel {beyond[0]} is not there; the bundle has {len(settings.classes)}"
            raise ConfigurationError(message)
        loaded.settings = replace(
            settings,
            findings={settings.classes[index]: channel.finding for index, channel in channels.items()},
            thresholds=tuple(
                (channels[index].threshold if index in channels else None) or threshold
                for index, threshold in enumerate(settings.thresholds)
            ),
        )
        loaded.algorithm = replace(loaded.algorithm, name=self.name)  # two of them must not be taken for one
        return loaded
