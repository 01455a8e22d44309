"""A DICOM application entity that we call: its address, and associations with it (PS3.8)."""

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from pydicom.uid import UID
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from service.domain.errors import ConfigurationError, Permanent, Unavailable
from service.export.reactor_gate import ReactorGate

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_RELEASE_SECONDS, _ABORT_SECONDS = 5.0, 1.0  # all is said by then, and the worker's hard limit may be near
_MAX_PDU = 131072
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")  # PS3.5 6.2, VR AE: no control character, no backslash
#: presentation context for C-ECHO
ECHO = (str(Verification), "1.2.840.10008.1.2")
_SUCCESS = 0x0000


class NotOffered(Permanent):
    """It accepts none of the SOP classes that were proposed."""


class DicomPeer:
    """Where it is, what it is called, and what we call ourselves."""

    def __init__(
        self,
        url: str,
        calling_ae: str,
        *,
        connect_seconds: float | None = None,
        answer_seconds: float | None = None,
    ) -> None:
        """Take AE title and address from the URL; nothing is opened yet.

        Args:
            url: ``dicom://AET@host:port``, port 104 if none is given.
            calling_ae: our own AE title.
            connect_seconds: for the connection to stand; None: what a destination gets.
            answer_seconds: for each answer; None: the same.

        Raises:
            ConfigurationError: a part is missing or wrong.
        """
        parts = urlsplit(url)
        try:
            port = parts.port or 104
        except ValueError:
            port = 0
        called_ae = unquote(parts.username or "").strip()
        if not parts.hostname or not _AE_TITLE.fullmatch(called_ae) or not port:
            message = f"destination url {url!r} lacks a part; write it as dicom://AET@host:port"
            raise ConfigurationError(message)
        self.called_ae, self.calling_ae = called_ae, calling_ae
        self.host, self.port = parts.hostname, port
        self._connect_seconds = connect_seconds or _CONNECT_SECONDS
        self._answer_seconds = answer_seconds or _ANSWER_SECONDS

    def __str__(self) -> str:
        """As in messages."""
        return f"{self.called_ae} at {self.host}:{self.port}"

    @contextmanager
    def associated(
        self, contexts: Sequence[tuple[str, str]], handlers: Sequence[evt.EventHandlerType] = ()
    ) -> Iterator[Association]:
        """An association with one presentation context per SOP class and transfer syntax; released at the end.

        With an exception on its way it is aborted, which hardly waits. A rejection is always Unavailable, even where
        the peer calls it permanent: the usual cause is that it does not know our AE title yet; its administrator mends
        that, and the back-off then finds the door open by itself.

        Raises:
            NotOffered: none of the contexts is accepted.
            Unavailable: no association.
        """
        assoc = self._associate(contexts, handlers)
        try:
            yield assoc
        except BaseException:
            assoc.acse_timeout = _ABORT_SECONDS
            assoc.abort()
            raise
        if assoc.is_established:
            assoc.acse_timeout = _RELEASE_SECONDS  # then pynetdicom aborts ...
            assoc.dul.artim_timer.timeout = _ABORT_SECONDS  # ... and gives the peer this long to close (PS3.8 9.1.5)
            assoc.release()

    def echo(self, assoc: Association) -> None:
        """C-ECHO (PS3.4 Annex A) on an association that has the context ``ECHO``.

        Raises:
            Unavailable: no answer.
            Permanent: an answer that is no success.
        """
        try:
            status = assoc.send_c_echo().get("Status")
        except RuntimeError:  # the association ended at once
            status = None
        if status is None:
            message = f"{self} cut the connection or did not answer C-ECHO"
            raise Unavailable(message)
        if status != _SUCCESS:
            message = f"{self} answers C-ECHO with {status:04X}H"
            raise Permanent(message)

    def _associate(self, contexts: Sequence[tuple[str, str]], handlers: Sequence[evt.EventHandlerType]) -> Association:
        ae = AE(ae_title=self.calling_ae)
        ae.connection_timeout = self._connect_seconds
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self._answer_seconds
        opened: list[bool] = []  # pynetdicom calls a refused connection aborted: only this event tells them apart
        try:
            assoc = ae.associate(
                self.host,
                self.port,
                contexts=[build_context(sop_class, transfer_syntax) for sop_class, transfer_syntax in contexts],
                ae_title=self.called_ae,
                max_pdu=_MAX_PDU,
                evt_handlers=[(evt.EVT_CONN_OPEN, _ready, [opened]), *handlers],
            )
        except OSError as error:  # the name does not resolve
            message = f"{self} cannot be reached: {error.strerror or type(error).__name__}; is the host right?"
            raise Unavailable(message) from error
        if assoc.is_established:
            return assoc
        if assoc.rejected_contexts and not assoc.accepted_contexts:
            refused = ", ".join(sorted({UID(str(c.abstract_syntax)).name for c in assoc.rejected_contexts}))
            message = f"{self} accepts none of: {refused}"
            raise NotOffered(message)
        raise Unavailable(self._why_closed(assoc, connected=bool(opened)))

    def _why_closed(self, assoc: Association, *, connected: bool) -> str:
        primitive = assoc.acceptor.primitive
        if assoc.is_rejected and primitive is not None:
            return (
                f"{self} rejects the association: {primitive.reason_str}; "
                f"does it know our AE title {self.calling_ae!r} and this address?"
            )
        if not connected:
            return f"{self} cannot be reached; is it running, and host and port right?"
        return f"{self} closed the connection or did not answer the association request"


def _ready(event: evt.Event, opened: list[bool]) -> None:
    """Ready the connection that stands now.

    Nagle's algorithm off: with it small objects wait 40 ms each for the peer's delayed acknowledgement. And a limit for
    each read and write: pynetdicom takes it off, and would wait for ever for the second half of an answer.
    """
    opened.append(True)
    event.assoc._reactor_checkpoint = ReactorGate()  # noqa: SLF001 - before its thread runs; see there
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.socket.settimeout(event.assoc.network_timeout)
