"""What an archive said to each object, and its commitment to keep it: on a real record, over real associations."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE, AllStoragePresentationContexts, evt
from sqlalchemy import select, update

from service import clock
from service.commands import _children
from service.db import outbox, sent
from service.db.overview import JobView, find_study
from service.db.reconciliation import Deliveries, reconcile
from service.db.status import Condition
from service.db.studies import record_instances, touch_studies
from service.db.tables import CommitmentRequest, DestinationState, Outbox, SentObject
from service.domain.job import Stage
from service.domain.review import Conclusion
from service.domain.sent import CommitmentReport
from service.listener.commitment import PUSH_MODEL, Commitments
from service.listener.intake import Intake
from service.listener.normalized import Normalized
from service.listener.procedure_step import ProcedureSteps
from service.listener.scp import Listener
from service.settings import ListenerSettings
from tests.bench import PANORAMIC, Bench, OneTooth
from tests.builders import as_bytes, xray
from tests.unit.workers.committing_pacs import Pacs
from tests.unit.workers.test_reviewed import arrived, sign
from workers.pipeline import run


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """A listening archive."""
    made = Pacs()
    ae = AE("PACS")
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(PUSH_MODEL)
    handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, made.store), (evt.EVT_N_ACTION, made.commit)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    made.port = server.server_address[1]
    yield made
    server.shutdown()
    server.server_close()


Begin = Callable[..., Bench]


def allowing_pacs(pacs: Pacs, *, commitment: bool) -> str:
    """Settings with the archive as destination."""
    return (
        "[analysis]\nallow_research_models = true\n"
        f'[[destination]]\nname = "pacs"\nurl = "dicom://PACS@127.0.0.1:{pacs.port}"\n'
        f'results = ["sr", "secondary-capture"]\ncommitment = {str(commitment).lower()}\n'
    )


@pytest.fixture
def begin(bench: Callable[[str], Bench], pacs: Pacs) -> Begin:
    """A study whose results are on their way to the archive."""

    def received(*, commitment: bool = True) -> Bench:
        made = bench(allowing_pacs(pacs, commitment=commitment))
        made.context = replace(made.context, models=lambda: (OneTooth(),), load=lambda model: model.load("cpu"))
        made.receive(as_bytes(xray(PANORAMIC)))
        made.work()
        return made

    return received


def again(made: Bench) -> None:
    """Let the time pass, and do what is due then."""
    with made.services.db.begin() as session:
        past = {"not_before": clock.now() - timedelta(seconds=1)}
        session.execute(update(Outbox).values(past))
        session.execute(update(DestinationState).values(past))
    for row in made.rows():
        run(made.context, row.id)
    made.work()


def seen(made: Bench) -> JobView:
    """The job as pages and API show it."""
    with made.services.db.session() as session:
        study = find_study(session, str(xray(PANORAMIC).StudyInstanceUID), clock.now())
    assert study is not None
    return study.jobs[0]


def test_committed_on_the_same_association(begin: Begin, pacs: Pacs) -> None:
    """Delivered, asked and committed in one go; each object says so, and the account of the day counts it."""
    made = begin()
    job = seen(made)
    assert job.state == "delivered", [row.message for row in made.rows()]
    assert [(each.status, each.commitment, each.times_sent) for each in job.objects] == [("0000", "committed", 1)] * 2
    assert "2 objects committed" in job.commitments[0].message
    assert pacs.heard(1) == [0]
    asked = {str(item.ReferencedSOPInstanceUID) for item in pacs.asked[0].ReferencedSOPSequence}
    assert asked == set(pacs.stored)
    now = clock.now()
    with made.services.db.session() as session:
        account = reconcile(session, now - timedelta(hours=1), now + timedelta(hours=1))
    assert account.commitments == {"pacs": Deliveries(delivered=1)}
    assert account.deliveries == {"pacs": Deliveries(delivered=1)}
    assert not account.adrift
    assert any("1 committed" in line for line in account.lines())


def test_without_the_setting_nothing_is_asked(begin: Begin, pacs: Pacs) -> None:
    """Storage commitment is asked only where the settings say so."""
    made = begin(commitment=False)
    assert made.job().state == "delivered"
    assert not pacs.asked
    assert not seen(made).commitments


@pytest.fixture
def listening(bench: Callable[[str], Bench]) -> Iterator[Callable[[Bench], Listener]]:
    """Starts our own listener on the record of a bench."""
    del bench  # ends after this one
    started: list[Listener] = []

    def start(made: Bench) -> Listener:
        db, storage = made.services.db, made.services.storage
        intake = Intake(storage, partial(record_instances, db), partial(touch_studies, db), max_object_bytes=1 << 26)
        normalized = Normalized(Commitments(db, storage, {}), ProcedureSteps(db))
        listener = Listener(ListenerSettings.model_validate({"port": 0}), (), intake, normalized)
        listener.start()
        started.append(listener)
        return listener

    yield start
    for listener in started:
        listener.stop(0)


def test_committed_on_a_new_association(begin: Begin, pacs: Pacs, listening: Callable[[Bench], Listener]) -> None:
    """A report that comes to our listener, from an archive that calls as SCP, makes the waiting row due at once."""
    pacs.where = "silent"
    made = begin()
    job = seen(made)
    assert (job.state, job.commitments[0].condition) == ("reported", Condition.WAITING)
    assert job.commitments[0].message.startswith("waits for storage commitment of 2 objects, asked at")
    assert job.status.text.startswith("delivered to 1 of 1, waiting for storage commitment")
    pacs.where = listening(made).port
    pacs._report(None, pacs.asked[0])  # noqa: SLF001 - the report comes late
    assert pacs.answers == [0]
    row = made.rows()[-1]
    assert row.not_before <= clock.now()
    run(made.context, row.id)
    assert seen(made).state == "delivered"
    assert len(pacs.asked) == 1


def test_a_report_that_nobody_asked_for_is_refused(
    begin: Begin, pacs: Pacs, listening: Callable[[Bench], Listener]
) -> None:
    """A transaction that we do not know gets an error status, and the association lives on."""
    made = begin()
    pacs.where = listening(made).port
    foreign = Dataset()
    foreign.TransactionUID, foreign.ReferencedSOPSequence = "1.2.3.99", []
    pacs._report(None, foreign)  # noqa: SLF001 - out of the blue
    assert pacs.heard(2) == [0, 0x0115]


def test_a_lost_object_is_sent_again(begin: Begin, pacs: Pacs) -> None:
    """Success for an object that the archive does not have: commitment fails, it is sent again, then committed."""
    pacs.lost = 1
    made = begin()
    assert seen(made).state == "reported"
    assert sorted(each.commitment for each in seen(made).objects) == ["failed", "failed"]
    again(made)
    job = seen(made)
    assert job.state == "delivered"
    assert [(each.times_sent, each.commitment) for each in job.objects] == [(2, "committed")] * 2
    assert len(pacs.stored) == 4
    assert len(set(pacs.stored)) == 2


def test_what_is_lost_again_and_again_is_a_dead_letter(begin: Begin, pacs: Pacs) -> None:
    """After four times the row is a dead letter with the archive's reason; a person can have it tried again."""
    pacs.lost = 4
    made = begin()
    for _ in range(6):
        with made.services.db.begin() as session:
            for each in session.scalars(select(SentObject)):
                each.sent_at -= timedelta(hours=2)
            for request in session.scalars(select(CommitmentRequest)):
                request.asked_at -= timedelta(hours=2)
        again(made)
    row = made.rows()[-1]
    assert row.dead_at is not None
    assert "sr: 0112H no such object, sent 4 times" in row.message
    assert seen(made).retryable
    with made.services.db.begin() as session:
        session.execute(update(Outbox).where(Outbox.id == row.id).values(dead_at=None, attempts=0))
    again(made)
    assert seen(made).state == "delivered"


def test_an_archive_that_never_reports(begin: Begin, pacs: Pacs) -> None:
    """It is asked again after a while, and after days it is a dead letter that says what to look at."""
    pacs.where = "silent"
    made = begin()
    again(made)
    assert len(pacs.asked) == 1  # not yet
    for hours in (1, 80):
        with made.services.db.begin() as session:
            for request in session.scalars(select(CommitmentRequest)):
                request.asked_at -= timedelta(hours=hours)
        again(made)
    assert len(pacs.asked) == 2
    assert "asked 2 times since" in made.rows()[-1].message
    assert "does it know our AE title" in made.rows()[-1].message
    assert made.rows()[-1].dead_at is not None


@pytest.mark.parametrize(("status", "state"), [(0x0122, "delivered"), (0x0110, "reported")])
def test_an_archive_that_refuses_to_be_asked(begin: Begin, pacs: Pacs, status: int, state: str) -> None:
    """One that knows no such service has what it was sent, that is all; one in trouble is asked again."""
    pacs.action = status
    made = begin()
    assert seen(made).state == state
    words = "does not offer storage commitment" if state == "delivered" else "refuses storage commitment: 0110H"
    assert words in made.rows()[-1].message


def test_a_kind_that_is_never_committed_is_told(begin: Begin, pacs: Pacs) -> None:
    """No commitment for this SOP class: told, and done."""
    pacs.lost, pacs.reason = 1, 0x0122
    made = begin()
    again(made)
    assert seen(made).state == "delivered"
    assert "not committed: sr: 0122H no commitment for this kind of object" in made.rows()[-1].message


def test_only_what_failed_is_sent_again(begin: Begin, pacs: Pacs) -> None:
    """Out of resources for one of two objects: the next attempt sends that one, and the record knows both answers."""
    pacs.statuses[str(SecondaryCaptureImageStorage)] = [0xA700]
    made = begin(commitment=False)
    job = seen(made)
    assert {each.kind: (each.status, each.stored) for each in job.objects} == {
        "sr": ("0000", True),
        "secondary-capture": ("A700", False),
    }
    assert job.deliveries[0].condition is Condition.RETRYING
    again(made)
    job = seen(made)
    assert job.state == "delivered"
    assert "1 stored by an earlier attempt" in job.deliveries[0].message
    assert {each.kind: each.times_sent for each in job.objects} == {"sr": 1, "secondary-capture": 2}


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111])
def test_warnings_are_kept_and_no_failure(begin: Begin, pacs: Pacs, status: int) -> None:
    """Coerced, discarded elements, another SOP class, there already: delivered, and the status is in the record."""
    pacs.statuses[str(SecondaryCaptureImageStorage)] = [status]
    job = seen(begin(commitment=False))
    assert job.state == "delivered"
    assert f"{status:04X}" in {each.status for each in job.objects if each.stored}


def test_a_cut_connection_keeps_what_was_stored(begin: Begin, pacs: Pacs) -> None:
    """What got Success before the connection broke is not sent again."""
    pacs.cuts = 1
    made = begin(commitment=False)
    assert "cut the connection" in made.rows()[-1].message
    assert {each.kind: each.stored for each in seen(made).objects} == {"sr": True}
    again(made)
    assert seen(made).state == "delivered"
    assert [each.times_sent for each in seen(made).objects] == [1, 1]
    assert len(pacs.stored) == 2


def test_what_cannot_be_sent_again_is_given_up_after_days(begin: Begin, pacs: Pacs) -> None:
    """The archive lost it and never comes back: its looks are not counted, but they end, with the last words."""
    pacs.lost = 1
    made = begin()
    pacs.cuts = 9
    for days, dead in ((2, False), (2, True)):
        with made.services.db.begin() as session:
            for request in session.scalars(select(CommitmentRequest)):
                request.asked_at -= timedelta(days=days)
        again(made)
        assert (made.rows()[-1].dead_at is not None) == dead
    assert "not sent again for days: PACS at" in made.rows()[-1].message
    assert "cut the connection" in made.rows()[-1].message


@pytest.mark.parametrize("conclusion", [Conclusion.WITHDRAW, Conclusion.SIGN])
def test_what_a_person_took_back_is_not_sent_again(
    bench: Callable[[str], Bench], pacs: Pacs, conclusion: Conclusion
) -> None:
    """The archive heeds the rejection note and has the objects no longer: nobody asks for them or sends them again."""
    pacs.where = "silent"
    notes = ', "rejection"' if conclusion is Conclusion.SIGN else ""
    made = bench(allowing_pacs(pacs, commitment=True).replace('"sr", ', f'"sr"{notes}, '))
    arrived(made)
    made.work()
    first = list(pacs.stored)
    assert len(first) == 2
    sign(made, "one", conclusion=conclusion, reason="wrong patient")
    made.work()
    assert len(pacs.stored) > 2, "the note went out"
    asked = pacs.asked[0]
    failed = {str(item.ReferencedSOPInstanceUID): 0x0112 for item in asked.ReferencedSOPSequence}
    assert set(failed) == set(first)
    report = CommitmentReport(str(asked.TransactionUID), (), failed)
    assert sent.answered(made.services.db, report)
    (row,) = (row for row in made.rows() if row.stage == Stage.COMMIT and row.job_id == made.jobs()[0].id)
    run(made.context, row.id)
    assert [uid for uid in pacs.stored if pacs.stored.count(uid) > 1] == []
    assert made.jobs()[0].state == "delivered"
    assert "a person took these results back" in next(each.message for each in made.rows() if each.id == row.id)


def test_a_withdrawal_waits_for_a_look_that_is_under_way(bench: Callable[[str], Bench], pacs: Pacs) -> None:
    """It may be sending again what was lost: the rejection note has to come after that."""
    pacs.where = "silent"
    made = bench(allowing_pacs(pacs, commitment=True))
    arrived(made)
    made.work()
    look = made.rows()[-1]
    sign(made, "one", conclusion=Conclusion.WITHDRAW, reason="wrong patient")
    run(made.context, made.rows()[-1].id)
    note = made.rows()[-1]
    with made.services.db.begin() as session:
        session.execute(update(Outbox).where(Outbox.id == look.id).values(not_before=clock.now()))
    taken = outbox.claim(made.services.db, look.id, 30.0)
    assert taken is not None
    run(made.context, note.id)
    waits = next(row for row in made.rows() if row.id == note.id)
    assert waits.message.startswith("waits for an earlier report")
    assert (len(pacs.stored), waits.attempts) == (2, 0)
    outbox.wait(made.services.db, taken, "waits for storage commitment")
    again(made)
    assert len(pacs.stored) == 3


def test_up_starts_workers_for_every_stage() -> None:
    """No stage is left without a worker."""
    children = _children(Namespace(config=None, data=None), "redis://127.0.0.1")
    commands = [list(child._command) for child in children]  # noqa: SLF001 - nothing is started here
    queues = [command[command.index("--queues") + 1] for command in commands if "--queues" in command]
    assert set(",".join(queues).split(",")) == {stage.value for stage in Stage}
