"""Settings -> the services a process works with. One set for each process, made after forking."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from service.broker import Broker
from service.db.engine import Database
from service.domain.errors import ConfigurationError
from service.export import VIEWERS, Destination, open_destination
from service.settings import DestinationSettings, Settings
from service.storage import Storage, open_storage

#: Results that are written even if no destination takes them: the pages offer them.
ALWAYS_WRITTEN = frozenset({"sr", "seg", "report"})


@dataclass(frozen=True, slots=True)
class Services:
    """What a process works with."""

    settings: Settings
    db: Database
    storage: Storage
    broker: Broker
    destinations: Mapping[str, tuple[Destination, tuple[str, ...]]]  #: by name, with the results that it gets

    def destination_names(self) -> list[str]:
        """Names of all destinations, in the order of the settings."""
        return [destination.name for destination in self.settings.destination]

    def wanted_results(self) -> set[str]:
        """Kinds of results to write: what some destination takes, and what the pages always offer."""
        return set(ALWAYS_WRITTEN).union(*(kinds for _, kinds in self.destinations.values()))

    def destination(self, name: str) -> tuple[Destination, tuple[str, ...]]:
        """A destination and the kinds of results it takes.

        Raises:
            ConfigurationError: no such destination (any more).
        """
        if name in self.destinations:
            return self.destinations[name]
        message = f"destination {name!r} is not in the settings any more; add it again, or leave the delivery dead"
        raise ConfigurationError(message)


def build(settings: Settings) -> Services:
    """Make the services. Raises ConfigurationError with one line that names the cause and the mend."""
    if settings.broker.url == "embedded":
        message = "broker.url is `embedded`, which only `dentgate up` can start; set it to redis://host:port/0"
        raise ConfigurationError(message)
    return Services(
        settings=settings,
        db=Database(settings.database.url),
        storage=open_storage(settings.storage.url, settings.storage.reserve_mb),
        broker=Broker(settings.broker.url),
        # a wrong URL or login is told now, not at the first delivery
        destinations={entry.name: _open(entry, settings.listener.ae_title) for entry in settings.destination},
    )


def _open(entry: DestinationSettings, calling_ae: str) -> tuple[Destination, tuple[str, ...]]:
    try:
        peer = open_destination(entry, calling_ae)
    except ConfigurationError as error:
        message = f"destination {entry.name!r}: {error}"
        raise ConfigurationError(message) from None
    wanted = entry.results or VIEWERS.get(entry.viewer) or peer.default_results
    if impossible := set(wanted) - set(peer.takes):
        takes = ", ".join(peer.takes)
        message = f"destination {entry.name!r} cannot take {', '.join(sorted(impossible))}; it takes {takes}"
        raise ConfigurationError(message)
    return peer, wanted


def data_folder(settings: Settings, data: Path | None) -> Path:
    """A folder of this machine for lock and socket, the same at every start.

    Args:
        settings: with storage in a folder, that folder serves.
        data: the folder given on the command line, which wins.
    """
    if data is not None:
        return data.resolve()
    if settings.storage.url.startswith("file://"):
        return Path(unquote(urlsplit(settings.storage.url).path))
    digest = hashlib.sha256(f"{settings.storage.url} {settings.database.url}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"dentgate-{digest}"
