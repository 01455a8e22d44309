"""The intake without a network: files, a full disk, groups of commits, the real record."""

import io
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from service.db.engine import Database
from service.db.migrate import migrate
from service.db.studies import record_instances, touch_studies
from service.db.tables import Instance, Study
from service.domain.errors import NotMatching, NotUnderstood, OutOfResources
from service.domain.study import ReceivedInstance, Recorded
from service.listener.commit import GroupCommit
from service.listener.intake import Intake
from service.storage.folder import FolderStorage
from tests import builders
from tests.unit.listener.conftest import Gateway, Ledger, Start
from tests.unit.listener.raw_scu import BIG_ENDIAN, EXPLICIT, IMPLICIT, RawScu, data_set_bytes, encode, image, part10


@pytest.fixture
def ledger() -> Ledger:
    """A record in memory."""
    return Ledger()


@pytest.fixture
def intake(tmp_path: Path, ledger: Ledger) -> Intake:
    """An intake into a folder."""
    return Intake(FolderStorage(tmp_path, 0), ledger.record, ledger.touch, 1 << 26)


def files(folder: Path) -> list[Path]:
    """Every file below."""
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", builders.SYNTAXES)
def test_a_file_is_taken_in_every_encoding(intake: Intake, tmp_path: Path, name: str) -> None:
    """The data set is kept as it was; the sender is "WEB"."""
    raw = builders.as_bytes(builders.xray(bits=8), builders.SYNTAXES[name])
    instance, recorded = intake.accept_file(io.BytesIO(raw), "WEB")
    assert (recorded, instance.calling_ae) == (Recorded.NEW, "WEB")
    assert instance.transfer_syntax_uid == builders.SYNTAXES[name]
    assert data_set_bytes((tmp_path / instance.storage_key).read_bytes()) == data_set_bytes(raw)


def test_a_file_and_a_c_store_of_the_same_object_are_the_same(intake: Intake) -> None:
    """The digest is over the data set, so the way in makes no difference."""
    reception = intake.begin("1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.1.1.1", EXPLICIT, "PANO1")
    data = encode(image())
    reception.write(memoryview(data)[:100])
    reception.write(bytearray(data[100:]))
    assert reception.finish()[1] is Recorded.NEW
    assert intake.accept_file(io.BytesIO(part10(image())), "WEB")[1] is Recorded.SAME


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_bare_data_set_is_taken(intake: Intake, tmp_path: Path, syntax: str) -> None:
    """Without preamble and file meta information: the encoding shows in the first element."""
    instance, _ = intake.accept_file(io.BytesIO(encode(image(), syntax)), "WEB")
    assert instance.transfer_syntax_uid == syntax
    assert pydicom.dcmread(tmp_path / instance.storage_key).PatientID == "P1"


def test_a_file_without_preamble_is_taken(intake: Intake) -> None:
    """Some exporters leave out the first 132 bytes."""
    instance, _ = intake.accept_file(io.BytesIO(part10(image())[132:]), "WEB")
    assert instance.sop_instance_uid == "1.2.3.1.1.1"


def test_a_file_whose_meta_lacks_the_instance_is_taken(intake: Intake, tmp_path: Path) -> None:
    """The data set says it too."""
    raw = part10(image())
    meta = raw[:144] + raw[144:].replace(b"\x02\0\x03\0UI", b"\x02\0\x99\0UI", 1)
    instance, _ = intake.accept_file(io.BytesIO(meta), "WEB")
    assert instance.sop_instance_uid == "1.2.3.1.1.1"
    assert pydicom.filereader.read_file_meta_info(tmp_path / instance.storage_key).MediaStorageSOPInstanceUID


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"\xff\xd8\xff\xe0" + bytes(2000),
        bytes(2000),
        bytes(128) + b"DICM",
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"GET / HTTP/1.1\r\n" * 40,
        part10(image())[:300],
        part10(image())[:150],
        part10(image())[:-1],
        bytes(128) + b"DICM" + b"\x02\0\x10\0UI\xff\xff1.2",
    ],
)
def test_a_file_that_is_no_dicom_is_refused(intake: Intake, tmp_path: Path, content: bytes) -> None:
    """Pictures, pages, pieces: not understood, nothing kept."""
    with pytest.raises(NotUnderstood):
        intake.accept_file(io.BytesIO(content), "WEB")
    assert not files(tmp_path)


def test_a_file_with_two_identities_is_refused(intake: Intake, tmp_path: Path) -> None:
    """File meta information and data set must agree."""
    raw = part10(image())
    with pytest.raises(NotMatching):
        intake.accept_file(io.BytesIO(raw[:400].replace(b"1.2.3.1.1.1", b"1.2.3.1.1.2", 1) + raw[400:]), "WEB")
    assert not files(tmp_path)


def test_text_that_no_database_would_take_is_made_harmless(intake: Intake) -> None:
    """NUL and control characters go, overlong values are cut to the width of their column."""
    ds = image(PatientID="P\x001\x07", PatientName="N" * 60, SpecificCharacterSet="ISO_IR 192")
    ds.Modality = "PX"
    data = encode(ds)
    instance, _ = intake.accept_file(io.BytesIO(data), "WEB")
    assert instance.patient_id == "P1"
    assert len(instance.modality) <= 16


def test_nested_sequences_are_passed_over(intake: Intake) -> None:
    """Of defined and undefined length, empty, within each other, in every byte order."""
    inner = image(PixelData=None)
    outer = image()
    outer.IconImageSequence = [image(), inner]
    outer.ReferencedStudySequence = []
    inner.OtherPatientIDsSequence = [image(PixelData=None)]
    for undefined in (False, True):
        for syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN):
            outer["IconImageSequence"].is_undefined_length = undefined
            for item in outer.IconImageSequence:
                item.is_undefined_length_sequence_item = undefined
            data = encode(outer, syntax)
            reception = intake.begin("1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.1.1.1", syntax, "A")
            reception.write(data)
            reception.finish()


def test_sequences_without_bottom_are_refused(intake: Intake, tmp_path: Path) -> None:
    """Nesting is bounded, so a hostile object cannot exhaust the stack."""
    level = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    with pytest.raises(NotUnderstood, match="too deeply"):
        intake.accept_file(io.BytesIO(level * 5000), "WEB")
    assert not files(tmp_path)


def test_elements_without_end_are_refused(intake: Intake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of empty elements would keep a processor busy for minutes."""
    monkeypatch.setattr("service.listener.dataset.MOST_ELEMENTS", 1000)
    with pytest.raises(NotUnderstood, match="more than 1000 elements"):
        intake.accept_file(io.BytesIO(encode(image()) + bytes(8 * 1000)), "WEB")
    assert not files(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("needs root to mount a file system of 2 MB")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_refuses_without_harm_and_recovers(small_disk: Path, start: Start) -> None:
    """A700H, the association lives, what was taken stays; after space is freed the same object is taken."""
    gateway = start(root=small_disk)
    large = image(2, PixelData=bytes(3 << 20))
    ballast = small_disk / "ballast"
    with RawScu(gateway.port) as scu:
        assert scu.send_image(image(1)).status == 0
        answer = scu.send_image(large)
        assert (answer.status, answer.comment[:15]) == (0xA700, "storage is full")
        assert len(gateway.files()) == 1
        ballast.write_bytes(bytes(1_900_000))
        middle = image(3, PixelData=bytes(500_000))
        assert scu.send_image(middle).status == 0xA700
        ballast.unlink()
        assert scu.send_image(middle).status == 0
        scu.release()
    assert len(gateway.files()) == len(gateway.ledger.rows) == 2


def test_arrivals_during_a_commit_make_one_group(ledger: Ledger) -> None:
    """The first commits alone, the nine that come meanwhile share one transaction, each hears its own answer."""
    commit = GroupCommit(ledger.record)
    ledger.gate.clear()
    answers: dict[str, Recorded] = {}

    def arrive(number: int) -> None:
        answers[str(number)] = commit(instance_of(str(number)))

    threads = [threading.Thread(target=arrive, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
        threading.Event().wait(0.02)
    ledger.gate.set()
    for thread in threads:
        thread.join()
    assert ledger.groups == [1, 9]
    assert list(answers.values()) == [Recorded.NEW] * 10


def test_a_failure_is_told_to_the_whole_group_and_to_nobody_else() -> None:
    """When the database is away everyone in the group is refused; the next group is written."""
    calls: list[int] = []
    gate = threading.Event()

    def record(instances: Sequence[ReceivedInstance]) -> list[Recorded]:
        gate.wait(5)
        calls.append(len(instances))
        if len(calls) == 2:
            raise OperationalError("INSERT", None, OSError("disk I/O error"))
        return [Recorded.NEW] * len(instances)

    commit = GroupCommit(record)
    outcomes: list[str] = []

    def arrive(number: int) -> None:
        try:
            outcomes.append(commit(instance_of(str(number))))
        except OutOfResources as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=arrive, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
        threading.Event().wait(0.02)
    gate.set()
    for thread in threads:
        thread.join()
    assert calls == [1, 3]
    assert sorted(outcomes) == ["new", *["the record cannot be written now; send again"] * 3]
    assert commit(instance_of("9")) is Recorded.NEW


def test_one_bad_instance_does_not_take_its_neighbours_along() -> None:
    """What the database refuses for itself is refused alone; the others of its group are written."""
    gate = threading.Event()

    def record(instances: Sequence[ReceivedInstance]) -> list[Recorded]:
        gate.wait(5)
        if any(instance.sop_instance_uid == "2" for instance in instances):
            message = "value out of range"
            raise ValueError(message)
        return [Recorded.NEW] * len(instances)

    commit = GroupCommit(record)
    answers: dict[str, str] = {}

    def arrive(uid: str) -> None:
        try:
            answers[uid] = commit(instance_of(uid))
        except OutOfResources:
            answers[uid] = "refused"

    threads = [threading.Thread(target=arrive, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
        threading.Event().wait(0.02)
    gate.set()
    for thread in threads:
        thread.join()
    assert answers == {"0": "new", "1": "new", "2": "refused", "3": "new"}


def test_a_record_that_answers_too_little_is_a_failure() -> None:
    """Success is never guessed."""
    with pytest.raises(OutOfResources):
        GroupCommit(lambda _: [])(instance_of("1"))


def test_what_is_received_is_in_the_real_record(tmp_path: Path, start: Start) -> None:
    """Four senders, a study each and one in common, into SQLite: every row is there once."""
    db = Database(f"sqlite:///{tmp_path / 'record.db'}")
    migrate(db)
    gateway: Gateway = start()
    gateway.intake.commit = GroupCommit(lambda instances: record_instances(db, instances))
    gateway.intake.touch = lambda studies: touch_studies(db, studies)

    def send(study: int) -> None:
        with RawScu(gateway.port) as scu:
            for seed in range(5):
                assert scu.send_image(image(seed, study)).status == 0
                assert scu.send_image(image(seed, 9)).status == 0
            scu.release()

    threads = [threading.Thread(target=send, args=(study,)) for study in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.session() as session:
        assert session.scalar(select(func.count()).select_from(Instance)) == 25
        assert session.scalar(select(func.count()).select_from(Study)) == 5
    db.close()


def instance_of(uid: str) -> ReceivedInstance:
    """An instance of that number."""
    return ReceivedInstance("1", "1", uid, "1", "1", "instances/a", uid, 1, "A")
