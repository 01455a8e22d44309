"""What C-STORE promises: every byte kept, nothing refused left behind, the right status and words."""

import io
import threading
from typing import Any

import pydicom
import pytest
from pynetdicom import AE

from service.domain.errors import OutOfResources
from service.domain.study import Recorded
from service.listener.contexts import STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests import builders
from tests.unit.listener.conftest import Gateway, Start
from tests.unit.listener.raw_scu import (
    ABORT,
    BIG_ENDIAN,
    COMMAND,
    DEFLATED,
    DX,
    EXPLICIT,
    IMPLICIT,
    LAST,
    SR,
    VERIFICATION,
    RawScu,
    command,
    data_set_bytes,
    encode,
    image,
    pdu,
    pdv,
    with_value,
)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_every_transfer_syntax_is_stored_byte_for_byte(gateway: Gateway, syntax: str) -> None:
    """The data set on disk is the data set that was sent, and the file names its transfer syntax."""
    data = encode(image(), syntax)
    with RawScu(gateway.port, [(DX, [syntax])]) as scu:
        answer = scu.store(data, "1.2.3.1.1.1")
        scu.release()
    assert (answer.status, answer.comment) == (0, "")
    (row,) = gateway.ledger.rows
    assert gateway.stored(row) == data
    file = gateway.root / row.storage_key
    assert row.size == file.stat().st_size
    meta = pydicom.filereader.read_file_meta_info(file)
    assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == (syntax, "1.2.3.1.1.1")
    assert row.transfer_syntax_uid == syntax


@pytest.mark.parametrize("name", builders.SYNTAXES)
def test_a_real_image_in_every_encoding_is_taken_from_pynetdicom(gateway: Gateway, name: str) -> None:
    """A pynetdicom sender gets success for really compressed images, and pydicom reads back what it sent."""
    ds = builders.xray(bits=8, seed=name)
    raw = builders.as_bytes(ds, builders.SYNTAXES[name])
    ae = AE("MODALITY")
    ae.add_requested_context(builders.DX, builders.SYNTAXES[name])
    association = ae.associate("127.0.0.1", gateway.port)
    assert association.is_established
    sent = pydicom.dcmread(io.BytesIO(raw))
    status = association.send_c_store(sent)
    association.release()
    assert status.Status == 0
    (row,) = gateway.ledger.rows
    assert pydicom.dcmread(gateway.root / row.storage_key) == sent
    assert (row.patient_name, row.modality, row.calling_ae) == ("Probe^Dental", "PX", "MODALITY")


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_the_record_gets_what_the_header_says(gateway: Gateway, syntax: str) -> None:
    """Patient and study reach the record decoded, the sender by its AE title, the digest over the data set."""
    with RawScu(gateway.port, [(DX, [syntax])], calling="PANO1") as scu:
        scu.send_image(image(), syntax)
    (row,) = gateway.ledger.rows
    assert row.patient_name == "Müller^Ida"
    assert (row.patient_id, row.patient_id_issuer, row.patient_birth_date, row.patient_sex) == (
        "P1", "PRAXIS", "19800101", "F",
    )  # fmt: skip
    assert (row.accession_number, row.study_date, row.description) == ("A1", "20250115", "Panoramic")
    assert (row.study_instance_uid, row.series_instance_uid, row.calling_ae) == ("1.2.3.1", "1.2.3.1.1", "PANO1")


@pytest.mark.parametrize(
    ("charset", "raw", "name"),
    [
        ("ISO_IR 192", "Müller^Ida".encode(), "Müller^Ida"),
        ("ISO_IR 100", "Müller^Ida".encode("latin-1"), "Müller^Ida"),
        ("ISO_IR 144", "Жданова".encode("iso8859-5"), "Жданова"),
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        ("ISO_IR 999", "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 192", b"M\xfcller", "Müller"),
    ],
)
def test_names_are_decoded_by_their_character_set(gateway: Gateway, charset: str, raw: bytes, name: str) -> None:
    """Also with escape sequences, an unknown set or wrong bytes: the image is taken and the name is readable."""
    data = with_value(encode(image()), 0x00080005, charset.encode(), b" ")
    data = with_value(data, 0x00100010, raw, b" ")
    with RawScu(gateway.port) as scu:
        assert scu.store(data, "1.2.3.1.1.1").status == 0
    assert gateway.ledger.rows[0].patient_name == name


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"StudyInstanceUID": None}, 0xC000, "StudyInstanceUID missing"),
        ({"StudyInstanceUID": ""}, 0xC000, "StudyInstanceUID missing"),
        ({"SeriesInstanceUID": None}, 0xC000, "SeriesInstanceUID missing"),
        ({"SOPInstanceUID": None}, 0xC000, "SOPInstanceUID missing"),
        ({"SOPClassUID": None}, 0xC000, "SOPClassUID missing"),
        ({"PixelData": None}, 0xC000, "pixel data missing"),
        ({"PixelData": b""}, 0xC000, "pixel data empty"),
        ({"Rows": 17}, 0xC000, "pixel data truncated: 640 of 680 bytes"),
        ({"NumberOfFrames": 2}, 0xC000, "pixel data truncated: 640 of 1280 bytes"),
        ({"SOPInstanceUID": "1.2.3.9"}, 0xA900, "another SOP class or instance"),
        ({"SOPClassUID": SR}, 0xA900, "another SOP class or instance"),
    ],
)
def test_an_object_with_a_fault_is_refused_with_the_reason(
    gateway: Gateway, changes: dict[str, Any], status: int, words: str
) -> None:
    """The sender gets the status and the cause, nothing is kept, and the association lives on."""
    with RawScu(gateway.port) as scu:
        answer = scu.store(encode(image(**changes)), "1.2.3.1.1.1", message_id=99)
        assert (answer.status, words in answer.comment) == (status, True), answer.comment
        assert len(answer.comment) <= 64
        assert answer.values[0x120] == b"\x63\0"
        assert answer.values[0x1000] == b"1.2.3.1.1.1\0"
        assert not gateway.files()
        assert scu.send_image(image(2)).status == 0
    assert len(gateway.ledger.rows) == 1


@pytest.mark.parametrize(
    "uid", ["../../etc/passwd", "/etc/passwd", "1.2.3\\..\\x", "1..2", "1.2.", "1.2.a", "1." * 33 + "1", "1", "1.2 .3"]
)
@pytest.mark.parametrize(
    ("where", "tag"),
    [("StudyInstanceUID", 0x0020000D), ("SeriesInstanceUID", 0x0020000E), ("SOPInstanceUID", 0x00080018)],
)
def test_a_malformed_uid_is_refused_and_writes_nothing_anywhere(
    gateway: Gateway, where: str, tag: int, uid: str
) -> None:
    """Whatever a UID looks like, no path is made from it."""
    data = with_value(encode(image()), tag, uid.encode())
    instance = uid if where == "SOPInstanceUID" else "1.2.3.1.1.1"
    with RawScu(gateway.port) as scu:
        answer = scu.store(data, instance)
    assert (answer.status, answer.comment) == (0xC000, f"{where} malformed")
    assert not gateway.files()
    assert not gateway.ledger.rows
    assert [path.name for path in gateway.root.parent.iterdir()] == ["storage"]


def test_components_with_leading_zeros_are_taken(gateway: Gateway) -> None:
    """Devices in the field write them (PS3.5 9.1 forbids it); refusing would keep those devices out for good."""
    with RawScu(gateway.port) as scu:
        assert scu.store(with_value(encode(image()), 0x0020000D, b"1.2.03.4"), "1.2.3.1.1.1").status == 0
    assert gateway.ledger.rows[0].study_instance_uid == "1.2.03.4"


@pytest.mark.parametrize("cut", [1, 5, 100, 639])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1.99"])
def test_a_truncated_object_is_refused(gateway: Gateway, syntax: str, cut: int) -> None:
    """Data that end early never become an instance, in whatever encoding."""
    data = encode(image(), syntax)
    with RawScu(gateway.port, [(DX, [syntax])]) as scu:
        answer = scu.store(data[: -min(cut, len(data) - 1)], "1.2.3.1.1.1")
    assert answer.status == 0xC000, answer.comment
    assert "truncated" in answer.comment or "ends within" in answer.comment
    assert not gateway.files()


def test_a_truncated_pixel_value_says_how_much_is_there(gateway: Gateway) -> None:
    """The comment names both lengths."""
    with RawScu(gateway.port) as scu:
        answer = scu.store(encode(image())[:-40], "1.2.3.1.1.1")
    assert answer.comment == "pixel data truncated: 600 of 640 bytes"


@pytest.mark.parametrize("fragments", [b"", b"\xfe\xff\0\xe0\0\0\0\0", b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0\0\0\0\0"])
def test_compressed_pixels_without_a_fragment_are_refused(gateway: Gateway, fragments: bytes) -> None:
    """No item, only the offset table, or an empty fragment: there is no picture."""
    syntax = "1.2.840.10008.1.2.4.70"
    data = (
        encode(image(PixelData=None))
        + b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"
        + fragments
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )
    with RawScu(gateway.port, [(DX, [syntax])]) as scu:
        answer = scu.store(data, "1.2.3.1.1.1")
    assert (answer.status, answer.comment) == (0xC000, "pixel data empty")


def test_an_object_without_pixels_is_taken(gateway: Gateway) -> None:
    """A structured report has none and needs none."""
    ds = image(SOPClassUID=SR, PixelData=None, Rows=None, Columns=None)
    with RawScu(gateway.port, [(SR, [EXPLICIT])]) as scu:
        assert scu.send_image(ds).status == 0


@pytest.mark.parametrize("samples", [1, 3])
def test_native_subsampled_colour_is_as_long_as_it_must_be(gateway: Gateway, samples: int) -> None:
    """YBR_FULL_422 has two samples for each pixel whatever SamplesPerPixel says (PS3.3 C.7.6.3.1.2)."""
    ds = image(SamplesPerPixel=samples, PhotometricInterpretation="YBR_FULL_422", BitsAllocated=8)
    with RawScu(gateway.port) as scu:
        assert scu.send_image(ds).status == 0


def test_the_same_bytes_again_are_a_success_and_other_bytes_a_conflict(gateway: Gateway) -> None:
    """A sender that repeats itself is content; other bytes under the same UID are kept beside the first."""
    with RawScu(gateway.port) as scu:
        assert [scu.send_image(image()).status for _ in range(2)] == [0, 0]
        assert len(gateway.files()) == len(gateway.ledger.rows) == 1
        assert scu.send_image(image(PatientID="P2")).status == 0
    assert len(gateway.files()) == len(gateway.ledger.rows) == 2


def test_an_object_that_is_too_large_is_refused_and_the_association_lives(start: Start) -> None:
    """A700H while its bytes are still coming; they are passed over and the next object is taken."""
    gateway = start(max_object_bytes=2000)
    with RawScu(gateway.port) as scu:
        answer = scu.store(encode(image(PixelData=bytes(400_000))), "1.2.3.1.1.1")
        assert (answer.status, "max_object_mb" in answer.comment) == (0xA700, True)
        assert scu.send_image(image(2)).status == 0
    assert len(gateway.files()) == 1


def test_a_deflated_bomb_is_refused(start: Start) -> None:
    """A small object that inflates beyond the limit is not inflated further."""
    gateway = start(max_object_bytes=1 << 20)
    syntax = "1.2.840.10008.1.2.1.99"
    data = encode(image(PixelData=bytes(30 << 20)), syntax)
    assert len(data) < 1 << 20
    with RawScu(gateway.port, [(DX, [syntax])]) as scu:
        assert scu.store(data, "1.2.3.1.1.1").status == 0xA700
    assert not gateway.files()


def test_a_bomb_within_the_limit_is_not_inflated_to_its_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gigabytes of zeros take two megabytes and seconds; an image that inflates a thousandfold is taken."""
    monkeypatch.setattr("service.listener.dataset._BOMB_BYTES", 8 << 20)
    gateway = start(max_object_bytes=1 << 30)
    with RawScu(gateway.port, [(DX, [DEFLATED[0]])]) as scu:
        bomb = scu.store(encode(image(1, PixelData=bytes(16 << 20)), DEFLATED[0]), "1.2.3.1.1.1")
        assert (bomb.status, "inflates" in bomb.comment) == (0xC000, True)
        assert scu.store(encode(image(2, PixelData=bytes(4 << 20)), DEFLATED[0]), "1.2.3.1.1.2").status == 0
    assert len(gateway.files()) == 1


def test_a_record_that_fails_gives_out_of_resources_and_recovers(gateway: Gateway) -> None:
    """No success without a row; the next attempt finds the file and succeeds."""
    with RawScu(gateway.port) as scu:
        gateway.ledger.error = RuntimeError("database is away")
        answer = scu.send_image(image())
        assert (answer.status, answer.comment) == (0xA700, "the record cannot be written now; send again")
        gateway.ledger.error = None
        assert scu.send_image(image()).status == 0
    assert len(gateway.ledger.rows) == len(gateway.files()) == 1


def test_a_storage_that_fails_in_an_unknown_way_fails_one_object_only(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0110H for that object; the association goes on."""
    with RawScu(gateway.port) as scu, monkeypatch.context() as patch:
        patch.setattr(gateway.intake.storage, "create", lambda: 1 / 0)
        answer = scu.send_image(image())
        assert (answer.status, answer.comment) == (0x0110, "processing failure")
        patch.undo()
        assert scu.send_image(image()).status == 0


def test_a_storage_without_room_refuses_before_it_takes_a_byte(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A700H with the words of the storage, and a C-ECHO still works."""

    def full() -> None:
        message = "less than 512 MB free in storage; free some space, then send again"
        raise OutOfResources(message)

    monkeypatch.setattr(gateway.intake.storage, "create", full)
    with RawScu(gateway.port, [(DX, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]) as scu:
        answer = scu.send_image(image())
        assert (answer.status, answer.comment[:30]) == (0xA700, "less than 512 MB free in stora")
        assert scu.echo(3) == 0


@pytest.mark.parametrize("end", [b"", ABORT])
def test_an_abort_in_the_middle_of_an_object_leaves_nothing(gateway: Gateway, end: bytes) -> None:
    """Half an object is no object: no row, no file, whether the peer aborts or vanishes."""
    data = encode(image())
    with RawScu(gateway.port) as scu:
        scu.send(pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3.1.1.1"))), pdu(pdv(1, 0, data[:500])))
        assert gateway.settle(lambda: bool(gateway.files()))
        if end:
            scu.send(end)
    assert gateway.settle(lambda: not gateway.files())
    assert not gateway.ledger.rows


def test_fragments_of_any_size_make_the_same_object(gateway: Gateway) -> None:
    """Commands over several PDUs, several PDVs in one PDU, empty PDVs, command and data in one PDU."""
    data, words = encode(image()), command(instance="1.2.3.1.1.1")
    pieces = [data[i : i + 7] for i in range(0, len(data), 7)]
    with RawScu(gateway.port) as scu:
        scu.send(pdu(pdv(1, COMMAND, words[:10])), pdu(pdv(1, COMMAND, words[10:50]), pdv(1, COMMAND, b"")))
        scu.send(pdu(pdv(1, COMMAND | LAST, words[50:]), pdv(1, 0, b""), *(pdv(1, 0, piece) for piece in pieces)))
        scu.send(pdu(pdv(1, LAST, b"")))
        assert scu.answer().status == 0
    assert gateway.stored(gateway.ledger.rows[0]) == data


def test_bytes_that_trickle_in_make_the_same_object(gateway: Gateway) -> None:
    """A slow line may cut the stream anywhere."""
    data = encode(image())
    stream = pdu(pdv(1, COMMAND | LAST, command(instance="1.2.3.1.1.1"))) + pdu(pdv(1, LAST, data))
    with RawScu(gateway.port) as scu:
        for start in range(0, len(stream), 97):
            scu.send(stream[start : start + 97])
            threading.Event().wait(0.002)
        assert scu.answer().status == 0
    assert gateway.stored(gateway.ledger.rows[0]) == data


def test_twenty_parallel_senders_lose_nothing_and_share_transactions(gateway: Gateway) -> None:
    """All objects arrive whole, in fewer transactions than objects."""
    answers: list[int] = []

    def send(study: int) -> None:
        with RawScu(gateway.port) as scu:
            answers.extend(scu.send_image(image(seed, study)).status for seed in range(5))
            scu.release()

    gateway.ledger.gate.clear()
    threads = [threading.Thread(target=send, args=(study,)) for study in range(1, 21)]
    for thread in threads:
        thread.start()
    threading.Event().wait(0.3)
    gateway.ledger.gate.set()
    for thread in threads:
        thread.join()
    assert answers == [0] * 100
    assert len(gateway.ledger.rows) == len(gateway.files()) == 100
    assert len(gateway.ledger.groups) < 100
    for row in gateway.ledger.rows:
        *_, study, _, seed = row.sop_instance_uid.split(".")
        assert gateway.stored(row) == encode(image(int(seed), int(study)))


def test_every_storage_class_that_is_known_is_offered(gateway: Gateway) -> None:
    """128 at a time, which is what one association can propose."""
    for start in range(0, len(STORAGE_CLASSES), 128):
        with RawScu(gateway.port, [(uid, [EXPLICIT]) for uid in STORAGE_CLASSES[start : start + 128]]) as scu:
            assert {result for result, _ in scu.results.values()} == {0}


def test_stored_bytes_of_a_file_are_those_of_the_file(gateway: Gateway) -> None:
    """The builder's file, sent as a data set, is found again behind our own file meta information."""
    raw = builders.as_bytes(builders.xray())
    with RawScu(gateway.port) as scu:
        assert scu.store(data_set_bytes(raw), str(builders.xray().SOPInstanceUID)).status == 0
    assert gateway.stored(gateway.ledger.rows[0]) == data_set_bytes(raw)
    assert gateway.intake.commit(gateway.ledger.rows[0]) is Recorded.SAME
