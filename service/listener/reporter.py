"""Tells senders on a new association what became of their storage commitment (PS3.4 J.3.3), until they heard it."""

import logging
import threading

from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from sqlalchemy.exc import SQLAlchemyError

from service.db.commitments import Transaction
from service.listener.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, TRANSFER_SYNTAXES, Commitments

_LOG = logging.getLogger(__name__)

_POLL_SECONDS = 5.0
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 30.0


class Reporter:
    """A thread of the listener process; any number of them may run on one database."""

    def __init__(self, commitments: Commitments, ae_title: str) -> None:
        """``start`` begins; requests wake it at once."""
        self._commitments, self._ae_title = commitments, ae_title
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="commitment-reporter", daemon=True)
        commitments.taken = self._wake.set

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more, and let the report under way end."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(_CONNECT_SECONDS)

    def tell(self) -> int:
        """Tell everything that is due; how many senders have heard. Raises SQLAlchemyError."""
        return sum(self._tell(transaction) for transaction in self._commitments.due() if not self._stopping.is_set())

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tell()
            except SQLAlchemyError as error:
                _LOG.warning("commitments wait: %s", type(error).__name__)
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()

    def _tell(self, transaction: Transaction) -> bool:
        address = self._commitments.address(transaction)
        where = f"{transaction.calling_ae} at {address.host}:{address.port}"
        try:
            status = self._report(transaction, address.host, address.port)
        except (OSError, RuntimeError, ValueError) as error:
            status = None
            _LOG.warning("commitment not told: %s", type(error).__name__)
        if status is None:
            self._commitments.failed(transaction, f"{where} cannot be reached or does not take the report")
            return False
        self._commitments.told(transaction, status)
        return status == 0

    def _report(self, transaction: Transaction, host: str, port: int) -> int | None:
        """The status that the sender answers, None if it did not get that far."""
        assoc = self._associate(transaction.calling_ae, host, port)
        if not assoc.is_established:
            return None
        try:
            event, information = self._commitments.report(transaction)
            answer, _ = assoc.send_n_event_report(information, event, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            return int(answer.Status) if "Status" in answer else None
        finally:
            assoc.release()

    def _associate(self, called_ae: str, host: str, port: int) -> Association:
        ae = AE(self._ae_title)
        ae.connection_timeout = _CONNECT_SECONDS
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _ANSWER_SECONDS
        ae.add_requested_context(PUSH_MODEL, list(TRANSFER_SYNTAXES))
        role = build_role(PUSH_MODEL, scu_role=False, scp_role=True)
        handlers: list[evt.EventHandlerType] = [(evt.EVT_CONN_OPEN, _limit)]
        return ae.associate(host, port, ae_title=called_ae, ext_neg=[role], evt_handlers=handlers)


def _limit(event: evt.Event) -> None:
    """Limit each read and write: pynetdicom takes the limit off, and would wait for ever for half an answer."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.settimeout(_ANSWER_SECONDS)
