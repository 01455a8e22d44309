"""PostgreSQL, Redis, several of every process: still once each, whatever of it goes away for a while."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy.engine import make_url

from service.broker import celery_app
from service.db.engine import Database
from tests import servers
from tests.faults import site
from tests.faults.collector import Collector, collecting
from tests.faults.installation import Installation, installation
from tests.faults.modality import Modality, skull
from tests.gateway import Gateway, free_port

Tell = Callable[[object], None]
RESULTS = ("sr", "seg")
PATIENT = "FAULT-1"
_OTHERS = "pid <> pg_backend_pid() AND datname IS NOT NULL"
_CUT = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_OTHERS}"  # noqa: S608 - our own words


@dataclass
class Hospital:
    """Two listeners, two relays, three workers, a web server; PostgreSQL and Redis that can be taken away."""

    made: Installation
    gateway: Gateway
    modalities: list[Modality]
    pacs: Collector
    ehr: str
    cluster: servers.PostgresCluster
    folder: Path
    redis_port: int
    database: ExitStack
    broker: ExitStack
    count: int = 0

    def send(self, name: str, studies: int) -> list[str]:
        """Studies, by turns to either listener."""
        sent = []
        for _ in range(studies):
            modality = self.modalities[self.count % 2]
            sent.append(modality.send(skull(f"{name}-{self.count}", self.count, PATIENT)))
            self.count += 1
        return sent

    def settled(self, studies: list[str], seconds: float = 120.0) -> float:
        """Wait until all are delivered, once; the seconds."""
        began = time.monotonic()
        left = set(studies)
        while left:
            assert time.monotonic() - began < seconds, [self.gateway.study(uid)["jobs"] for uid in list(left)[:2]]
            time.sleep(0.3)
            try:
                left = set(studies) - {
                    s["study_instance_uid"] for s in self.gateway.studies() if s["state"] == "delivered"
                }
            except OSError:
                continue
        assert not self.pacs.wrong(studies, len(RESULTS))
        assert not site.wrong_in_record(self.ehr, studies)
        return time.monotonic() - began

    def plain(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection of an administrator."""
        return psycopg.connect(self.cluster.plain_url, autocommit=True)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """Everything running."""
    folder = tmp_path_factory.mktemp("installation")
    port = free_port()
    with (
        servers.postgres_cluster() as cluster,
        ExitStack() as database,
        ExitStack() as broker,
        servers.fhir_server(folder / "fhir.log") as ehr,
        collecting() as pacs,
    ):
        database.enter_context(cluster.running(folder))
        broker.enter_context(servers.redis(folder, port))
        site.admit(ehr, PATIENT)
        places = (
            site.destination("pacs", f"dicom://COLLECTOR@127.0.0.1:{pacs.port}", *RESULTS),
            site.destination("ehr", f"fhir+{ehr}"),
        )
        with installation(folder, cluster.url, f"redis://127.0.0.1:{port}/0", *places) as made:
            made.start("web", "web")
            for number in (1, 2):
                made.start(f"relay-{number}", "relay")
            for number in (1, 2, 3):
                made.start(f"worker-{number}", "worker")
            modalities = [Modality(made.listener(f"listener-{number}"), f"PANO{number}") for number in (1, 2)]
            yield Hospital(made, made.gateway(), modalities, pacs, ehr, cluster, folder, port, database, broker)


pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def test_several_of_everything(hospital: Hospital, tell: Tell) -> None:
    """Two listeners, two relays and three workers at once: each study once, each row worked on once."""
    studies = hospital.send("several", 20)
    seconds = hospital.settled(studies)
    with hospital.plain() as connection:
        again = connection.execute("SELECT count(*) FROM outbox WHERE attempts > 1").fetchone()
    assert again == (0,)
    tell(f"{len(studies)} studies, settled {seconds:.1f} s after the last")


def test_a_flushed_broker(hospital: Hospital, tell: Tell) -> None:
    """Redis is emptied again and again while studies are on their way."""
    studies: list[str] = []
    with redis.Redis(port=hospital.redis_port) as client:
        for _ in range(6):
            studies += hospital.send("flushed", 2)
            client.flushall()
        tell(f"6 flushes, settled after {hospital.settled(studies):.1f} s")


def test_a_broker_that_comes_back_empty(hospital: Hospital, tell: Tell) -> None:
    """Redis stops in the middle, studies arrive meanwhile, and it comes back with nothing in it."""
    studies = hospital.send("before", 4)
    hospital.broker.close()
    studies += hospital.send("without", 4)
    time.sleep(5)
    hospital.broker.enter_context(servers.redis(hospital.folder, hospital.redis_port))
    tell(f"settled {hospital.settled(studies):.1f} s after its return")


def test_a_visibility_timeout_shorter_than_a_task(hospital: Hospital, tell: Tell) -> None:
    """Bells of deliveries that are under way come back, again and again; nobody begins them a second time."""
    hospital.pacs.slow = 6.0
    impatient = celery_app(f"redis://127.0.0.1:{hospital.redis_port}/0")
    impatient.conf.broker_transport_options = {"visibility_timeout": 1}
    try:
        studies = hospital.send("impatient", 2)
        before = len(hospital.pacs.got)
        rung = 0
        with impatient.connection_for_read() as connection, redis.Redis(port=hospital.redis_port) as client:
            deadline = time.monotonic() + 60
            while len(hospital.pacs.got) < before + 3 and time.monotonic() < deadline:
                held = client.zcard("unacked_index")
                connection.default_channel.qos.restore_visible(interval=1)
                rung += held - client.zcard("unacked_index")
                time.sleep(0.5)
    finally:
        hospital.pacs.slow = 0.0
    hospital.settled(studies)
    with hospital.plain() as connection_:
        twice = connection_.execute("SELECT count(*) FROM outbox WHERE attempts > 1").fetchone()
    tell(f"{rung} bells came back while their row was being worked on")
    assert rung > 0
    assert twice == (0,)


@pytest.mark.parametrize("crash", [False, True])
def test_a_database_that_is_restarted(hospital: Hospital, crash: bool, tell: Tell) -> None:  # noqa: FBT001 - a parameter of the case
    """PostgreSQL stops in the middle, politely or not; senders are told to try again, and nothing is lost."""
    if crash:
        hospital.database.close()
        hospital.database.enter_context(hospital.cluster.running(hospital.folder, crash=True))
    studies = hospital.send("before", 4)
    hospital.database.close()
    time.sleep(4)
    hospital.database.enter_context(hospital.cluster.running(hospital.folder))
    studies += hospital.send("after", 2)
    tell(f"settled {hospital.settled(studies, 200):.1f} s after its return")


def test_connections_cut_by_the_administrator(hospital: Hospital, tell: Tell) -> None:
    """pg_terminate_backend on every connection, again and again."""
    studies: list[str] = []
    cut = 0
    for _ in range(8):
        studies += hospital.send("cut", 2)
        with hospital.plain() as connection:
            cut += len(connection.execute(_CUT).fetchall())
    tell(f"{cut} connections cut, settled after {hospital.settled(studies, 200):.1f} s")


def test_a_locked_table(hospital: Hospital, tell: Tell) -> None:
    """Somebody locks the tables for longer than anybody waits (20 s): no sender and no worker hangs for ever."""
    with hospital.plain() as connection:
        connection.autocommit = False
        studies = hospital.send("locked", 2)
        connection.execute("LOCK TABLE outbox, instance IN ACCESS EXCLUSIVE MODE")
        time.sleep(30)
        connection.rollback()
    studies += hospital.send("unlocked", 2)
    tell(f"settled {hospital.settled(studies, 200):.1f} s after 30 s of lock")


def test_rolling_restart(hospital: Hospital, tell: Tell) -> None:
    """Every process is stopped by SIGTERM and started again, one after the other, while studies arrive."""
    studies, longest = [], 0.0
    for number in (1, 2):
        studies += hospital.send("rolling", 2)
        longest = max(longest, hospital.made.stop(f"listener-{number}"))
        hospital.modalities[number - 1] = Modality(hospital.made.listener(f"listener-{number}"), f"PANO{number}")
        longest = max(longest, hospital.made.stop(f"relay-{number}"))
        hospital.made.start(f"relay-{number}", "relay")
    for number in (1, 2, 3):
        studies += hospital.send("rolling", 2)
        longest = max(longest, hospital.made.stop(f"worker-{number}"))
        hospital.made.start(f"worker-{number}", "worker")
    with hospital.plain() as connection:
        blamed = connection.execute("SELECT count(*) FROM outbox WHERE lost + orphaned > 0").fetchone()
    assert blamed == (0,)
    tell(f"longest stop {longest:.1f} s, settled after {hospital.settled(studies, 200):.1f} s")


def test_a_url_with_two_hosts_finds_the_living_one(hospital: Hospital) -> None:
    """``?host=A:port&host=B:port`` in database.url: libpq takes the next when one is away."""
    own = make_url(hospital.cluster.url)
    hosts = f"host=127.0.0.1:{free_port()}&host=127.0.0.1:{own.port}&target_session_attrs=read-write"
    db = Database(f"postgresql+psycopg://postgres@/postgres?{hosts}")
    db.check()
    db.close()
