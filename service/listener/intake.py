"""Instance -> file + row, for every way in: C-STORE, upload.

Order of the steps, so that nothing refused leaves a file or a row and nothing acknowledged is lost: bytes into an
unnamed file; checks; fsync and name; row; only then does the sender hear success. A file that got its name while the
row failed stays: its name is the digest of its content, so the sender's next attempt lands on it. If the sender does
not come back, it is taken up after the next start (service/listener/recovery.py).
"""

import hashlib
from collections.abc import Callable, Collection
from typing import BinaryIO

from service.db.backlog import Backlog
from service.domain.errors import Busy, OutOfResources
from service.domain.study import ReceivedInstance, Recorded
from service.listener.commit import GroupCommit, Record
from service.listener.header import check_uid, read_header, read_identity
from service.listener.part10 import meta_bytes, read_meta
from service.storage import Incoming, Storage

FOLDER = "instances"  #: of the storage, where all received images lie
_PIECE = 262144


def key_of(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, digest: str) -> str:
    """A name that no sender chooses, different whenever the file is; ``digest``: SHA-256 (hex) of the data set."""
    identity = f"{sop_class_uid}/{sop_instance_uid}/{transfer_syntax_uid}/{digest}"
    name = hashlib.sha256(identity.encode()).hexdigest()
    return f"{FOLDER}/{name[:2]}/{name}.dcm"


class Intake:
    """Takes instances in; safe for many threads."""

    def __init__(
        self,
        storage: Storage,
        record: Record,
        touch: Callable[[Collection[str]], None],
        max_object_bytes: int,
        backlog: Backlog | None = None,
    ) -> None:
        """Wire the parts together.

        Args:
            storage: where the files go.
            record: writes the rows of a group of instances in one transaction; one answer for each, in order.
            touch: notes that these studies (UIDs) are still being sent.
            max_object_bytes: larger objects are refused.
            backlog: how many studies may wait; without it any number.
        """
        self.storage = storage
        self.commit = GroupCommit(record)
        self.touch = touch
        self.max_object_bytes = max_object_bytes
        self.backlog = backlog

    def welcome(self, calling_ae: str) -> bool:
        """Whether anything of this sender can be taken now."""
        return self.backlog is None or self.backlog.welcome(calling_ae)

    def begin(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae: str
    ) -> "Reception":
        """Begin an instance whose data set follows piece by piece.

        Raises:
            NotUnderstood: a UID is missing or malformed.
            OutOfResources: the storage is nearly full, or (Busy) too many studies wait.
        """
        if not self.welcome(calling_ae):
            message = "too many studies wait (listener.max_waiting_studies); send again later"
            raise Busy(message)
        return Reception(
            self,
            check_uid(sop_class_uid, "SOPClassUID"),
            check_uid(sop_instance_uid, "SOPInstanceUID"),
            check_uid(transfer_syntax_uid, "TransferSyntaxUID"),
            calling_ae,
        )

    def accept_file(self, file: BinaryIO, calling_ae: str) -> tuple[ReceivedInstance, Recorded]:
        """Take a DICOM file (PS3.10), also one without preamble or without file meta information.

        Args:
            file: seekable, read from its beginning.
            calling_ae: stands for the sender, "WEB" for uploads.

        Raises:
            NotUnderstood: no DICOM, truncated, or without identity.
            NotMatching: file meta information and data set contradict each other.
            OutOfResources: no room, too large, or the record cannot be written now.
        """
        sop_class_uid, sop_instance_uid, transfer_syntax_uid = self._identity(file)
        reception = self.begin(sop_class_uid, sop_instance_uid, transfer_syntax_uid, calling_ae)
        try:
            while piece := file.read(_PIECE):
                reception.write(piece)
            return reception.finish()
        finally:
            reception.discard()

    def _identity(self, file: BinaryIO) -> tuple[str, str, str]:
        """SOP class, SOP instance, transfer syntax; leaves the file at the start of its data set."""
        meta = read_meta(file)
        sop_class_uid, sop_instance_uid = meta.sop_class_uid, meta.sop_instance_uid
        if not (sop_class_uid and sop_instance_uid):
            file.seek(meta.data_set_at)
            sop_class_uid, sop_instance_uid = read_identity(file, meta.transfer_syntax_uid, self.max_object_bytes)
        file.seek(meta.data_set_at)
        return sop_class_uid, sop_instance_uid, meta.transfer_syntax_uid


class Reception:
    """One instance on its way in; MUST end with ``finish`` or ``discard``. Not for use from two threads."""

    def __init__(
        self, intake: Intake, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae: str
    ) -> None:
        """Use ``Intake.begin``."""
        self._intake = intake
        self._sop_class_uid = sop_class_uid
        self._sop_instance_uid = sop_instance_uid
        self._transfer_syntax_uid = transfer_syntax_uid
        self._calling_ae = calling_ae
        self._size = 0
        self._incoming: Incoming = intake.storage.create()
        head = meta_bytes(sop_class_uid, sop_instance_uid, transfer_syntax_uid, calling_ae)  # recovery wants to know
        self._start = len(head)
        try:
            self._incoming.write(head, hashed=False)
        except BaseException:
            self._incoming.discard()
            raise

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Append a piece of the encoded data set. Raises OutOfResources."""
        view = memoryview(piece)
        self._size += len(view)
        if self._size > self._intake.max_object_bytes:
            message = f"larger than max_object_mb = {self._intake.max_object_bytes >> 20}"
            raise OutOfResources(message)
        self._incoming.write(view)

    def finish(self) -> tuple[ReceivedInstance, Recorded]:
        """Check, store and record the instance; on return it is durable.

        Raises:
            NotUnderstood: truncated, without identity, or with pixel data shorter than the header says.
            NotMatching: the data set is another SOP class or instance.
            OutOfResources: no room, or the record cannot be written now.
        """
        with self._incoming.reader() as file:
            file.seek(self._start)
            header = read_header(
                file,
                self._transfer_syntax_uid,
                self._sop_class_uid,
                self._sop_instance_uid,
                self._intake.max_object_bytes,
            )
        if self._intake.backlog is not None:
            self._intake.backlog.admit(header.study_instance_uid)
        identity = self._sop_class_uid, self._sop_instance_uid, self._transfer_syntax_uid
        stored = self._incoming.commit(key_of(*identity, self._incoming.digest()))
        instance = ReceivedInstance(
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            sop_instance_uid=self._sop_instance_uid,
            sop_class_uid=self._sop_class_uid,
            transfer_syntax_uid=self._transfer_syntax_uid,
            storage_key=stored.key,
            sha256=stored.sha256,
            size=stored.size,
            calling_ae=self._calling_ae,
            **header.texts,
        )
        return instance, self._intake.commit(instance)

    def discard(self) -> None:
        """Forget the bytes; harmless after ``finish``."""
        self._incoming.discard()
