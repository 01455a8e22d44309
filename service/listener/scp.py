"""The listening socket: a thread accepts, a thread serves each association, a thread keeps their studies open."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence

from service.domain.errors import ConfigurationError
from service.listener.association import Association
from service.listener.intake import Intake
from service.listener.normalized import Normalized
from service.listener.places import Places
from service.settings import ListenerSettings, SourceSettings

_LOG = logging.getLogger(__name__)

_BACKLOG = 128
_POLL_SECONDS = 0.05
#: after the grace has passed, for threads that hang in the database or on a disk
_LAST_SECONDS = 5.0


class Listener:
    """The DICOM application entity of one process."""

    def __init__(
        self,
        settings: ListenerSettings,
        sources: Sequence[SourceSettings],
        intake: Intake,
        normalized: Normalized | None = None,
        complete: Callable[[Collection[str]], object] = lambda _: None,
    ) -> None:
        """Keep what it needs; ``start`` opens the port.

        Args:
            settings, sources: who may come, and what is known of them.
            intake: where instances go.
            normalized: without it only C-ECHO and C-STORE are served.
            complete: closes studies (UIDs) that were brought to their end.
        """
        self._complete = complete
        self._normalized = normalized
        self._settings = settings
        self._sources = tuple(sources)
        self._intake = intake
        self._places: Places[Association] = Places(settings.max_associations)
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._port = settings.port
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """The TCP port that is open, also when the settings said 0."""
        return self._port

    def start(self) -> None:
        """Open the port and serve it in the background.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        settings = self._settings
        try:
            family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
        except OSError as error:
            message = (
                f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; "
                "end the program that uses it, or set listener.host and listener.port to a free address"
            )
            raise ConfigurationError(message) from None
        self._port = int(self._socket.getsockname()[1])
        self._threads = [
            threading.Thread(target=self._accept, args=(self._socket,), name="listener-accept", daemon=True),
            threading.Thread(target=self._tick, name="listener-tick", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        _LOG.info("%s listens on %s port %d", settings.ae_title, settings.host, self.port)

    def stop(self, grace_seconds: float) -> None:
        """Close the port; idle associations end at once, busy ones get ``grace_seconds`` to finish their object."""
        self._stopping.set()
        if self._socket is not None:
            _wake(self._socket)
        for thread in self._threads:
            thread.join()
        deadline = time.monotonic() + grace_seconds
        while (remaining := self._open()) and (now := time.monotonic()) < deadline + _LAST_SECONDS:
            for association in remaining:
                if now >= deadline or not association.busy:
                    association.stop(now=now >= deadline)
            threading.Event().wait(_POLL_SECONDS)
        _LOG.info("listener stopped")

    def _open(self) -> list[Association]:
        return self._places.all()

    def _accept(self, server: socket.socket) -> None:
        with server:
            while not self._stopping.is_set():
                try:
                    connection, address = server.accept()
                except OSError as error:
                    if not self._stopping.is_set():
                        _LOG.warning("accept failed: %s", error.strerror)
                        self._stopping.wait(_POLL_SECONDS)  # out of descriptors: let associations end
                    continue
                self._begin(connection, str(address[0]))

    def _begin(self, connection: socket.socket, host: str) -> None:
        association = Association(
            connection, host, self._settings, self._sources, self._intake, self._places.admit, self._normalized
        )
        if self._stopping.is_set() or not self._places.connect(association):
            connection.close()
            return
        try:
            threading.Thread(target=self._run, args=(association,), name=f"association-{host}", daemon=True).start()
        except RuntimeError:
            _LOG.warning("connection from %s closed: no more threads", host)
            self._places.forget(association)
            connection.close()

    def _run(self, association: Association) -> None:
        try:
            association.run()
            self._complete_unless_sent(association.complete)
        finally:
            self._places.forget(association)

    def _complete_unless_sent(self, studies: frozenset[str]) -> None:
        """Close them, but not those that somebody else is sending to this process; if it fails, silence does it."""
        mine = studies.difference(*(association.studies for association in self._open()))
        if not mine:
            return
        try:
            self._complete(mine)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: the sender has gone, nothing is lost
            _LOG.warning("studies not closed at the release: %s", type(error).__name__)

    def _tick(self) -> None:
        """A study is not quiet while its sender is still connected, however slow it is."""
        while not self._stopping.wait(self._settings.quiet_seconds / 2):
            studies: frozenset[str] = frozenset().union(*(association.studies for association in self._open()))
            if not studies:
                continue
            try:
                self._intake.touch(studies)
            except Exception as error:  # noqa: BLE001 - the edge of the thread: the database may be back next time
                _LOG.warning("studies not touched: %s", type(error).__name__)


def _wake(server: socket.socket) -> None:
    """Make a blocked accept return."""
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)  # Linux
    with contextlib.suppress(OSError):
        socket.create_connection(server.getsockname()[:2], timeout=1).close()  # elsewhere
