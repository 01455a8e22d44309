"""What a worker does with an outbox row: analyze, report, deliver - plain functions, safe to do twice.

``run`` is the edge: it takes the lease, keeps it alive, and turns every way a stage can end into a state of the row.
Where the settings say so an analysis takes others along, each in a thread of its own and with an end of its own.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, SQLAlchemyError

from service.db import breaker, jobs, outbox
from service.db.company import take_companions
from service.db.jobs import StageEnd, Work
from service.db.outbox import Claim
from service.domain.errors import (
    ConfigurationError,
    Declined,
    DentgateError,
    Held,
    Permanent,
    Refused,
    Transient,
    Waiting,
)
from service.domain.job import Outcome, Stage
from workers.app import Context, hard_limit_seconds
from workers.memory import is_out_of_memory
from workers.models import Model
from workers.stages import analyze, commit, deliver, report

_LOG = logging.getLogger(__name__)
MEMORY_LIMIT, MEMORY_SECONDS = 4, 30.0  # attempts in a row, and seconds in which neighbours may finish, more each time
UNEXPECTED_LIMIT = 3  # an error nobody foresaw is tried this often in a row, then it is a dead letter

_NO_MEMORY = (
    "out of memory, with the smallest batch too; let fewer workers run on this machine (--concurrency), or give it more"
)

#: Stage -> function. Adding one is one line.
STAGES: dict[Stage, Callable[[Context, Claim, Work], StageEnd]] = {
    Stage.ANALYZE: analyze,
    Stage.REPORT: report,
    Stage.DELIVER: deliver,
    Stage.COMMIT: commit,
}


def run(context: Context, outbox_id: int, task: str = "") -> None:
    """Do what an outbox row asks for, if it is due and nobody else does it. Failures become states of the row.

    Args:
        context: what the stages work with.
        outbox_id: the row.
        task: names what is under way among all that this worker does: the leases of all rows that it takes name it.
    """
    services = context.services
    lease_seconds = services.settings.analysis.lease_seconds
    holder = f"{context.holder}/{task}" if task else context.holder
    taken = outbox.claim(services.db, outbox_id, lease_seconds, holder)
    if taken is None:
        return
    if companions := _companions(context, taken, lease_seconds):
        _together(context, [taken, *companions])
    else:
        _work(context, taken)


def _companions(context: Context, taken: Claim, lease_seconds: float) -> Sequence[Claim]:
    if taken.stage is not Stage.ANALYZE:
        return ()
    try:
        return take_companions(context.services.db, taken, context.at_once() - 1, lease_seconds)
    except SQLAlchemyError as trouble:
        _LOG.warning("database is away (%s); an analysis goes without company", type(trouble).__name__)
        return ()


def _together(context: Context, claims: Sequence[Claim]) -> None:
    """Each in a thread, none in this one: only here the soft time limit strikes, and here it harms no joint pass.

    After it each study ends before its next image, as late as one that runs alone. What does not end by then is killed
    by the hard limit with the process.
    """
    late = threading.Event()

    def models() -> Sequence[Model]:  # asked for at every image
        if late.is_set():
            raise SoftTimeLimitExceeded
        return context.models()

    reader = replace(context, models=models)
    studies: list[Future[None]] = []
    # Warnings are silenced for the whole process, and readers who do so may cross: all is silent until the last ended.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(claims), "study") as pool:
        warnings.simplefilter("ignore")
        try:
            studies += [pool.submit(_work, reader, taken) for taken in claims]
            wait(studies)
        except SoftTimeLimitExceeded:
            late.set()
    for study in studies:
        study.result()


def _work(context: Context, taken: Claim) -> None:
    """Do it, and make its end a state of the row, whatever that is."""
    services = context.services
    _LOG.info("%s of job %d begins, attempt %d %s", taken.stage, taken.job_id, taken.attempt, taken.destination)
    try:
        with _kept_alive(context, taken, services.settings.analysis.lease_seconds):
            end = _do(context, taken)
            due = jobs.complete(services.db, taken, end, services.destination_names())
    except Exception as error:  # noqa: BLE001 - the edge of the worker's loop: every failure becomes a state of the row
        _failed(context, taken, error)
        return
    _LOG.info("%s of job %d done: %s", taken.stage, taken.job_id, end.outcome)
    _let_ask(context, taken)
    for row in due:
        try:
            services.broker.ring(row.stage, row.outbox_id)
        except Transient as trouble:  # the row is there; the relay rings for it
            _LOG.warning("could not ring: %s", trouble)


def _do(context: Context, taken: Claim) -> StageEnd:
    work = jobs.load_work(context.services.db, taken.job_id)
    try:
        return STAGES[taken.stage](context, taken, work)
    except Declined as decision:
        return StageEnd(Outcome.DECLINED, reason=str(decision))


def _failed(context: Context, taken: Claim, error: Exception) -> None:
    """Turn an error into what becomes of the row; the database being away leaves it to the lease."""
    db = context.services.db
    verb = "waits" if isinstance(error, Waiting) else "is held" if isinstance(error, Held) else "failed"
    _LOG.warning("%s %s of job %d %s: %s", taken.stage, taken.destination, taken.job_id, verb, _words(error))
    _let_ask(context, taken)
    try:
        match error:
            case Waiting():
                outbox.wait(db, taken, str(error), error.retry_after)
            case Held():
                outbox.hold(db, taken, str(error))
            case Permanent() | ConfigurationError():
                outbox.bury(db, taken, str(error))
            case _ if is_out_of_memory(error):
                _fault(context, taken, _NO_MEMORY, MEMORY_LIMIT, MEMORY_SECONDS * (taken.faults + 1))
            case Transient() | Refused() | OSError() | OperationalError() | InterfaceError() | InternalError():
                _postpone(context, taken, _words(error), getattr(error, "retry_after", None))
            case _:
                _fault(context, taken, _unexpected(error), UNEXPECTED_LIMIT)
    except SQLAlchemyError as trouble:
        _LOG.warning("database is away (%s); the lease will bring the row back", type(trouble).__name__)


def _let_ask(context: Context, taken: Claim) -> None:
    """If it never came to speak with the destination, the next one may ask whether that answers."""
    if not taken.destination:
        return
    try:
        breaker.unsettled(context.services.db, taken.destination)
    except SQLAlchemyError as trouble:
        _LOG.warning("database is away (%s); %s is asked again later", type(trouble).__name__, taken.destination)


def _postpone(context: Context, taken: Claim, message: str, delay: float | None) -> None:
    """Later, or never if it failed that often. A commitment has a patience of its own; its attempts are looks."""
    if taken.stage is Stage.COMMIT or taken.attempt < context.services.settings.analysis.max_attempts:
        # A peer may ask for more time than ours, not for less: the attempts must last for days (analysis.max_attempts).
        wish = None if delay is None else max(delay, outbox.backoff_seconds(taken.attempt))
        outbox.postpone(context.services.db, taken, message, wish)
    else:
        outbox.bury(context.services.db, taken, f"given up after {taken.attempt} attempts: {message}")


def _fault(context: Context, taken: Claim, message: str, limit: int, delay: float | None = None) -> None:
    """Later, or never if trouble of our own ended it that often in a row."""
    if taken.faults + 1 < limit:
        outbox.fault(context.services.db, taken, message, delay)
    else:
        outbox.bury(context.services.db, taken, f"given up after {taken.faults + 1} attempts in a row: {message}")


def _words(error: Exception) -> str:
    """What happened, in words without patient data: our own, or the kind of trouble of disk or database."""
    if isinstance(error, DentgateError):
        return str(error)
    if isinstance(error, OSError):
        return f"storage or network: {error.strerror or type(error).__name__}"
    return f"database: {type(error).__name__}" if isinstance(error, SQLAlchemyError) else _unexpected(error)


def _unexpected(error: Exception) -> str:
    """Type and place of an error that nobody foresaw; not its text, which may hold patient data."""
    if isinstance(error, SoftTimeLimitExceeded):
        return "took longer than analysis.soft_limit_seconds allows"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" in {trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
    return f"unexpected {type(error).__name__}{place}"


@contextmanager
def _kept_alive(context: Context, taken: Claim, lease_seconds: float) -> Iterator[None]:
    """Renew the lease while the stage runs, but never beyond the hard time limit."""
    stop = threading.Event()
    rounds = int(hard_limit_seconds(context.services.settings) * 3 / lease_seconds) + 1

    def beat() -> None:
        for _ in range(rounds):
            if stop.wait(lease_seconds / 3):
                return
            try:
                if not outbox.renew(context.services.db, taken, lease_seconds):
                    return
            except SQLAlchemyError as trouble:
                _LOG.warning("could not renew a lease: %s", type(trouble).__name__)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
