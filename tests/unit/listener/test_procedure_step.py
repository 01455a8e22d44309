"""Performed procedure steps as a modality sends them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from sqlalchemy import select

from service.db.procedure_steps import close_completed_studies
from service.db.tables import Job, ProcedureStep
from service.listener.procedure_step import PROCEDURE_STEP
from tests.unit.listener.raw_scu import DX
from tests.unit.listener.test_commitment import Archive

STEP = "1.2.3.4.7"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """A listener with one stored image."""
    archive = Archive(tmp_path, {})
    yield archive
    archive.listener.stop(0)
    archive.db.close()


@pytest.fixture
def assoc(archive: Archive) -> Iterator[Association]:
    """From a modality."""
    ae = AE("PANO1")
    ae.add_requested_context(PROCEDURE_STEP)
    assoc = ae.associate("127.0.0.1", archive.listener.port)
    assert assoc.is_established
    yield assoc
    assoc.release()


def begun(study_uid: str, status: str = "IN PROGRESS") -> Dataset:
    """What a modality sends when it begins."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = study_uid
    ds = Dataset()
    ds.ScheduledStepAttributesSequence = [scheduled]
    ds.PatientName, ds.PatientID = "Probe^Dental", "P1"
    ds.PerformedProcedureStepStatus = status
    ds.PerformedSeriesSequence = []
    return ds


def ended(*uids: str, status: str = "COMPLETED") -> Dataset:
    """What it sends when it is done."""
    series = Dataset()
    series.ReferencedImageSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = DX, uid
        series.ReferencedImageSequence.append(item)
    ds = Dataset()
    ds.PerformedProcedureStepStatus = status
    ds.PerformedSeriesSequence = [series]
    return ds


def test_a_completed_step_closes_the_study(archive: Archive, assoc: Association) -> None:
    """N-CREATE, N-SET COMPLETED with the image that is here: a job is born without any silence."""
    instance = archive.instance
    assert assoc.send_n_create(begun(instance.study_instance_uid), PROCEDURE_STEP, STEP)[0].Status == 0
    assert close_completed_studies(archive.db) == 0
    assert assoc.send_n_set(ended(instance.sop_instance_uid), PROCEDURE_STEP, STEP)[0].Status == 0
    assert close_completed_studies(archive.db) == 1
    with archive.db.session() as session:
        assert session.scalars(select(Job.revision)).all() == [1]


def test_a_discontinued_step_closes_nothing(archive: Archive, assoc: Association) -> None:
    """The images wait for silence."""
    instance = archive.instance
    assoc.send_n_create(begun(instance.study_instance_uid), PROCEDURE_STEP, STEP)
    assoc.send_n_set(ended(instance.sop_instance_uid, status="DISCONTINUED"), PROCEDURE_STEP, STEP)
    assert close_completed_studies(archive.db) == 0


def test_wrong_requests_get_the_statuses_of_the_standard(archive: Archive, assoc: Association) -> None:
    """Twice the same step 0111H, an unknown one 0112H, a status that is none C000H, one that ended 0110H."""
    study = archive.instance.study_instance_uid
    assert assoc.send_n_create(begun(study), PROCEDURE_STEP, STEP)[0].Status == 0
    assert assoc.send_n_create(begun(study), PROCEDURE_STEP, STEP)[0].Status == 0x0111
    assert assoc.send_n_set(ended(), PROCEDURE_STEP, "1.2.3.99")[0].Status == 0x0112
    assert assoc.send_n_set(ended(status="PERHAPS"), PROCEDURE_STEP, STEP)[0].Status == 0xC000
    assert assoc.send_n_set(ended("1.2.3"), PROCEDURE_STEP, STEP)[0].Status == 0
    assert assoc.send_n_set(ended("1.2.3"), PROCEDURE_STEP, STEP)[0].Status == 0x0110
    with archive.db.session() as session:
        (step,) = session.scalars(select(ProcedureStep)).all()
    assert (step.status, step.calling_ae) == ("COMPLETED", "PANO1")


def test_a_step_without_a_uid_gets_one(archive: Archive, assoc: Association) -> None:
    """The answer to N-CREATE names the instance that we made."""
    answers = list[str]()
    assoc.bind(evt.EVT_DIMSE_RECV, lambda event: answers.append(event.message.command_set.AffectedSOPInstanceUID))
    answer, _ = assoc.send_n_create(begun(archive.instance.study_instance_uid), PROCEDURE_STEP)
    assert answer.Status == 0
    with archive.db.session() as session:
        assert session.scalars(select(ProcedureStep.sop_instance_uid)).all() == answers
