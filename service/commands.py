"""What the ``dentgate`` commands of the service do; those that need the workers are in ``__main__``."""

import fcntl
import os
import socket
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from time import monotonic

import uvicorn
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from service import bootstrap, clock
from service.bootstrap import Services
from service.broker import EmbeddedBroker, server_binary
from service.db import outbox
from service.db.backlog import Backlog, waiting_studies
from service.db.engine import Database
from service.db.job_lines import job_lines
from service.db.migrate import current, migrate, require_current
from service.db.procedure_steps import close_completed_studies
from service.db.reconciliation import reconcile
from service.db.retention import expire, expired
from service.db.reviews import record_request
from service.db.studies import close_quiet_studies, close_studies, record_instances, touch_studies
from service.db.tables import Job, Study
from service.domain.errors import Busy, ConfigurationError, DentgateError
from service.domain.job import Stage
from service.export.access import secrets_in_the_clear
from service.export.inquiry import Inquiry, check_sender
from service.export.tls import certificate_lives
from service.listener.commitment import Address, Commitments
from service.listener.intake import Intake
from service.listener.normalized import Normalized
from service.listener.procedure_step import ProcedureSteps
from service.listener.recovery import EVER, Recovery, told
from service.listener.reporter import Reporter
from service.listener.scp import Listener
from service.listener.verification import removed, verify
from service.relay import Relay
from service.settings import Settings
from service.storage import open_storage
from service.supervisor import Child, Supervisor, command_of
from service.web.app import ReadinessItem, WebServices, create_app

GRACE_SECONDS = 8.0  # on SIGTERM: for an object on its way in, a page on its way out
LEFT_BEHIND_SECONDS = 20.0


def up(settings: Settings, options: Namespace, stop: threading.Event) -> int:
    """Everything on this machine until told to stop."""
    bootstrap.build(settings.with_broker("redis://"))  # wrong URLs end it here, before anything is started
    run_folder = bootstrap.data_folder(settings, options.data) / "run"
    with _locked(run_folder) as patience:
        _require_free_port("listener", settings.listener.host, settings.listener.port, patience)
        _require_free_port("web", settings.web.host, settings.web.port, patience)
        db = Database(settings.database.url)
        migrate(db)
        outbox.release_orphans(db)
        db.close()
        broker = EmbeddedBroker(run_folder) if settings.broker.url == "embedded" else None
        if broker is not None:
            broker.start()
        try:
            url = settings.broker.url if broker is None else broker.url
            listener, web = settings.listener, settings.web
            where = f"DICOM {listener.ae_title}@{listener.host}:{listener.port}, pages http://{web.host}:{web.port}"
            print(f"Dentgate: {where}; Ctrl-C ends it", flush=True)
            Supervisor(_children(options, url)).run(stop, each_round=None if broker is None else broker.keep_running)
        finally:
            if broker is not None:
                broker.stop()
    return 0


def listen(settings: Settings, _options: Namespace, stop: threading.Event) -> int:
    """The DICOM listener."""
    services = _ready_services(settings)
    services.storage.sweep()
    commitments = _commitments(services)
    reporter = Reporter(commitments, settings.listener.ae_title)
    normalized = Normalized(commitments, ProcedureSteps(services.db))
    complete = partial(close_studies, services.db)
    listener = Listener(settings.listener, settings.source, _intake(services), normalized, complete)
    listener.start()
    reporter.start()
    Recovery.of(settings.listener, services.db, services.storage).start(stop)
    stop.wait()
    listener.stop(grace_seconds=GRACE_SECONDS)
    reporter.stop()
    return 0


def relay(settings: Settings, _options: Namespace, stop: threading.Event) -> int:
    """The relay."""
    services = _ready_services(settings)
    lease_seconds = settings.analysis.lease_seconds
    inquiry = Inquiry(services.db, settings)
    close, chore = partial(_close_complete, services, inquiry), partial(_expire, services)
    Relay(services.db, services.broker, close, lease_seconds=lease_seconds, chore=chore).run(stop)
    inquiry.stop()
    return 0


def web(settings: Settings, _options: Namespace, _stop: threading.Event) -> int:
    """Pages and API."""
    services = _ready_services(settings)
    parts = WebServices(
        db=services.db,
        storage=services.storage,
        settings=settings,
        retry=lambda job_id: outbox.retry(services.db, job_id),
        review=lambda study_uid, request: record_request(services.db, study_uid, request),
        ready=lambda: [_readiness(name, ask) for name, ask in _checks(services).items()],
    )
    app = create_app(parts, _intake(services))
    config = uvicorn.Config(
        app,
        host=settings.web.host,
        port=settings.web.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
    )
    uvicorn.Server(config).run()  # it ends in order on SIGTERM and Ctrl-C by itself
    return 0


def check(settings: Settings, _options: Namespace, _stop: threading.Event) -> int:
    """Ask everything this installation depends on; one line each. 1 if anything does not work."""
    embedded = settings.broker.url == "embedded"
    services = bootstrap.build(settings.with_broker("redis://") if embedded else settings)
    checks = _checks(services)
    if embedded:
        checks["broker"] = lambda: f"embedded, `dentgate up` starts {server_binary()}"
    for entry in settings.destination:
        checks[f"destination {entry.name}"] = partial(_check_destination, services, entry.name)
    for source in settings.source:
        if source.query_port:
            checks[f"source {source.ae_title}"] = partial(check_sender, settings, source.ae_title)
    bad = 0
    for name, ask in checks.items():
        try:
            print(f"ok    {name}: {ask() or 'works'}")
        except (DentgateError, SQLAlchemyError, OSError) as error:
            bad += 1
            print(f"FAIL  {name}: {_in_one_line(error)}")
    if settings.destination and not settings.analysis.allow_research_models:
        print("note  analysis.allow_research_models is false: results of research models are held, not delivered")
    return 1 if bad else 0


def jobs(settings: Settings, options: Namespace, _stop: threading.Event) -> int:
    """List jobs, show one study, or make dead and held rows due again."""
    db = Database(settings.database.url)
    require_current(db)
    if options.action == "retry":
        count = _retry(db, options.study)
        print(f"{count} deliveries or stages are due again")
        return 0
    for line in job_lines(db, options.study if options.action == "show" else None):
        print(line)
    return 0


def reconcile_day(settings: Settings, options: Namespace, _stop: threading.Event) -> int:
    """The account of a day; with ``--files`` every stored file is read again. 1 if anything is missing."""
    db = Database(settings.database.url)
    require_current(db)
    storage = open_storage(settings.storage.url, settings.storage.reserve_mb)
    recovery = Recovery.of(settings.listener, db, storage)
    if options.take_up:
        for line in told(recovery.take_up(EVER)):
            print(line, flush=True)
    since = datetime.combine(options.day or clock.now().date(), time(), UTC)
    until = since + timedelta(days=1)
    with db.session() as session:
        account = reconcile(session, since, until)
    for line in account.lines():
        print(line)
    missing = len(account.adrift)
    if options.files:
        for line in chain(verify(db, storage, since, until), recovery.named(since, until)):
            missing += 1
            print(line)
        if gone := removed(db, since, until):
            print(f"removed           {gone} images after storage.keep_days, whose results were all delivered")
    print(f"{since:%Y-%m-%d} (UTC): {'everything is accounted for' if not missing else f'{missing} problems'}")
    return 1 if missing else 0


def retention(settings: Settings, options: Namespace, _stop: threading.Event) -> int:
    """Name the studies whose images may be removed; with ``--remove`` remove them."""
    days = settings.storage.keep_days if options.days is None else options.days
    if options.days is None and not days:
        message = "storage.keep_days is 0: images are kept for ever; set it, or give --days"
        raise ConfigurationError(message)
    db = Database(settings.database.url)
    require_current(db)
    if options.remove:
        storage = open_storage(settings.storage.url, settings.storage.reserve_mb)
        print(f"images of {expire(db, storage, timedelta(days=days))} studies were removed")
        return 0
    for study in expired(db, clock.now() - timedelta(days=days)):
        print(f"{study.study_instance_uid}  {len(study.keys)} images; all results were delivered")
    print("nothing was removed; --remove removes them (and then looks for more)")
    return 0


def migrate_database(settings: Settings, _options: Namespace, _stop: threading.Event) -> int:
    """Bring the database to the newest migration."""
    print(f"database is at revision {migrate(Database(settings.database.url))}")
    return 0


def _ready_services(settings: Settings) -> Services:
    services = bootstrap.build(settings)
    require_current(services.db)
    return services


def _intake(services: Services) -> Intake:
    return Intake(
        services.storage,
        record=lambda instances: record_instances(services.db, instances),
        touch=lambda studies: touch_studies(services.db, studies),
        max_object_bytes=services.settings.listener.max_object_mb << 20,
        backlog=_backlog(services),
    )


def _backlog(services: Services) -> Backlog:
    return Backlog(services.db, services.settings.listener.max_waiting_studies)


def _close_complete(services: Services, inquiry: Inquiry) -> int:
    """Close the studies whose modality says that they are complete, and those that fell silent if nobody can be asked.

    Those that wait for the answer of their sender are closed in its own time, by ``inquiry``.
    """
    listener, sources = services.settings.listener, services.settings.source
    inquiry.begin()
    closed = close_completed_studies(services.db)
    return closed + close_quiet_studies(
        services.db,
        listener.quiet_seconds,
        by_sender={entry.ae_title: entry.quiet_seconds for entry in sources if entry.quiet_seconds} | inquiry.patience,
        longest_seconds=listener.longest_wait_seconds,
    )


def _expire(services: Services) -> None:
    if services.settings.storage.keep_days:
        expire(services.db, services.storage, timedelta(days=services.settings.storage.keep_days))


def _commitments(services: Services) -> Commitments:
    sources = services.settings.source
    ports = {entry.ae_title: Address(next(iter(entry.hosts), ""), entry.port) for entry in sources if entry.port}
    return Commitments(services.db, services.storage, ports)


def _checks(services: Services) -> dict[str, Callable[[], str | None]]:
    """Name -> question that raises when the thing does not work."""

    def database() -> str:
        services.db.check()
        require_current(services.db)
        return f"revision {current(services.db)}"

    def storage() -> str:
        services.storage.check()
        services.storage.create().discard()  # with the reserve: new images are refused without it
        return f"{services.storage.free_bytes() >> 20} MB free"

    def queue() -> str:
        with services.db.session() as session:
            waiting = waiting_studies(session)
        if _backlog(services).full():
            message = f"{waiting} studies wait, new ones are refused; add workers or raise listener.max_waiting_studies"
            raise Busy(message)
        return f"{waiting} studies wait"

    return {"database": database, "storage": storage, "queue": queue, "broker": services.broker.check}


def _check_destination(services: Services, name: str) -> str:
    line = services.destination(name)[0].check()
    entry = next(each for each in services.settings.destination if each.name == name)
    return "; ".join([line, *certificate_lives(entry), *secrets_in_the_clear(entry)])


def _readiness(name: str, ask: Callable[[], str | None]) -> ReadinessItem:
    try:
        return ReadinessItem(name, ok=True, detail=ask() or "")
    except (DentgateError, SQLAlchemyError, OSError) as error:
        return ReadinessItem(name, ok=False, detail=_in_one_line(error))


def _in_one_line(error: Exception) -> str:
    """What is wrong. SQLAlchemy's own text is a whole statement, and may hold rows."""
    if not isinstance(error, SQLAlchemyError):
        return str(error)
    return f"the database cannot answer ({type(error).__name__}); was it migrated (`dentgate migrate`), does it run?"


def _children(options: Namespace, broker_url: str) -> list[Child]:
    environment = os.environ | {"DENTGATE_BROKER__URL": broker_url}  # noqa: TID251 - handed on whole, nothing is read
    shared = ["--parent-pid", str(os.getpid())]
    if options.config is not None:
        shared += ["--config", str(options.config)]
    if options.data is not None:
        shared += ["--data", str(options.data)]
    carry = f"{Stage.REPORT},{Stage.DELIVER},{Stage.COMMIT}"
    commands = {
        "listen": ["listen"],
        "web": ["web"],
        "relay": ["relay"],
        "worker-analyze": ["worker", "--queues", Stage.ANALYZE.value, "--concurrency", "1"],
        "worker-deliver": ["worker", "--queues", carry, "--concurrency", "2"],
    }
    return [Child(name, command_of(*command, *shared), environment) for name, command in commands.items()]


@contextmanager
def _locked(folder: Path) -> Iterator[float]:
    """Alone on this folder: two of us would end each other's broker. The lock ends with the process, in any case.

    Yields:
        For how many seconds a predecessor may still hold our ports: one that was killed left processes that end now.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+")
    except OSError as error:
        message = f"data folder {folder.parent}: {error.strerror}; create it or give --data a writable one"
        raise ConfigurationError(message) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            message = f"another `dentgate up` works on {folder.parent}; stop it, or give this one another --data"
            raise ConfigurationError(message) from None
        killed = os.fstat(file.fileno()).st_size > 0
        file.write("running\n")
        file.flush()
        try:
            yield LEFT_BEHIND_SECONDS if killed else 0.0
        finally:
            file.truncate(0)


def _require_free_port(section: str, host: str, port: int, patience: float) -> None:
    deadline = monotonic() + patience
    while (error := _in_use(host, port)) is not None:
        if monotonic() >= deadline:
            message = f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it or change {section}.port"
            raise ConfigurationError(message) from None
        threading.Event().wait(0.2)


def _in_use(host: str, port: int) -> OSError | None:
    """What speaks against listening there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _retry(db: Database, study_uid: str | None) -> int:
    if study_uid is None:
        return outbox.retry_all(db)
    with db.session() as session:
        query = select(Job.id).join(Study).where(Study.study_instance_uid == study_uid)
        found = session.scalars(query).all()
    if not found:
        message = f"no study {study_uid}; `dentgate jobs list` shows those there are"
        raise DentgateError(message)
    return sum(outbox.retry(db, job_id) for job_id in found)
