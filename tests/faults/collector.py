"""A PACS that notes every object it receives, and misbehaves on demand: what a test counts, and what a fault needs."""

import hashlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700


@dataclass(frozen=True)
class Got:
    """One C-STORE that was answered with success."""

    study_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    maker: str
    digest: str
    at: float


@dataclass
class Collector:
    """What arrived, and how it behaves now.

    Attributes:
        got: every object stored, sent again or not, in the order of arrival.
        refuse: answer A700H to every n-th object; 0 never, 1 always.
        abort: abort the association within every n-th object.
        slow: seconds before each answer.
    """

    port: int = 0
    got: list[Got] = field(default_factory=list)
    refuse: int = 0
    abort: int = 0
    slow: float = 0.0
    refused: int = 0
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on_store(self, event: evt.Event) -> int:
        """C-STORE."""
        with self._lock:
            self._count += 1
            number = self._count
        time.sleep(self.slow)
        if self.abort and number % self.abort == 0:
            self.refused += 1
            event.assoc.abort()
            return OUT_OF_RESOURCES
        if self.refuse and number % self.refuse == 0:
            self.refused += 1
            return OUT_OF_RESOURCES
        ds = event.dataset
        digest = hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest()
        maker = str(ds.get("ManufacturerModelName", ""))
        names = (str(ds.StudyInstanceUID), str(ds.SOPClassUID), str(ds.SOPInstanceUID))
        with self._lock:
            self.got.append(Got(*names, maker, digest, time.monotonic()))
        return SUCCESS

    def objects(self) -> dict[str, dict[str, set[str]]]:
        """Study UID -> SOP Instance UID -> digests under which it arrived."""
        found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for each in list(self.got):
            found[each.study_uid][each.sop_instance_uid].add(each.digest)
        return found

    def wrong(self, studies: list[str], kinds: int, images: Mapping[str, int] = MappingProxyType({})) -> list[str]:
        """What is missing, doubled (another UID for the same result) or differs (other content under one UID).

        Args:
            studies: that must be here.
            kinds: of objects that each image brings about.
            images: of studies that have more than one.
        """
        complaints = []
        results: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        seen = set()
        for each in list(self.got):
            if each.sop_instance_uid not in seen:
                seen.add(each.sop_instance_uid)
                results[each.study_uid][each.sop_class_uid, each.maker] += 1
        for study in studies:
            counts = results.get(study, Counter())
            if len(counts) != kinds:
                complaints.append(f"{study}: {len(counts)} kinds of objects, not {kinds}")
            wanted = images.get(study, 1)
            complaints += [f"{study}: {number} objects {kind}" for kind, number in counts.items() if number != wanted]
        for study, uids in self.objects().items():
            complaints += [
                f"{study}: {uid} came with {len(each)} contents" for uid, each in uids.items() if len(each) > 1
            ]
        return complaints


@contextmanager
def collecting(port: int = 0, *, collector: Collector | None = None) -> Iterator[Collector]:
    """A running PACS on the loopback; with ``collector`` one that was away comes back and keeps its memory."""
    running = collector or Collector()
    ae = AE("COLLECTOR")
    ae.maximum_associations = 50
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, running.on_store)])
    assert server is not None
    running.port = int(server.server_address[1])
    try:
        yield running
    finally:
        server.shutdown()
