"""Modality Performed Procedure Step (PS3.4 Annex F.7): the modality says when it is done and which images it made.

Only what completes a study is kept: status, studies and instances. Everything else of the step is acknowledged and
dropped, as we are not the department's system.
"""

import io
import logging
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dsutils import decode

from service import clock
from service.db import procedure_steps as record
from service.db.engine import Database
from service.domain.errors import NotUnderstood
from service.domain.uid import is_uid
from service.listener.command import N_CREATE, N_SET, Command, Status

_LOG = logging.getLogger(__name__)

PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"
_IMAGES, _OTHERS = "ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"


class ProcedureSteps:
    """Takes N-CREATE and N-SET; safe for many threads."""

    def __init__(self, db: Database) -> None:
        """``db``: the record."""
        self._db = db

    def judge(self, command: Command) -> Status:
        """Whether a request can be taken at all."""
        if command.field not in {N_CREATE, N_SET}:
            return Status.UNRECOGNIZED_OPERATION
        if command.sop_instance_uid and not is_uid(command.sop_instance_uid):
            return Status.INVALID_INSTANCE
        if command.field == N_SET and not command.sop_instance_uid:
            return Status.NO_SUCH_INSTANCE
        return Status.SUCCESS if command.has_data_set else Status.INVALID_ARGUMENT

    def take(self, command: Command, raw: bytes, transfer_syntax_uid: str, calling_ae: str) -> tuple[Status, str]:
        """Note it; on return it is durable.

        Returns:
            The status, and the UID of the step (ours, where the sender leaves it to us).

        Raises:
            NotUnderstood: the data set is damaged, or its status is none of PS3.3 table C.4-14.
        """
        ds = _decoded(raw, transfer_syntax_uid)
        try:
            status = str(ds.get("PerformedProcedureStepStatus") or "").strip()
            studies, instances = list(_studies(ds)), list(_instances(ds))
        except Exception as error:  # noqa: BLE001 - damaged values make the parser raise nearly anything
            message = f"no procedure step ({type(error).__name__})"
            raise NotUnderstood(message) from None
        if status not in record.STATUSES and (status or command.field == N_CREATE):
            message = "PerformedProcedureStepStatus is none of IN PROGRESS, COMPLETED, DISCONTINUED"
            raise NotUnderstood(message)
        uid = command.sop_instance_uid or clock.fresh_uid()
        if command.field == N_CREATE:
            fresh = record.create(self._db, uid, calling_ae, status, studies)
            return (Status.SUCCESS if fresh else Status.DUPLICATE_INSTANCE), uid
        before = record.change(self._db, uid, status, instances)
        if before is None:
            return Status.NO_SUCH_INSTANCE, uid
        _LOG.info("procedure step of %s: %s, %d instances", calling_ae, status or "changed", len(instances))
        return (Status.SUCCESS if before == record.IN_PROGRESS else Status.PROCESSING_FAILURE), uid


def _decoded(raw: bytes, transfer_syntax_uid: str) -> Dataset:
    try:
        return decode(io.BytesIO(raw), transfer_syntax_uid == ImplicitVRLittleEndian, is_little_endian=True)
    except Exception as error:  # noqa: BLE001 - damaged bytes make the parser raise nearly anything
        message = f"no data set ({type(error).__name__})"
        raise NotUnderstood(message) from None


def _studies(ds: Dataset) -> Iterator[str]:
    for item in ds.get("ScheduledStepAttributesSequence") or ():
        uid = str(item.get("StudyInstanceUID") or "")
        if is_uid(uid):
            yield uid


def _instances(ds: Dataset) -> Iterator[str]:
    """SOP Instance UIDs of all performed series."""
    for series in ds.get("PerformedSeriesSequence") or ():
        for keyword in (_IMAGES, _OTHERS):
            for item in series.get(keyword) or ():
                uid = str(item.get("ReferencedSOPInstanceUID") or "")
                if is_uid(uid):
                    yield uid
