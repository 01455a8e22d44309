"""A received image, and its study once it is quiet."""

from service.db import outbox
from service.db.engine import Database
from service.db.studies import close_quiet_studies, record_instances
from service.domain.job import Stage
from service.domain.study import ReceivedInstance

#: Only what the record looks at; each test that needs more of a kind replaces what must differ.
IMAGE = ReceivedInstance(
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.1",
    sop_instance_uid="1.2.3.1.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    storage_key="instances/ab/ab.dcm",
    sha256="a" * 64,
    size=10,
    calling_ae="PANO1",
    modality="PX",
    patient_id="P1",
)


def closed_job(db: Database) -> int:
    """A study with one image that has become quiet; the outbox id of its analysis."""
    record_instances(db, [IMAGE])
    assert close_quiet_studies(db, quiet_seconds=0.0) == 1
    return outbox.ring_due(db, Stage.ANALYZE)[0].outbox_id
