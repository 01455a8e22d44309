"""Recovery: stored images that the record does not know, and images of the record that are not stored any more.

An image is kept in two steps: its file gets its name, then its row is committed. Where something died in between and
the sender did not come back, or where the database was restored from a backup, files are there without rows. They are
taken up by the path of every reception, which records nothing twice: any number of listeners may do it at one time.
"""

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice, pairwise
from typing import BinaryIO, Self

from sqlalchemy import exists, or_, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from service import clock
from service.db.engine import Database
from service.db.studies import record_instances
from service.db.tables import Instance, Job, Study
from service.domain.errors import DentgateError, NotMatching, OutOfResources
from service.domain.job import State
from service.domain.study import ReceivedInstance, Recorded
from service.listener.header import check_uid, read_header
from service.listener.intake import FOLDER, key_of
from service.listener.part10 import read_meta
from service.settings import ListenerSettings
from service.storage import Storage
from service.storage.spool import Listed

#: stands for the sender where the file does not name it
SENDER = "RECOVERED"
EVER = datetime(1970, 1, 1, tzinfo=UTC)
#: what is looked at after a start
RECENT = timedelta(hours=48)
_ROWS, _TOGETHER, _PIECE = 500, 100, 1 << 20
_GATHER = timedelta(minutes=10)  # images of a study that were written within it are recorded at once
_PAUSE, _AGAIN, _TELL = 0.005, 60.0, 5.0  # seconds
_ROUNDS = (60.0, 120.0, 240.0, 480.0, 0.0)  # while files cannot be read, with so many seconds after each

_LOG = logging.getLogger(__name__)


class Found(StrEnum):
    """What a file without a row turned out to be."""

    TAKEN_UP = "taken up"
    KNOWN = "recorded meanwhile"
    BACK = "removed by retention before, recorded again"
    GONE = "removed meanwhile"
    DOUBLE = "the same bytes as a recorded image in another encoding, left alone"
    UNREADABLE = "not readable now, to be tried again"
    DAMAGED = "damaged, left alone"
    REFUSED = "refused by the record, left alone"


Tally = Counter[Found]


@dataclass(frozen=True, slots=True)
class _Image:
    """A file that is to be recorded; ``back``: its row is there, and says that it was removed."""

    written_at: datetime
    received: ReceivedInstance
    back: bool


@dataclass(frozen=True, slots=True)
class Recovery:
    """Compares storage and record.

    Attributes:
        max_object_bytes: most bytes a deflated data set may inflate to.
        after: files younger than this may be images on their way in, and are left alone.
        quiet: of silence after which a study is complete.
    """

    db: Database
    storage: Storage
    max_object_bytes: int
    after: timedelta
    quiet: timedelta

    @classmethod
    def of(cls, settings: ListenerSettings, db: Database, storage: Storage) -> Self:
        """As the settings of the listener want it."""
        after, quiet = timedelta(seconds=settings.recover_after_seconds), timedelta(seconds=settings.quiet_seconds)
        return cls(db, storage, settings.max_object_mb << 20, after, quiet)

    def start(self, stop: threading.Event) -> None:
        """Recover once, in a thread that ends with the process; the port need not wait for it."""
        threading.Thread(target=self._run, args=(stop,), name="recovery", daemon=True).start()

    def unrecorded(self, since: datetime, until: datetime) -> Iterator[Listed]:
        """Image files written in a time that no row names. Raises OSError."""
        before = min(until, clock.now() - self.after)
        files = (file for file in self.storage.files(FOLDER) if since <= file.written_at < before)
        while page := list(islice(files, _ROWS)):
            keys = [file.key for file in page]
            with self.db.session() as session:  # page by page: a transaction must not stay open while files are listed
                known = set(session.scalars(select(Instance.storage_key).where(Instance.storage_key.in_(keys))))
            yield from (file for file in page if file.key not in known)

    def named(self, since: datetime, until: datetime) -> Iterator[str]:
        """A line for each file without a row that was written in a time. Raises OSError."""
        for file in self.unrecorded(since, until):
            found = self._examine(file)
            if found not in {Found.KNOWN, Found.GONE}:
                what = "`dentgate reconcile --take-up` takes it up" if isinstance(found, _Image) else found
                yield f"UNRECORDED        {file.key}, written {file.written_at:%H:%M:%S}: {what}"

    def missing(self) -> Iterator[str]:
        """A line for each study that waits for analysis although images of it are not in storage. Raises OSError."""
        waiting = or_(Study.open, exists().where(Job.study_id == Study.id, Job.state == State.RECEIVED))
        query = select(Study.id, Study.study_instance_uid).where(waiting).order_by(Study.id).limit(_ROWS)
        last = 0
        while True:
            with self.db.session() as session:
                studies = session.execute(query.where(Study.id > last)).all()
            for study in studies:
                with self.db.session() as session:
                    own = (Instance.study_id == study.id, Instance.storage_key != "")
                    keys = session.scalars(select(Instance.storage_key).where(*own)).all()
                if gone := [key for key in keys if not self.storage.exists(key)]:
                    what = f"{len(gone)} of {len(keys)} images are not in storage ({gone[0]})"
                    yield f"study {study.study_instance_uid}: {what}; have the sender send the study again"
            if not studies:
                return
            last = studies[-1].id

    def take_up(self, since: datetime) -> Iterator[Tally]:
        """Take up the files without rows that were written since a time; images of a study together.

        Yields:
            The tally so far, after each file and at the end.

        Raises:
            OSError: the storage cannot be listed.
            OperationalError: the record cannot be written; what is left is found the next time.
        """
        tally = Tally()
        gathered = dict[str, list[_Image]]()  # by study, the one that was longest without a new image first
        done = set[str]()
        for file in sorted(self.unrecorded(since, clock.now()), key=lambda file: file.written_at):
            while gathered and next(iter(gathered.values()))[-1].written_at < file.written_at - _GATHER:
                tally += self._record(gathered.pop(next(iter(gathered))), done)
            found = self._examine(file)
            if isinstance(found, _Image) and found.back:
                found = self._renewed(found)
            if isinstance(found, _Image):
                images = gathered.pop(found.received.study_instance_uid, [])
                gathered[found.received.study_instance_uid] = [*images, found]
            else:
                tally[found] += 1
                if found not in {Found.KNOWN, Found.GONE}:
                    _LOG.warning("%s has no row: %s", file.key, found)
            yield tally
        for images in gathered.values():
            tally += self._record(images, done)
            yield tally
        yield tally

    def _run(self, stop: threading.Event) -> None:
        stop.wait(self.after.total_seconds())
        while not stop.is_set():
            try:
                self._recover(stop)
            except (SQLAlchemyError, OSError, DentgateError) as error:
                _LOG.warning("recovery: %s, tried again in %d s", type(error).__name__, _AGAIN)
                stop.wait(_AGAIN)
            else:
                return

    def _recover(self, stop: threading.Event) -> None:
        for line in self.missing():
            _LOG.error("recovery: %s", line)
        since = clock.now() - RECENT
        tally = Tally()
        for pause in _ROUNDS:
            for tally in self.take_up(since):  # noqa: B007 - the last one is told
                if stop.wait(_PAUSE):  # reception goes first
                    return
            _LOG.info("recovery: %s", said(tally))
            if not tally[Found.UNREADABLE] or stop.wait(pause):
                return
        line = "recovery: %d files cannot be read; mend the storage, then run `dentgate reconcile --take-up`"
        _LOG.error(line, tally[Found.UNREADABLE])

    def _examine(self, file: Listed) -> _Image | Found:
        """The image in a file, if it is to be taken up; else why not."""
        key = file.key
        try:
            with self.storage.open(key) as content:
                received = _read(content, key, self.max_object_bytes)
        except FileNotFoundError:
            return Found.GONE  # retention was at it
        except (OSError, DentgateError) as error:
            _LOG.warning("%s has no row and cannot be taken up: %s", key, type(error).__name__)
            return Found.UNREADABLE if isinstance(error, OSError) else Found.DAMAGED
        same = (Instance.sop_instance_uid == received.sop_instance_uid, Instance.sha256 == received.sha256)
        with self.db.session() as session:
            there = session.scalars(select(Instance.storage_key).where(*same)).one_or_none()
        if not there:  # no row, or one that says that it was removed: it came again, or retention died halfway
            return _Image(file.written_at, received, back=there is not None)
        return Found.KNOWN if there == key else Found.DOUBLE

    def _renewed(self, image: _Image) -> _Image | Found:
        """Write it again before it is recorded, as if it had been sent: retention may be about to remove the file."""
        key = image.received.storage_key
        try:
            with self.storage.open(key) as content:
                incoming = self.storage.create()
                try:
                    while piece := content.read(_PIECE):
                        incoming.write(piece)
                    incoming.commit(key)
                finally:
                    incoming.discard()
        except FileNotFoundError:
            return Found.GONE
        except (OSError, OutOfResources) as error:
            _LOG.warning("%s cannot be kept now: %s", key, type(error).__name__)
            return Found.UNREADABLE
        return image

    def _record(self, images: Sequence[_Image], done: set[str]) -> Tally:
        """Record images of one study; its revisions are counted on as if they had come when they were written."""
        uid = images[0].received.study_instance_uid
        more = len([1 for one, next_one in pairwise(images) if next_one.written_at - one.written_at > self.quiet])
        study = Study.study_instance_uid == uid, Study.open
        with self.db.session() as session:
            more += uid in done and session.scalars(select(Study.id).where(*study)).first() is not None
        done.add(uid)
        tally = Tally()
        for at in range(0, len(images), _TOGETHER):
            tally += self._write(images[at : at + _TOGETHER])
        if more and tally[Found.TAKEN_UP]:
            with self.db.begin() as session:
                session.execute(update(Study).where(*study).values(revision=Study.revision + more))
        return tally

    def _write(self, group: Sequence[_Image]) -> Tally:
        try:
            answers = record_instances(self.db, [image.received for image in group])
        except OperationalError:
            raise
        except SQLAlchemyError as error:  # one that the database refuses must not take its neighbours along
            if len(group) > 1:
                return sum((self._write([each]) for each in group), Tally())
            _LOG.warning("%s has no row and gets none: %s", group[0].received.storage_key, type(error).__name__)
            return Tally({Found.REFUSED: 1})
        same = (Found.BACK if image.back else Found.KNOWN for image in group)
        return Tally(
            known if answer is Recorded.SAME else Found.TAKEN_UP for known, answer in zip(same, answers, strict=True)
        )


def told(tallies: Iterable[Tally]) -> Iterator[str]:
    """A line every few seconds, and one at the end."""
    last, tally = time.monotonic(), Tally()
    for tally in tallies:
        if time.monotonic() - last > _TELL:
            last = time.monotonic()
            yield f"... {said(tally)}"
    yield said(tally)


def said(tally: Tally) -> str:
    """How many files without a row there were, and what became of them."""
    parts = ", ".join(f"{number} {found}" for found, number in sorted(tally.items()))
    return f"{tally.total()} files without a row{': ' if parts else ''}{parts}"


def _read(file: BinaryIO, key: str, limit: int) -> ReceivedInstance:
    """What a stored file holds. Raises NotMatching if its name is not that of its content, NotUnderstood, OSError."""
    meta = read_meta(file)
    file.seek(meta.data_set_at)
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    size = file.tell()
    identity = meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid
    if key_of(*identity, digest.hexdigest()) != key:
        raise NotMatching("its name is not that of its content")
    sop_class_uid, sop_instance_uid = check_uid(identity[0], "SOPClassUID"), check_uid(identity[1], "SOPInstanceUID")
    file.seek(meta.data_set_at)
    header = read_header(file, meta.transfer_syntax_uid, sop_class_uid, sop_instance_uid, limit)
    return ReceivedInstance(
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        storage_key=key,
        sha256=digest.hexdigest(),
        size=size,
        calling_ae=meta.sending_ae or SENDER,
        **header.texts,
    )
