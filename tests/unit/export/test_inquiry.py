"""A sender is asked how many images of a study it has: by real associations, with peers that answer as peers do."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event

from service.db.studies import record_instances
from service.domain.errors import ConfigurationError, Permanent, Transient
from service.export import count_scu, inquiry
from service.export.count_scu import Line, check, count_images, peer_of
from service.export.dicom_peer import DicomPeer
from service.export.inquiry import senders_of
from service.settings import load_settings
from tests.contract.images import IMAGE
from tests.contract.test_counts import OTHER, SECOND, THIRD
from tests.receiving import receiving
from tests.servers import free_port

FIND, ECHO = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.1"
HURRIED_SECONDS, SLACK_SECONDS = 1.5, 2.5  # a busy machine; an end without limit would take 4 s and more
Answers = Iterator[tuple[int, Dataset | None]]
STUDY = IMAGE.study_instance_uid


def match(number: object, study_uid: str = STUDY) -> Dataset:
    """An answer at study level; None leaves the number out."""
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID = "STUDY", study_uid
    if number is not None:
        ds.NumberOfStudyRelatedInstances = number
    return ds


@contextmanager
def sender(handler: Callable[[Event], Answers], contexts: Sequence[str] = (FIND, ECHO)) -> Iterator[int]:
    """A sender that answers C-FIND as told; the value is its port."""
    ae = AE("PANO1")
    for context in contexts:
        ae.add_supported_context(context)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, handler)])
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def mute(first: bytes = b"") -> Iterator[int]:
    """A socket that accepts connections, perhaps says a few bytes, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(first)
                held.append(connection)

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()


def at(port: int) -> DicomPeer:
    """The sender as we know it."""
    return peer_of("PANO1", "127.0.0.1", port, "DENTGATE")


def asked(port: int, *study_uids: str) -> dict[str, int | None]:
    """What it says."""
    return count_images(at(port), study_uids or (STUDY,), Line())


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter limits."""
    monkeypatch.setattr(count_scu, "ANSWER_SECONDS", HURRIED_SECONDS)


def test_the_number_of_each_study_is_asked_on_one_association() -> None:
    """The question is at study level, by its UID, for the number and nothing else."""
    questions: list[Dataset] = []
    associations = set()

    def find(event: Event) -> Answers:
        questions.append(event.identifier)
        associations.add(event.assoc.native_id)
        yield 0xFF00, match(3 if event.identifier.StudyInstanceUID == STUDY else 0, event.identifier.StudyInstanceUID)

    with sender(find) as port:
        assert asked(port, STUDY, "1.2.4") == {STUDY: 3, "1.2.4": 0}
    assert len(associations) == 1
    assert [each.StudyInstanceUID for each in questions] == [STUDY, "1.2.4"]
    assert {each.keyword for each in questions[0]} == {
        "QueryRetrieveLevel",
        "StudyInstanceUID",
        "NumberOfStudyRelatedInstances",
    }


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [(0xFF00, match(None))],
        [(0xFF00, match(""))],
        [(0xFF00, match(-1))],
        [(0xFF00, match(3, "1.2.5"))],
        [(0xFF00, match(3)), (0xFF00, match(4))],
        [(0xFF00, match(3)), (0xA700, None)],
        [(0xC000, None)],
    ],
    ids=["no match", "no number", "empty", "negative", "another study", "several", "breaks off", "refused"],
)
def test_what_is_no_answer_is_none(answers: list[tuple[int, Dataset | None]]) -> None:
    """Anything but one match with a number; the peer is left in order, or aborted."""
    with sender(lambda _: iter(answers)) as port:
        assert asked(port) == {STUDY: None}


def test_a_peer_without_query_is_no_answer_and_check_says_so() -> None:
    """It accepts no C-FIND: the mend is a setting."""
    with sender(lambda _: iter([]), [ECHO]) as port:
        with pytest.raises(Permanent, match="accepts none of"):
            asked(port)
        with pytest.raises(Permanent, match="query_port = 0"):
            check(at(port))
    with sender(lambda _: iter([])) as port:
        assert check(at(port)) == f"PANO1 at 127.0.0.1:{port} answers C-ECHO and offers C-FIND"
    with pytest.raises(Transient, match="cannot be reached"):
        check(at(free_port()))


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("first", [b"", b"\2\0\0\0\1\0\0"], ids=["silent", "half an answer"])
def test_a_silent_peer_is_left_in_time(first: bytes) -> None:
    """No association: within the limits, whatever part of an answer has come."""
    with mute(first) as port:
        began = time.monotonic()
        with pytest.raises(Transient):
            asked(port)
        assert time.monotonic() - began < HURRIED_SECONDS + SLACK_SECONDS


@pytest.mark.usefixtures("hurried")
def test_a_peer_that_takes_its_time_is_cut() -> None:
    """The limit is on the whole round, not on each answer; what was answered before counts, the rest was not asked."""
    over = threading.Event()

    def slow(event: Event) -> Answers:
        over.wait(HURRIED_SECONDS / 3)
        yield 0xFF00, match(1, event.identifier.StudyInstanceUID)

    with sender(slow) as port:
        began = time.monotonic()
        counts = asked(port, *(f"1.2.{number}" for number in range(30)))
        passed = time.monotonic() - began
        over.set()
    assert passed < HURRIED_SECONDS + SLACK_SECONDS
    assert list(counts.values()) == [1] * (len(counts) - 1) + [None]
    assert 1 < len(counts) < 30


def settings(*ports: int, quiet_seconds: float = 0.3) -> str:
    """PANO1, PANO2 ... that can be asked."""
    return f"quiet_seconds = {quiet_seconds}\n" + "".join(
        f'[[source]]\nae_title = "PANO{number}"\nhosts = ["127.0.0.1"]\nquery_port = {port}\n'
        for number, port in enumerate(ports, start=1)
    )


def counting(*numbers: int) -> Callable[[Event], Answers]:
    """A sender that has one number of images after the other; the last for ever."""
    left = list(numbers)

    def find(event: Event) -> Answers:
        yield 0xFF00, match(left.pop(0) if len(left) > 1 else left[0], event.identifier.StudyInstanceUID)

    return find


def test_a_study_waits_for_the_third_image(tmp_path: Path) -> None:
    """Two of three are here and the sender is silent: open, and why; with the third one revision of all three."""
    with sender(counting(3)) as port, receiving(tmp_path, settings(port)) as site:
        record_instances(site.services.db, [IMAGE, SECOND])
        words = "2 of 3 images that PANO1 has are here; asked again every 0.3 s until"
        _until(lambda: words in site.waits(STUDY))
        assert site.revisions() == {STUDY: [None, None]}
        record_instances(site.services.db, [THIRD])
        site.wait_for(STUDY, [1, 1, 1])


def test_a_sender_that_thinks_better_of_it_is_believed(tmp_path: Path) -> None:
    """It is asked again and again, and what it said last counts."""
    with sender(counting(5, 5, 1)) as port, receiving(tmp_path, settings(port)) as site:
        record_instances(site.services.db, [IMAGE])
        assert site.wait_for(STUDY, [1]) > 2 * 0.3


def test_a_new_relay_goes_on_where_the_old_one_was(tmp_path: Path) -> None:
    """A study that waits is still open, and says why, after a restart; then the sender is asked again."""
    with sender(counting(3)) as port:
        with receiving(tmp_path, settings(port)) as site:
            record_instances(site.services.db, [IMAGE, SECOND])
            _until(lambda: "2 of 3" in site.waits(STUDY))
        with receiving(tmp_path, settings(port), ticking=False) as site:
            threading.Event().wait(0.5)
            assert "2 of 3" in site.waits(STUDY)
            record_instances(site.services.db, [THIRD])
            for _ in range(100):
                site.tick()
                threading.Event().wait(0.05)
                if site.revisions() == {STUDY: [1, 1, 1]}:
                    return
    pytest.fail("it waits for ever")


def test_the_longest_wait_is_an_end(tmp_path: Path) -> None:
    """A sender that always has more than it sends costs no study more than that."""
    text = "longest_wait_seconds = 1.5\n"
    with sender(counting(9)) as port, receiving(tmp_path, text + settings(port)) as site:
        record_instances(site.services.db, [IMAGE])
        assert 1.0 < site.wait_for(STUDY, [1]) < 4.0


@pytest.mark.usefixtures("hurried")
def test_a_silent_peer_delays_its_own_study_by_the_limits_and_no_other(tmp_path: Path) -> None:
    """Its studies close as by silence, all of one round; those of another sender, and the tick, do not notice."""
    with (
        mute() as port,
        sender(counting(1)) as good,
        receiving(tmp_path, settings(port, good), ticking=False) as site,
    ):
        mine = [IMAGE, replace(OTHER, study_instance_uid="1.2.5", sop_instance_uid="1.2.5.1", sha256="f" * 64)]
        record_instances(site.services.db, [*mine, replace(OTHER, calling_ae="PANO2")])
        threading.Event().wait(0.3)
        closed: dict[str, float] = {}
        began = time.monotonic()
        while len(closed) < 3 and time.monotonic() - began < 10:
            ticked = time.monotonic()
            site.tick()
            assert time.monotonic() - ticked < HURRIED_SECONDS
            for uid, revisions in site.revisions().items():
                if revisions == [1]:
                    closed.setdefault(uid, time.monotonic() - began)
            threading.Event().wait(0.05)
        assert closed.keys() == {STUDY, "1.2.5", "1.2.4"}
        assert closed["1.2.4"] < closed[STUDY] < HURRIED_SECONDS + SLACK_SECONDS
        assert abs(closed[STUDY] - closed["1.2.5"]) < 1.0


def test_a_round_that_hangs_holds_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no limit of ours reaches, the relay closes what has waited too long for the answer."""
    monkeypatch.setattr(inquiry, "_HANGS_SECONDS", 0.5)
    released = threading.Event()

    def hang(*_: object) -> dict[str, int | None]:
        released.wait(10)
        return {}

    monkeypatch.setattr(inquiry, "count_images", hang)
    with receiving(tmp_path, settings(1)) as site:
        record_instances(site.services.db, [IMAGE])
        assert 0.3 + 0.5 <= site.wait_for(STUDY, [1]) < 3.0
        released.set()


def test_nobody_home_is_as_nobody_to_ask(tmp_path: Path) -> None:
    """A port that is closed, and a peer that answers with an error: silence closes the study."""

    def broken(_: Event) -> Answers:
        yield 0xC001, None

    for name, peer in (("closed", None), ("broken", broken)):
        (tmp_path / name).mkdir()
        with sender(peer or broken) as port:
            other = settings(port if peer else free_port())
            with receiving(tmp_path / name, other) as site:
                record_instances(site.services.db, [IMAGE])
                assert site.wait_for(STUDY, [1]) < 3.0


def test_our_results_are_counted_only_at_the_sender(tmp_path: Path) -> None:
    """By AE title for DICOM destinations, by host for DICOMweb."""
    places = "".join(
        f'[[destination]]\nname = "{name}"\nurl = "{url}"\n'
        for name, url in (
            ("same", "dicom://PANO1@10.0.0.9:104"),
            ("other", "dicom://PACS@127.0.0.1:104"),
            ("web", "stow+http://127.0.0.1/dicom-web"),
            ("elsewhere", "stow+http://10.0.0.9/dicom-web"),
        )
    )
    file = tmp_path / "dentgate.toml"
    file.write_text("[listener]\n" + settings(104) + places)
    assert senders_of(load_settings(file, tmp_path, {}))["PANO1"].results_at == {"same", "web"}


def test_who_is_to_be_asked_needs_an_address(tmp_path: Path) -> None:
    """A query_port without a host, or with a network for one, is a mistake in the settings."""
    file = tmp_path / "dentgate.toml"
    for hosts in ("[]", '["10.0.0.0/24"]'):
        file.write_text(f'[[source]]\nae_title = "PANO1"\nhosts = {hosts}\nquery_port = 104\n')
        with pytest.raises(ConfigurationError, match="first of its hosts"):
            load_settings(file, tmp_path, {})


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.02)
    pytest.fail("it does not come true")
