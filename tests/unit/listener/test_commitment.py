"""Storage commitment: asked on one association, answered on the same or on a new one, until it is heard."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from sqlalchemy import select, update

from service import clock
from service.db.engine import Database
from service.db.migrate import migrate
from service.db.studies import record_instances, touch_studies
from service.db.tables import Commitment, Instance
from service.listener.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, Address, Commitments
from service.listener.intake import Intake
from service.listener.normalized import Normalized
from service.listener.procedure_step import ProcedureSteps
from service.listener.reporter import Reporter
from service.listener.scp import Listener
from service.settings import ListenerSettings
from service.storage.folder import FolderStorage
from tests.servers import free_port
from tests.unit.listener.raw_scu import DX, image, part10

TRANSACTION = "1.2.3.4.5"


class Archive:
    """A listener on a real record, with one stored instance."""

    def __init__(self, folder: Path, ports: dict[str, Address]) -> None:
        """Start it."""
        self.db = Database(f"sqlite:///{folder / 'record.db'}")
        migrate(self.db)
        self.storage = FolderStorage(folder, 0)
        intake = Intake(
            self.storage, partial(record_instances, self.db), partial(touch_studies, self.db), max_object_bytes=1 << 26
        )
        path = folder / "sent.dcm"
        path.write_bytes(part10(image()))
        with path.open("rb") as file:
            self.instance, _ = intake.accept_file(file, "PANO1")
        self.folder = folder
        self.commitments = Commitments(self.db, self.storage, ports)
        settings = ListenerSettings.model_validate({"port": 0})
        normalized = Normalized(self.commitments, ProcedureSteps(self.db))
        self.listener = Listener(settings, (), intake, normalized)
        self.listener.start()

    def row(self) -> Commitment:
        """The only commitment."""
        with self.db.session() as session:
            return session.scalars(select(Commitment)).one()

    def make_due(self) -> None:
        """Let the waiting time pass."""
        with self.db.begin() as session:
            session.execute(update(Commitment).values(not_before=clock.now() - timedelta(seconds=1)))


class Modality:
    """What a sender hears."""

    def __init__(self, status: int = 0) -> None:
        """``status``: how it answers a report."""
        self.reports: list[tuple[int, Dataset]] = []
        self.heard = threading.Event()
        self.status = status
        self.handlers: list[evt.EventHandlerType] = [(evt.EVT_N_EVENT_REPORT, self._report)]

    def _report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append((int(event.event_type or 0), event.event_information))
        self.heard.set()
        return self.status, None

    def associate(self, port: int) -> Association:
        """As a sender."""
        ae = AE("PANO1")
        ae.add_requested_context(PUSH_MODEL)
        assoc = ae.associate("127.0.0.1", port, evt_handlers=self.handlers)
        assert assoc.is_established
        return assoc

    def ask(self, port: int, *uids: str, sop_class: str = DX, wait: bool = True) -> int:
        """Ask for commitment; the status of the N-ACTION."""
        assoc = self.associate(port)
        status = self.send(assoc, *uids, sop_class=sop_class)
        if wait and status == 0:
            assert self.heard.wait(5)
            threading.Event().wait(0.2)  # until our answer has arrived there
        assoc.release()
        return status

    @staticmethod
    def send(assoc: Association, *uids: str, sop_class: str = DX, action: int = 1) -> int:
        """The N-ACTION."""
        request = Dataset()
        request.TransactionUID = TRANSACTION
        request.ReferencedSOPSequence = []
        for uid in uids:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            request.ReferencedSOPSequence.append(item)
        answer, _ = assoc.send_n_action(request, action, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        return int(answer.Status)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Senders without a known port."""
    archive = Archive(tmp_path, {})
    yield archive
    archive.listener.stop(0)
    archive.db.close()


def test_stored_instances_are_committed_on_the_same_association(archive: Archive) -> None:
    """Event type 1 with the transaction and the instance, after which nothing is due any more."""
    modality = Modality()
    uid = archive.instance.sop_instance_uid
    assert modality.ask(archive.listener.port, uid) == 0
    ((event, information),) = modality.reports
    assert (event, information.TransactionUID) == (1, TRANSACTION)
    assert [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence] == [uid]
    assert "FailedSOPSequence" not in information
    assert archive.row().answered_at is not None


def test_what_is_not_kept_is_named_with_its_reason(archive: Archive) -> None:
    """0112H: unknown, or removed by retention; 0119H: another SOP class; 0110H: its file vanished."""
    modality = Modality()
    uid = archive.instance.sop_instance_uid
    assert modality.ask(archive.listener.port, uid, "1.2.3.99") == 0
    event, information = modality.reports[-1]
    assert event == 2
    assert [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in information.FailedSOPSequence] == [
        ("1.2.3.99", 0x0112)
    ]
    modality.heard.clear()
    modality.ask(archive.listener.port, uid, sop_class="1.2.840.10008.5.1.4.1.1.7")
    assert modality.reports[-1][1].FailedSOPSequence[0].FailureReason == 0x0119
    (archive.folder / archive.instance.storage_key).unlink()
    modality.heard.clear()
    modality.ask(archive.listener.port, uid)
    assert modality.reports[-1][1].FailedSOPSequence[0].FailureReason == 0x0110
    assert "ReferencedSOPSequence" not in modality.reports[-1][1]
    with archive.db.begin() as session:
        session.execute(update(Instance).values(storage_key=""))
    modality.heard.clear()
    modality.ask(archive.listener.port, uid)
    assert modality.reports[-1][1].FailedSOPSequence[0].FailureReason == 0x0112


def test_an_answer_that_was_not_heard_is_told_when_the_sender_asks_again(archive: Archive) -> None:
    """A sender that aborts at once, or refuses the report, hears it again with its next request."""
    deaf = Modality(status=0x0110)
    assert deaf.ask(archive.listener.port, archive.instance.sop_instance_uid) == 0
    row = archive.row()
    assert row.answered_at is None
    assert "0110H" in row.message
    archive.make_due()
    hearing = Modality()
    assoc = hearing.associate(archive.listener.port)
    request = Dataset()
    request.TransactionUID = "1.2.3.4.6"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = DX, archive.instance.sop_instance_uid
    request.ReferencedSOPSequence = [item]
    assoc.send_n_action(request, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    for _ in range(100):
        if len(hearing.reports) == 2:
            break
        threading.Event().wait(0.05)
    threading.Event().wait(0.2)
    assoc.release()
    assert {information.TransactionUID for _, information in hearing.reports} == {TRANSACTION, "1.2.3.4.6"}
    with archive.db.session() as session:
        assert all(row.answered_at for row in session.scalars(select(Commitment)))


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom warns the sender
def test_wrong_requests_are_refused_and_the_association_lives_on(archive: Archive) -> None:
    """Another action, no instances, a malformed UID: a status each, and then a right request works."""
    modality = Modality()
    assoc = modality.associate(archive.listener.port)
    uid = archive.instance.sop_instance_uid
    assert modality.send(assoc, uid, action=7) == 0x0123
    assert modality.send(assoc) == 0xC000
    assert modality.send(assoc, "not.a.uid") == 0xC000
    assert modality.send(assoc, uid) == 0
    assert modality.heard.wait(5)
    threading.Event().wait(0.2)  # until our answer has arrived there
    assoc.release()


def test_long_requests_and_reports_pass_small_pdus(archive: Archive) -> None:
    """Two thousand instances are asked for and answered through PDUs of 4 KB."""
    modality = Modality()
    ae = AE("PANO1")
    ae.add_requested_context(PUSH_MODEL)
    assoc = ae.associate("127.0.0.1", archive.listener.port, evt_handlers=modality.handlers, max_pdu=4096)
    uids = [f"1.2.3.{number}" for number in range(2000)]
    assert modality.send(assoc, *uids) == 0
    assert modality.heard.wait(10)
    threading.Event().wait(0.2)  # until our answer has arrived there
    assoc.release()
    assert [item.ReferencedSOPInstanceUID for item in modality.reports[0][1].FailedSOPSequence] == uids


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom forgets a refused socket
def test_a_sender_with_a_port_is_told_on_a_new_association_once_it_listens(tmp_path: Path) -> None:
    """The request is answered at once, the report fails while nobody listens, and arrives when somebody does."""
    modality = Modality()
    ae = AE("PANO1")
    ae.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    port = free_port()
    archive = Archive(tmp_path, {"PANO1": Address("", port)})
    reporter = Reporter(archive.commitments, "DENTGATE")
    try:
        assert modality.ask(archive.listener.port, archive.instance.sop_instance_uid, wait=False) == 0
        assert reporter.tell() == 0
        assert "cannot be reached" in archive.row().message
        ae.start_server(("127.0.0.1", port), block=False, evt_handlers=modality.handlers)
        assert reporter.tell() == 0  # not due yet
        archive.make_due()
        assert reporter.tell() == 1
        assert [event for event, _ in modality.reports] == [1]
        archive.make_due()
        assert reporter.tell() == 0  # it was heard
    finally:
        ae.shutdown()
        archive.listener.stop(0)
        archive.db.close()


def test_a_report_is_given_up_after_a_day(archive: Archive) -> None:
    """What nobody heard for a day stays recorded with its last failure, and is not told any more."""
    deaf = Modality(status=0x0110)
    deaf.ask(archive.listener.port, archive.instance.sop_instance_uid)
    with archive.db.begin() as session:
        session.execute(update(Commitment).values(received_at=clock.now() - timedelta(days=2)))
    archive.make_due()
    (waiting,) = archive.commitments.unheard("PANO1")
    archive.commitments.failed(waiting, "nobody listens")
    archive.make_due()
    assert archive.row().given_up_at is not None
    assert archive.commitments.unheard("PANO1") == []


def test_roles_as_some_modalities_propose_them(archive: Archive) -> None:
    """A sender that negotiates its role as user of the service gets the same answer."""
    modality = Modality()
    ae = AE("PANO1")
    ae.add_requested_context(PUSH_MODEL)
    role = build_role(PUSH_MODEL, scu_role=True, scp_role=False)
    assoc = ae.associate("127.0.0.1", archive.listener.port, evt_handlers=modality.handlers, ext_neg=[role])
    assert modality.send(assoc, archive.instance.sop_instance_uid) == 0
    assert modality.heard.wait(5)
    threading.Event().wait(0.2)  # until our answer has arrived there
    assoc.release()
