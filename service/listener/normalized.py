"""The DIMSE-N services of one association: storage commitment and procedure steps, told apart by SOP class."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.listener.command import N_ACTION, N_CREATE, N_EVENT_REPORT, N_SET, Command, Status
from service.listener.commitment import PUSH_MODEL, Commitments
from service.listener.procedure_step import PROCEDURE_STEP, ProcedureSteps
from service.listener.promises import Negotiated, Promises
from service.listener.wire import Wire

FIELDS = frozenset({N_ACTION, N_CREATE, N_EVENT_REPORT, N_SET})


@dataclass(frozen=True, slots=True)
class Normalized:
    """What a listener offers beside C-ECHO and C-STORE; for many threads."""

    commitments: Commitments
    procedure_steps: ProcedureSteps

    def on(self, calling_ae: str, host: str, peer_max_pdu: int) -> "Requests":
        """For one association; ``peer_max_pdu``: what the peer takes, in bytes, 0 = anything."""
        return Requests(Promises(self.commitments, calling_ae, host, peer_max_pdu), self.procedure_steps, calling_ae)


class Requests:
    """Takes the requests of one association. For its thread only."""

    def __init__(self, promises: Promises, procedure_steps: ProcedureSteps, calling_ae: str) -> None:
        """Use ``Normalized.on``."""
        self._promises, self._procedure_steps, self._calling_ae = promises, procedure_steps, calling_ae

    def judge(self, command: Command, sop_class_uid: str) -> Status:
        """Whether the data set of a request is wanted."""
        if command.sop_class_uid != sop_class_uid:
            return Status.SOP_CLASS_NOT_SUPPORTED
        if sop_class_uid == PUSH_MODEL:
            return self._promises.judge(command)
        if sop_class_uid == PROCEDURE_STEP:
            return self._procedure_steps.judge(command)
        return Status.UNRECOGNIZED_OPERATION

    def take(self, command: Command, context_id: int, raw: bytes, transfer_syntax_uid: str) -> tuple[Status, Command]:
        """Do what is asked.

        Returns:
            The status, and the command as it is to be answered (it may have got an instance UID).

        Raises:
            NotUnderstood, or what the database raises.
        """
        if command.sop_class_uid == PUSH_MODEL:
            return self._promises.take(command, context_id, raw, transfer_syntax_uid), command
        status, uid = self._procedure_steps.take(command, raw, transfer_syntax_uid, self._calling_ae)
        return status, replace(command, sop_instance_uid=uid)

    def tell(self, wire: Wire, contexts: Mapping[int, Negotiated]) -> None:
        """Send what is due to the peer, after the answer to its request."""
        self._promises.tell(wire, contexts)

    def heard(self, command: Command) -> None:
        """The peer answered one of ours; never raises."""
        self._promises.heard(command)
