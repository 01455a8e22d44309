"""One association from the first byte to the last: request, answer, data phase, release or abort."""

import logging
import socket
import struct
import time
from collections.abc import Callable, Sequence

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)

from service.domain.errors import DentgateError
from service.listener.admission import BUSY, LIMIT, Rejection, judge
from service.listener.contexts import STORAGE, agreed_roles, negotiate
from service.listener.intake import Intake
from service.listener.normalized import Normalized, Requests
from service.listener.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.listener.receive import RELEASE_RP, Context, Exchange
from service.listener.request import check_request
from service.listener.wire import Closed, Malformed, Wire
from service.settings import ListenerSettings, SourceSettings

_LOG = logging.getLogger(__name__)

ARTIM_SECONDS = 30.0  # the whole request must be here by then (PS3.8 9.1.5)
_LINGER_SECONDS = 2.0
# A sender may pause between two images of a study, but not for ever: the longer of the two, after the last image.
_KEPT_OPEN_SECONDS, _KEPT_OPEN_QUIETS = 60.0, 3
_ASSOCIATE_RQ, _ASSOCIATE_RJ, _ABORT = 0x01, 0x03, 0x07
# 128 contexts, each with every transfer syntax there is, take 200 kB; nothing honest is longer.
_LONGEST_REQUEST = 1 << 20
_SHORTEST_REQUEST = 68


class Association:
    """Serves one connection; ``run`` is its thread, everything else may be called from others."""

    def __init__(
        self,
        connection: socket.socket,
        host: str,
        settings: ListenerSettings,
        sources: Sequence[SourceSettings],
        intake: Intake,
        admit: Callable[["Association"], bool],
        normalized: Normalized | None = None,
    ) -> None:
        """Take over a connection.

        Args:
            connection: accepted; closed at the end of ``run``.
            host: address of the peer.
            settings, sources: who may come.
            intake: where instances go.
            admit: takes one of the limited places; False if there is none left.
            normalized: storage commitment and procedure steps, if they are offered.
        """
        deadline = time.monotonic() + ARTIM_SECONDS
        self._wire = Wire(connection, lambda: deadline - time.monotonic())
        self._host = host
        self._settings = settings
        self._sources = sources
        self._intake = intake
        self._admit = admit
        self._normalized = normalized
        self._exchange: Exchange | None = None
        self._stopped = False
        self._complete: frozenset[str] = frozenset()

    @property
    def complete(self) -> frozenset[str]:
        """Studies (UIDs) that it brought to their end: all of those of a sender that sends each in one association.

        Empty before its release, if it ended otherwise, and if anything was refused, which may yet be sent again.
        """
        return self._complete

    @property
    def studies(self) -> tuple[str, ...]:
        """The latest studies that it is still sending."""
        return self._exchange.studies if self._exchange else ()

    @property
    def busy(self) -> bool:
        """True while a request is being received or answered."""
        return self._exchange is not None and self._exchange.busy

    @property
    def heard_at(self) -> float:
        """When it last received something, on the monotonic clock."""
        return self._wire.heard_at

    def stop(self, *, now: bool) -> None:
        """Abort it; ``run`` returns soon. With ``now`` it does not even tell the peer."""
        self._stopped = True
        self._wire.shut(sending=now)

    def run(self) -> None:
        """Serve the connection; never raises."""
        try:
            self._serve()
        except Malformed as error:
            _LOG.warning("association from %s aborted: %s", self._host, error)
            self._abort(source=2, reason=error.reason)
        except TimeoutError:
            _LOG.warning("association from %s aborted: silent for too long", self._host)
            self._abort(source=2, reason=0)
        except (Closed, OSError) as error:
            _LOG.info("connection from %s ended: %s", self._host, "we stop" if self._stopped else error)
            if self._stopped:
                self._abort(source=0, reason=0)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: one association never takes others along
            _LOG.error("association from %s failed: %s", self._host, type(error).__name__)
            self._abort(source=2, reason=0)
        finally:
            self._wire.close()

    def _serve(self) -> None:
        request = self._request()
        rejection = judge(request, self._host, self._settings, self._sources)
        if rejection is None and self._in_vain(request):
            rejection = BUSY
        if rejection is None and not self._admit(self):
            rejection = LIMIT
        if rejection is not None:
            self._reject(rejection, str(request.calling_ae_title).strip())
            return
        self._converse(request)

    def _in_vain(self, request: A_ASSOCIATE) -> bool:
        """Whether it wants nothing but to send, and nothing of it would be taken: better told before it sends it."""
        wanted = {str(context.abstract_syntax) for context in request.presentation_context_definition_list}
        return wanted <= STORAGE and not self._intake.welcome(str(request.calling_ae_title).strip())

    def _request(self) -> A_ASSOCIATE:
        kind, length = struct.unpack(">BxL", head := self._wire.take(6))
        if kind != _ASSOCIATE_RQ or not _SHORTEST_REQUEST <= length <= _LONGEST_REQUEST:
            message = "the first bytes are no association request"
            raise Malformed(message, reason=1 if kind != _ASSOCIATE_RQ else 6)
        pdu = A_ASSOCIATE_RQ()
        raw = head + self._wire.take(length)
        check_request(raw)
        try:
            pdu.decode(raw)
            primitive = pdu.to_primitive()
        except Exception as error:  # noqa: BLE001 - the decoder raises whatever damaged bytes make it stumble over
            message = f"association request is damaged ({type(error).__name__})"
            raise Malformed(message) from None
        contexts = primitive.presentation_context_definition_list
        if not all(context.abstract_syntax and context.transfer_syntax for context in contexts):
            message = "a presentation context without an abstract or a transfer syntax"
            raise Malformed(message)
        return primitive

    def _reject(self, rejection: Rejection, calling_ae: str) -> None:
        _LOG.warning("association from %s at %s rejected: %s", calling_ae, self._host, rejection.words)
        self._wire.send(struct.pack(">BxLxBBB", _ASSOCIATE_RJ, 4, rejection.result, rejection.source, rejection.reason))
        self._wire.linger(_LINGER_SECONDS)

    def _converse(self, request: A_ASSOCIATE) -> None:
        calling_ae = str(request.calling_ae_title).strip()
        results = negotiate(request.presentation_context_definition_list)
        contexts = {
            int(result.context_id or 0): Context(str(result.abstract_syntax), str(result.transfer_syntax[0]))
            for result in results
            if result.result == 0
        }
        timeout = self._settings.network_timeout
        self._wire.remaining = lambda: timeout
        request.presentation_context_definition_results_list = results
        self._wire.send(_acceptance(request, self._settings.max_pdu))
        began = time.monotonic()
        _LOG.info("association from %s at %s: %d contexts accepted", calling_ae, self._host, len(contexts))
        kept = max(_KEPT_OPEN_SECONDS, _KEPT_OPEN_QUIETS * self._settings.quiet_seconds)
        max_pdu = self._settings.max_pdu
        requests = self._requests(calling_ae, int(request.maximum_length_received or 0))
        exchange = Exchange(
            self._wire, contexts, self._intake, calling_ae, max_pdu=max_pdu, kept_seconds=kept, requests=requests
        )
        self._exchange = exchange
        try:
            exchange.run()
        finally:
            self._touch(exchange.studies)
            counts = (exchange.stored, exchange.refused, time.monotonic() - began)
            _LOG.info("association from %s at %s: %d stored, %d refused, %.1f s", calling_ae, self._host, *counts)
        if not exchange.refused and self._sends_at_once(calling_ae):
            self._complete = frozenset(exchange.brought)
        self._exchange = None  # it sends nothing any more
        self._wire.send(struct.pack(">BxL4x", RELEASE_RP, 4))
        self._wire.linger(_LINGER_SECONDS)

    def _sends_at_once(self, calling_ae: str) -> bool:
        return any(each.complete_on_release for each in self._sources if each.ae_title == calling_ae)

    def _requests(self, calling_ae: str, peer_max_pdu: int) -> Requests | None:
        return None if self._normalized is None else self._normalized.on(calling_ae, self._host, peer_max_pdu)

    def _touch(self, studies: tuple[str, ...]) -> None:
        if not studies:
            return
        try:
            self._intake.touch(studies)
        except Exception as error:  # noqa: BLE001 - the instances are safe; at worst their study closes a little early
            _LOG.warning("studies not touched: %s", type(error).__name__)

    def _abort(self, source: int, reason: int) -> None:
        try:
            self._wire.send(struct.pack(">BxLxxBB", _ABORT, 4, source, reason))
        except (OSError, DentgateError):
            return
        self._wire.linger(_LINGER_SECONDS)


def _acceptance(request: A_ASSOCIATE, max_pdu: int) -> bytes:
    """The A-ASSOCIATE-AC (PS3.8 9.3.3); no answer to extended negotiation and user identity declines them."""
    roles = agreed_roles(request.user_information)
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    request.result = 0
    request.user_information = [length, class_uid, version, *roles]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(request)
    return bytes(pdu.encode())
