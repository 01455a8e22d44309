"""Artifact -> peer. A new destination is one module here and one line in DESTINATIONS."""

from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from service.domain.errors import ConfigurationError
from service.domain.result import Delivery
from service.export import fhir, folder, mllp, store_scu, stow
from service.settings import DestinationSettings


class Destination(Protocol):
    """A peer that takes results. One object serves a process and its threads; it remembers nothing but its login."""

    #: kinds of results it can take
    takes: tuple[str, ...]
    #: those that are sent when the settings name neither results nor viewer
    default_results: tuple[str, ...]

    def deliver(self, delivery: Delivery) -> str:
        """Send all results; doing it twice MUST leave the peer as doing it once.

        Returns:
            One line on what the peer answered, without patient data.

        Raises:
            Transient: try again later (peer down, busy, timeout).
            Permanent: never try again; the message holds the peer's own words.
            Held: a person must decide (patient not matched).
        """

    def check(self) -> str:
        """Ask the peer without leaving anything there (C-ECHO, FHIR metadata).

        Returns:
            One line on what the peer answered.

        Raises:
            Transient, Permanent: the peer does not work; the message names the cause.
        """


#: Who reads at a DICOM destination -> what it really shows (decision 22 in docs/decisions.md). Results that a viewer
#: cannot show are left out: OHIF's page ends in white at a SEG without plane and in black at an SR without regions, and
#: lists presentation states with a warning only.
VIEWERS: dict[str, tuple[str, ...]] = {
    "ohif": ("sr-text", "seg-plane", "secondary-capture"),
    "weasis": ("sr", "seg", "presentation-state", "key-objects"),
    "legacy": ("secondary-capture", "pdf"),
}

#: URL scheme -> class. Adding one is one line.
DESTINATIONS: dict[str, Callable[[DestinationSettings, str], Destination]] = {
    "dicom": store_scu.StoreScu,
    "stow+http": stow.Stow,
    "stow+https": stow.Stow,
    "fhir+http": fhir.FhirServer,
    "fhir+https": fhir.FhirServer,
    "mllp": mllp.Mllp,
    "mllps": mllp.Mllp,
    "file": folder.Folder,
}


def open_destination(entry: DestinationSettings, calling_ae: str) -> Destination:
    """The destination of an entry of the settings.

    Args:
        entry: the scheme of its url chooses the class.
        calling_ae: our own AE title.

    Raises:
        ConfigurationError: unknown scheme, a URL that lacks a part, or keys that do not fit together.
    """
    scheme = urlsplit(entry.url).scheme
    if scheme not in DESTINATIONS:
        message = f"destination url begins with {scheme!r}, an unknown scheme; use one of {', '.join(DESTINATIONS)}"
        raise ConfigurationError(message)
    return DESTINATIONS[scheme](entry, calling_ae)
