"""Storage commitment within one association: takes the request, tells the answer where no other way is known.

The other way round it takes the report of an archive on a commitment that we asked for (see export/commitment.py).
"""

import logging
import struct
from collections.abc import Mapping
from typing import Protocol

from service.db.commitments import Transaction
from service.listener.command import N_ACTION, N_EVENT_REPORT, Command, Status, event_report
from service.listener.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, REQUEST_COMMITMENT, Commitments, encoded
from service.listener.wire import Wire

_LOG = logging.getLogger(__name__)

_P_DATA, _COMMAND_LAST, _DATA, _DATA_LAST = 0x04, 0x03, 0x00, 0x02
_HEADS = 6  # of a PDV within a PDU: length, context ID, control
_SMALLEST_PDU, _LARGEST_PDU = 1024, 131072
_MOST_MESSAGE_IDS = 65535


class Negotiated(Protocol):
    """What is needed of an accepted presentation context."""

    @property
    def sop_class_uid(self) -> str:
        """Abstract syntax."""
        ...

    @property
    def transfer_syntax_uid(self) -> str:
        """Transfer syntax."""
        ...


class Promises:
    """The commitments of one association. For its thread only."""

    def __init__(self, commitments: Commitments, calling_ae: str, host: str, peer_max_pdu: int) -> None:
        """``peer_max_pdu``: what the peer takes, in bytes; 0 = anything."""
        self._commitments, self._calling_ae, self._host = commitments, calling_ae, host
        self._size = max(min(peer_max_pdu or _LARGEST_PDU, _LARGEST_PDU), _SMALLEST_PDU) - _HEADS
        self._to_tell = list[tuple[int, Transaction]]()
        self._told = dict[int, Transaction]()
        self._message_id = 0

    def judge(self, command: Command) -> Status:
        """Whether a request asks for storage commitment (N-ACTION, PS3.4 J.3.2), or reports on one (J.3.3)."""
        if command.field not in {N_ACTION, N_EVENT_REPORT}:
            return Status.UNRECOGNIZED_OPERATION
        if command.sop_instance_uid != PUSH_MODEL_INSTANCE:
            return Status.NO_SUCH_INSTANCE
        if command.field == N_ACTION and command.action != REQUEST_COMMITMENT:
            return Status.NO_SUCH_ACTION
        return Status.SUCCESS if command.has_data_set else Status.INVALID_ARGUMENT

    def take(self, command: Command, context_id: int, raw: bytes, transfer_syntax_uid: str) -> Status:
        """Record a request, or a report; the answer. Raises NotUnderstood, or what the database raises."""
        if command.field == N_EVENT_REPORT:
            known = self._commitments.reported(raw, transfer_syntax_uid, self._calling_ae)
            return Status.SUCCESS if known else Status.INVALID_ARGUMENT
        transaction = self._commitments.request(raw, transfer_syntax_uid, self._calling_ae, self._host)
        if transaction is not None:
            earlier = self._commitments.unheard(self._calling_ae)
            self._to_tell += [(context_id, each) for each in (transaction, *earlier)]
        return Status.SUCCESS

    def tell(self, wire: Wire, contexts: Mapping[int, Negotiated]) -> None:
        """Send the reports that are due, after the answer to the request has gone out."""
        while self._to_tell:
            context_id, transaction = self._to_tell.pop(0)
            try:
                event, information = self._commitments.report(transaction)
            except Exception as error:  # noqa: BLE001 - the database is away: the association must not die of it
                _LOG.warning("commitment is told later: %s", type(error).__name__)
                continue
            self._message_id = self._message_id % _MOST_MESSAGE_IDS + 1
            command = event_report(self._message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE, event)
            data = encoded(information, contexts[context_id].transfer_syntax_uid)
            self._told[self._message_id] = transaction
            wire.send(_pdu(context_id, _COMMAND_LAST, command) + self._pdus(context_id, data))

    def heard(self, command: Command) -> None:
        """The peer answered a report; never raises, at worst it is told again."""
        transaction = self._told.pop(command.message_id, None)
        if transaction is None:
            return
        try:
            self._commitments.told(transaction, command.status)
        except Exception as error:  # noqa: BLE001 - the database is away: the association must not die of it
            _LOG.warning("commitment is told again later: %s", type(error).__name__)

    def _pdus(self, context_id: int, data: bytes) -> bytes:
        """A data set in PDUs that the peer can take."""
        starts = range(0, len(data), self._size)
        return b"".join(
            _pdu(context_id, _DATA_LAST if start + self._size >= len(data) else _DATA, data[start : start + self._size])
            for start in starts
        )


def _pdu(context_id: int, control: int, body: bytes) -> bytes:
    return struct.pack(">BxLLBB", _P_DATA, len(body) + _HEADS, len(body) + 2, context_id, control) + body
