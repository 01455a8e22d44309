"""The data phase of an association: P-DATA in, C-ECHO and C-STORE answered, data sets streamed to storage.

PS3.8 9.3.5, PS3.7 9.1. Written by hand because a general state machine costs ten times the time of the transfer itself.
"""

import logging
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.domain.errors import Busy, NotMatching, NotUnderstood, OutOfResources, Refused
from service.listener.command import (
    C_CANCEL,
    C_ECHO,
    C_STORE,
    N_EVENT_REPORT,
    RESPONSE,
    Command,
    Status,
    parse_command,
    response,
)
from service.listener.intake import Intake, Reception
from service.listener.normalized import FIELDS, Requests
from service.listener.wire import Closed, Malformed, Wire

_LOG = logging.getLogger(__name__)

P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 0x04, 0x05, 0x06, 0x07
_LAST, _COMMAND = 0x02, 0x01
_LONGEST_COMMAND = 65536
#: of a commitment or a procedure step: some fourteen thousand instances. Parsed as a whole, 16 MB of nothing but empty
#: items took half a minute and three gigabytes.
_LONGEST_REQUEST, _MOST_ITEMS, _ITEM_TAG = 1 << 21, 1 << 14, b"\xfe\xff\x00\xe0"
_TOO_LONG = "too many instances; ask for fewer at a time"
_PDV_HEAD = 6
# A router may never end its association: what it sent many studies ago must become quiet although it is connected.
_LATEST = 8
#: studies of one association that its release may complete; later ones fall silent
_MOST_BROUGHT = 1000
_STATUSES: tuple[tuple[type[Refused], Status], ...] = (
    (NotMatching, Status.NOT_MATCHING),
    (Busy, Status.BUSY),
    (OutOfResources, Status.OUT_OF_RESOURCES),
    (NotUnderstood, Status.NOT_UNDERSTOOD),
    (Refused, Status.NOT_UNDERSTOOD),
)


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(slots=True)
class _Message:
    """A request whose data set is arriving; without ``reception`` and ``collected`` the data set is passed over."""

    context_id: int
    command: Command
    reception: Reception | None = None
    collected: bytearray | None = None
    status: Status = Status.SUCCESS
    comment: str = ""
    began: float = field(default_factory=time.monotonic)

    def attempt(self, step: Callable[[Reception], None]) -> None:
        """Do a step unless one failed before; a failure becomes the status of the answer, never of the association."""
        if self.reception is None:
            return
        try:
            step(self.reception)
        except Exception as error:  # noqa: BLE001 - the edge: whatever one object does, its neighbours live on
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Answer with this error."""
        if isinstance(error, Refused):
            self.status = next(status for kind, status in _STATUSES if isinstance(error, kind))
            self.comment = str(error)
        else:
            self.status, self.comment = Status.PROCESSING_FAILURE, "processing failure"
            _LOG.error("request failed: %s", type(error).__name__)
        self.drop()

    def drop(self) -> None:
        """Forget the bytes so far."""
        self.collected = None
        reception, self.reception = self.reception, None
        if reception is not None:
            reception.discard()


class Exchange:
    """The data phase of one association.

    Attributes:
        stored: instances acknowledged with success so far.
        refused: instances refused so far.
        brought: studies (UIDs) of which instances were acknowledged with success, the first thousand.
        busy: True from the first byte of a request to its answer.
    """

    def __init__(
        self,
        wire: Wire,
        contexts: Mapping[int, Context],
        intake: Intake,
        calling_ae: str,
        *,
        max_pdu: int,
        kept_seconds: float,
        requests: Requests | None = None,
    ) -> None:
        """Take over an accepted association.

        Args:
            wire: the connection.
            contexts: accepted, by their ID.
            intake: where instances go.
            calling_ae: who sends them.
            max_pdu: what we announced, in bytes.
            kept_seconds: how long after its last instance a study counts as being sent.
            requests: answers storage commitment and procedure steps; without it they are not offered.
        """
        self._wire = wire
        self._contexts = contexts
        self._intake = intake
        self._calling_ae = calling_ae
        self._max_pdu = max_pdu
        self._requests = requests
        self._fragments = bytearray()
        self._message: _Message | None = None
        self.stored = self.refused = 0
        self.brought: set[str] = set()
        self._latest: tuple[tuple[str, float], ...] = ()  # replaced, never changed: other threads read it
        self._kept_seconds = kept_seconds
        self.busy = False

    @property
    def studies(self) -> tuple[str, ...]:
        """UIDs of the latest studies that are still being sent.

        A sender that only echoes brings nothing more; while an object arrives, however slowly, its study may be any of
        those that were being sent when it began. May be asked by any thread.
        """
        message, latest = self._message, self._latest
        arriving = message is not None and message.reception is not None  # not passed over, having been refused
        now = message.began if message is not None and arriving else time.monotonic()
        return tuple(uid for uid, received_at in latest if now - received_at < self._kept_seconds)

    def run(self) -> None:
        """Serve until the peer asks for release, which the caller answers.

        Raises:
            Closed: the peer aborted or closed the connection.
            Malformed: it broke the protocol.
            TimeoutError, OSError: it fell silent, or the network failed.
        """
        try:
            while True:
                kind, length = struct.unpack(">BxL", self._wire.take(6))
                if kind == P_DATA:
                    self._pdu(length)
                elif kind == RELEASE_RQ:
                    return
                elif kind == ABORT:
                    message = "the peer aborted"
                    raise Closed(message)
                else:
                    message = f"unexpected PDU type {kind:02X}"
                    raise Malformed(message, reason=2 if 1 <= kind <= ABORT else 1)
        finally:
            if self._message is not None:
                self._message.drop()

    def _pdu(self, length: int) -> None:
        if length > self._max_pdu:
            message = f"PDU of {length} bytes, the maximum is {self._max_pdu}"
            raise Malformed(message)
        self.busy = True
        while length:
            if length < _PDV_HEAD:
                message = "PDU ends within a PDV"
                raise Malformed(message)
            size, context_id, control = struct.unpack(">LBB", self._wire.take(_PDV_HEAD))
            length -= size + 4
            if size < 2 or length < 0 or context_id not in self._contexts:  # noqa: PLR2004 - context ID and control byte
                message = "PDV is longer than its PDU or in a context that was not accepted"
                raise Malformed(message)
            if control & _COMMAND:
                self._command(context_id, size - 2, last=bool(control & _LAST))
            else:
                self._data(context_id, size - 2, last=bool(control & _LAST))
        self.busy = self._message is not None or bool(self._fragments)

    def _command(self, context_id: int, size: int, *, last: bool) -> None:
        if self._message is not None or len(self._fragments) + size > _LONGEST_COMMAND:
            complaint = "a command within a data set, or one that does not end"
            raise Malformed(complaint, reason=5)
        self._fragments += self._wire.take(size)
        if not last:
            return
        command = parse_command(bytes(self._fragments))
        self._fragments.clear()
        message = self._begin(context_id, command)
        if command.has_data_set:
            self._message = message
        else:
            self._answer(message)

    def _begin(self, context_id: int, command: Command) -> _Message:
        message = _Message(context_id, command)
        context = self._contexts[context_id]
        if command.field == C_STORE:
            if command.sop_class_uid != context.sop_class_uid:
                message.status, message.comment = Status.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the context"
            elif not command.has_data_set:
                message.status, message.comment = Status.NOT_UNDERSTOOD, "no data set"
            else:
                self._open(message, context)
        elif command.field in FIELDS and self._requests is not None:
            message.status = self._requests.judge(command, context.sop_class_uid)
            if message.status is Status.SUCCESS:
                message.collected = bytearray()
        elif command.field != C_ECHO:
            message.status = Status.UNRECOGNIZED_OPERATION
        return message

    def _open(self, message: _Message, context: Context) -> None:
        command = message.command
        try:
            message.reception = self._intake.begin(
                command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax_uid, self._calling_ae
            )
        except Exception as error:  # noqa: BLE001 - the edge: the data set is passed over, then the sender is told
            message.fail(error)

    def _data(self, context_id: int, size: int, *, last: bool) -> None:
        message = self._message
        if message is None or message.context_id != context_id:
            complaint = "a data set that no command announced"
            raise Malformed(complaint, reason=5)
        while size:
            piece = self._wire.some(size)
            message.attempt(lambda reception, piece=piece: reception.write(piece))  # type: ignore[misc]
            if message.collected is not None:
                _collect(message, piece)
            size -= len(piece)
        if last:
            self._message = None
            message.attempt(self._finish)
            if message.collected is not None and self._requests is not None:
                self._request(message, bytes(message.collected), self._requests)
            message.drop()
            self._answer(message)

    def _request(self, message: _Message, raw: bytes, requests: Requests) -> None:
        syntax = self._contexts[message.context_id].transfer_syntax_uid
        if raw.count(_ITEM_TAG) > _MOST_ITEMS:
            message.fail(NotUnderstood(_TOO_LONG))
            return
        try:
            message.status, message.command = requests.take(message.command, message.context_id, raw, syntax)
        except Exception as error:  # noqa: BLE001 - the edge: the sender is told, its association lives on
            message.fail(error)

    def _finish(self, reception: Reception) -> None:
        instance, _recorded = reception.finish()
        self.stored += 1
        study = instance.study_instance_uid
        if len(self.brought) < _MOST_BROUGHT:
            self.brought.add(study)
        others = (entry for entry in self._latest if entry[0] != study)
        self._latest = ((study, time.monotonic()), *others)[:_LATEST]

    def _answer(self, message: _Message) -> None:
        self.busy = False
        if message.command.field == N_EVENT_REPORT | RESPONSE and self._requests is not None:
            self._requests.heard(message.command)
        if message.command.field == C_CANCEL or message.command.field & RESPONSE:
            return  # nothing to cancel, nothing was asked
        if message.status is not Status.SUCCESS:
            self.refused += 1
            _LOG.info("refused with %04X: %s", message.status, message.comment or "operation not supported")
        body = response(message.command, message.status, message.comment)
        head = struct.pack(">BxLLBB", P_DATA, len(body) + 6, len(body) + 2, message.context_id, _COMMAND | _LAST)
        self._wire.send(head + body)
        if self._requests is not None:
            self._requests.tell(self._wire, self._contexts)


def _collect(message: _Message, piece: memoryview) -> None:
    """Keep a piece of a small data set."""
    collected = message.collected
    if collected is None:
        return
    collected += piece
    if len(collected) > _LONGEST_REQUEST:
        message.fail(NotUnderstood(_TOO_LONG))
