"""Asks senders how many images they have of a study that fell silent, so that it is not closed too early.

Each sender is asked in a thread of its own: one that does not answer delays neither the relay nor other senders.
Nothing here must last: what a study waits for stands in the record, and a relay that starts anew just asks again.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from service.db.counts import settle
from service.db.engine import Database
from service.db.studies import SilentStudy, close_silent_study, silent_studies
from service.domain.errors import DentgateError
from service.export.count_scu import ANSWER_SECONDS, CONNECT_SECONDS, Line, check, count_images, peer_of
from service.export.dicom_peer import DicomPeer
from service.settings import Settings, SourceSettings

_LOG = logging.getLogger(__name__)
#: a round that takes longer hangs where no other limit reaches, for example while a name is resolved
_HANGS_SECONDS = CONNECT_SECONDS + ANSWER_SECONDS + 5.0
_FOR_EVER_SECONDS = 1e9  # a setting may be infinite, a time of day may not


@dataclass(frozen=True, slots=True)
class Sender:
    """A source that can be asked.

    Attributes:
        quiet_seconds: of silence before it is asked, and between two questions.
        results_at: destinations that are this same peer.
    """

    peer: DicomPeer
    quiet_seconds: float
    results_at: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Round:
    thread: threading.Thread
    line: Line
    began: float  # on the monotonic clock


class Inquiry:
    """Every question of one relay process; ``begin`` is called at each of its ticks."""

    def __init__(self, db: Database, settings: Settings) -> None:
        """Nothing is asked yet."""
        self._db = db
        self._senders = senders_of(settings)
        self._longest_seconds = settings.listener.longest_wait_seconds
        self._rounds: dict[str, _Round] = {}

    @property
    def patience(self) -> dict[str, float]:
        """For ``close_quiet_studies``: the silence of these senders (AE titles) is judged here."""
        return dict.fromkeys(self._senders, min(self._longest_seconds, _FOR_EVER_SECONDS))

    def begin(self) -> None:
        """Ask about the studies that are silent, in the background. Raises what the database raises."""
        if not self._senders:
            return
        quiet = {ae: sender.quiet_seconds for ae, sender in self._senders.items()}
        silent: dict[str, list[SilentStudy]] = {}
        for study in silent_studies(self._db, quiet):
            silent.setdefault(study.calling_ae, []).append(study)
        for ae, studies in silent.items():
            running = self._rounds.get(ae)
            if running is None or not running.thread.is_alive():
                self._start(ae, studies)
            elif time.monotonic() - running.began > _HANGS_SECONDS:
                for study in studies:
                    close_silent_study(self._db, study.id, quiet[ae])

    def stop(self) -> None:
        """Cut what is still being asked: the process wants to end."""
        for running in self._rounds.values():
            running.line.cut()

    def _start(self, ae: str, studies: Sequence[SilentStudy]) -> None:
        line = Line()
        words = (self._senders[ae], studies, line)
        thread = threading.Thread(target=self._run, args=words, name=f"inquiry-{ae}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            _LOG.warning("%s is not asked now: no more threads", ae)
            return
        self._rounds[ae] = _Round(thread, line, time.monotonic())

    def _run(self, sender: Sender, studies: Sequence[SilentStudy], line: Line) -> None:
        try:
            self._round(sender, studies, line)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: the next tick asks again
            _LOG.warning("what %s says was not noted: %s", sender.peer, type(error).__name__)

    def _round(self, sender: Sender, studies: Sequence[SilentStudy], line: Line) -> None:
        """Settle what was answered; without any answer all of them are as if there were nobody to ask."""
        counts = _asked(sender.peer, [study.study_instance_uid for study in studies], line)
        closed = waiting = 0
        for study in studies:
            if counts and study.study_instance_uid not in counts:
                continue  # the next round begins with it
            count = counts.get(study.study_instance_uid)
            if count is None:
                closed += close_silent_study(self._db, study.id, sender.quiet_seconds)
            elif self._settled(sender, study, count):
                closed += 1
            else:
                waiting += 1
        _LOG.info("%s was asked about %d studies: %d closed, %d wait", sender.peer, len(studies), closed, waiting)

    def _settled(self, sender: Sender, study: SilentStudy, count: int) -> bool:
        return settle(
            self._db,
            study,
            count,
            quiet_seconds=sender.quiet_seconds,
            longest_seconds=self._longest_seconds,
            results_at=sender.results_at,
        )


def senders_of(settings: Settings) -> dict[str, Sender]:
    """The sources that can be asked, by AE title."""
    listener = settings.listener
    return {
        entry.ae_title: Sender(
            peer_of(entry.ae_title, entry.hosts[0], entry.query_port, listener.ae_title),
            entry.quiet_seconds or listener.quiet_seconds,
            frozenset(each.name for each in settings.destination if _is(entry, each.url)),
        )
        for entry in settings.source
        if entry.query_port
    }


def check_sender(settings: Settings, ae_title: str) -> str:
    """For `dentgate check`: one line. Raises Transient or Permanent."""
    return check(senders_of(settings)[ae_title].peer)


def _is(source: SourceSettings, url: str) -> bool:
    """Whether a destination is the sender itself; by HTTP nobody has an AE title."""
    parts = urlsplit(url)
    if parts.username:
        return unquote(parts.username).strip() == source.ae_title
    return parts.hostname in source.hosts


def _asked(peer: DicomPeer, study_uids: Sequence[str], line: Line) -> dict[str, int | None]:
    """What it answers; empty if it does not answer at all."""
    try:
        return count_images(peer, study_uids, line)
    except (DentgateError, OSError) as error:
        _LOG.warning("not asked how many images there are: %s", error)
    except Exception as error:  # noqa: BLE001 - whatever an answer makes pynetdicom raise, no study waits for it
        _LOG.warning("not asked how many images there are: %s fails with %s", peer, type(error).__name__)
    return {}
