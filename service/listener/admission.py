"""Who may associate with us (PS3.8 9.3.4)."""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from pynetdicom.pdu_primitives import A_ASSOCIATE

from service.settings import ListenerSettings, SourceSettings

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ: result, source and reason as PS3.8 table 9-21 numbers them, and words for the log."""

    result: int
    source: int
    reason: int
    words: str


LIMIT = Rejection(2, 3, 2, "too many associations")
BUSY = Rejection(2, 3, 2, "too many studies wait, and this sender is in the middle of none")
_CONTEXT = Rejection(1, 1, 2, "application context is not DICOM")
_CALLING = Rejection(1, 1, 3, "calling AE title or its address is not among the sources")
_CALLED = Rejection(1, 1, 7, "called AE title is not ours")


def judge(
    request: A_ASSOCIATE, host: str, settings: ListenerSettings, sources: Sequence[SourceSettings]
) -> Rejection | None:
    """Why this request from this address is rejected, None if it is welcome.

    The hosts of a source hold for its title also where any other title is accepted.
    """
    if request.application_context_name != APPLICATION_CONTEXT:
        return _CONTEXT
    if settings.check_called_ae and str(request.called_ae_title).strip() != settings.ae_title:
        return _CALLED
    calling_ae = str(request.calling_ae_title).strip()
    named = [source for source in sources if source.ae_title == calling_ae]
    if any(_from(host, source.hosts) for source in named):
        return None
    return None if settings.accept_any_calling_ae and not named else _CALLING


def _from(host: str, allowed: Sequence[str]) -> bool:
    address = _address(host)
    return not allowed or any(address in _addresses(entry) for entry in allowed)


def _address(text: str) -> str:
    """One spelling for each address; an IPv4 address that arrives on an IPv6 socket is the IPv4 address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


class _Network:
    def __init__(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
        self._network = network

    def __contains__(self, address: str) -> bool:
        return ipaddress.ip_address(address) in self._network


def _addresses(entry: str) -> "_Network | frozenset[str]":
    """An address, a network such as 10.0.0.0/24, or a host name, asked for each time because such names move."""
    try:
        return _Network(ipaddress.ip_network(entry, strict=False))
    except ValueError:
        pass
    try:
        return frozenset(_address(str(info[4][0])) for info in socket.getaddrinfo(entry, None))
    except OSError:
        return frozenset()
